/**
 * Not Headgate as it ships, but made of its parts: the proxy, with metrics, behind a TLS listener that agrees to `h2`. It
 * is what the tunnel is compared with.
 *
 *   node tls-listener.ts PORT CONFIG CERTIFICATE KEY
 */
import { readFile } from 'node:fs/promises'

import { openRuntime } from '../../../adapters/node/runtime.ts'
import { parseProxyConfig } from '../../../src/config/proxy-config.ts'
import { defaultHttp2Limits } from '../../../src/http2/limits.ts'
import { createHttp2Server } from '../../../src/http2/server.ts'
import { createRequestMetrics } from '../../../src/observe/request-metrics.ts'
import { createProxy } from '../../../src/proxy/proxy.ts'
import { createTimers } from '../../../src/timers.ts'

const [port = '', configFile = '', certificateFile = '', keyFile = ''] = process.argv.slice(2)
const [configText, cert, key] = await Promise.all(
  [configFile, certificateFile, keyFile].map((file) => readFile(file, 'utf8')),
)
const { config } = parseProxyConfig(JSON.parse(configText ?? ''))
if (!config || cert === undefined || key === undefined) throw new Error('the config is not one')

const { runtime } = await openRuntime({ fastSockets: true })
const timers = createTimers(runtime.clock)
const metrics = createRequestMetrics()
metrics.configure(config)
const proxy = createProxy({
  runtime,
  timers,
  allowLoopbackBackends: true,
  onRecord: (record) => metrics.record(record),
})
proxy.apply(config)
const server = createHttp2Server({
  handler: proxy.fetch,
  timers,
  scheme: 'https',
  afterTurn: (f) => runtime.afterTurn(f),
  limits: defaultHttp2Limits,
})
const at = { host: '127.0.0.1', port: Number(port) }
await runtime.listen(at, { tls: { cert, key, alpn: ['h2'] } }, (socket) => void server.accept(socket))
