/** The obvious design on Node, as a peer: ./node-http/main.ts. */
import { join } from 'node:path'

import { freePorts, startChild, untilServing } from '../processes.ts'
import type { Variant } from '../variant.ts'

export const nodeHttp: Variant = {
  name: 'node-http',
  role: 'peer',
  summary: 'node:http in, undici Pool.request out, bodies piped, 512 kept upstream connections',
  async available() {
    return { version: `node ${process.versions.node}` }
  },
  async start(setup) {
    const [port = 0] = await freePorts(1)
    const program = join(import.meta.dirname, 'node-http', 'main.ts')
    const child = await startChild(
      [process.execPath, program, String(port), setup.host, `http://127.0.0.1:${setup.backendPort}`],
      { core: setup.core, logFile: join(setup.directory, 'node-http.log') },
    )
    await untilServing(child, `http://127.0.0.1:${port}/1k`, setup.host)
    return { port, pid: child.pid, stop: child.stop }
  },
}
