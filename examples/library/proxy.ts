/*
 * The proxy alone, which opens no port: `npx node examples/library/proxy.ts` asks it for a redirect.
 * In a project that has installed the package, the imports are `from 'headgate'` and `from 'headgate/node'`.
 */
import { parseProxyConfig } from '../../src/mod.ts'
import { createProxy } from '../../adapters/node/serve.ts'

const matches = [{ path: { type: 'PathPrefix', value: '/docs' } }]
const filters = [{ type: 'RequestRedirect', requestRedirect: { hostname: 'docs.example.com', statusCode: 301 } }]
const { config, issues } = parseProxyConfig({ rules: [{ matches, filters }] })
if (!config) throw new Error(JSON.stringify(issues))

const proxy = await createProxy()
proxy.apply(config)
const answer = await proxy.fetch(new Request('http://example.com/docs/start'))
console.log(answer.status, answer.headers.get('location'))
