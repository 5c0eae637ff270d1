/*
 * Headgate inside a program of your own: `npx node examples/library/serve.ts` serves the canary example on port 8080,
 * to backends on the ports 19021 and 19022.
 * In a project that has installed the package, the import is `from 'headgate/node'`.
 */
import { serve } from '../../adapters/node/serve.ts'

const service = await serve({
  manifests: [new URL('../canary', import.meta.url).pathname],
  listen: [{ address: { host: '127.0.0.1', port: 8080 } }],
  accessLog: true,
})

process.once('SIGINT', () => void service.stop())
