/**
 * What our own code costs for one proxied request, without kernel and sockets: a browser-like GET through engine, router,
 * two header filters, pool and engine again, over sockets that are plain objects.
 *
 *   node bench/micro/pipeline.ts [--seconds 3] [--varied]
 *
 * `--varied` gives each request a header of its own, as tracing does.
 */
import { equalBytes, latin1 } from '../../adapters/portable/net-socket.ts'
import { clock } from '../../adapters/portable/runtime.ts'
import { parseProxyConfig } from '../../src/config/proxy-config.ts'
import { createHttp1Server } from '../../src/http1/server.ts'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import { createProxy } from '../../src/proxy/proxy.ts'
import type { Runtime, Socket, SocketEvents } from '../../src/runtime.ts'
import { createTimers } from '../../src/timers.ts'
import { responseHeaders } from './responses.ts'
import { browserHead } from './heads.ts'

const seconds = Number(argument('--seconds') ?? 3)
const varied = process.argv.includes('--varied')

class PlainSocket implements Socket {
  readonly local = { host: '127.0.0.1', port: 8080 }
  readonly remote = { host: '127.0.0.1', port: 50_000 }
  readonly tls = undefined
  events: SocketEvents | undefined
  readonly wrote: (text: string) => void
  constructor(wrote: (text: string) => void) {
    this.wrote = wrote
  }
  attach(events: SocketEvents): void {
    this.events = events
  }
  latin1(bytes: Uint8Array, start: number, end: number): string {
    return latin1(bytes, start, end)
  }
  write(head: string, body?: Uint8Array, start = 0, end = 0, tail = ''): boolean {
    this.wrote(body === undefined ? head + tail : head + latin1(body, start, end) + tail)
    return true
  }
  equal(bytes: Uint8Array, start: number, end: number, others: Uint8Array): boolean {
    return equalBytes(bytes, start, end, others)
  }
  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
}

const sink = Buffer.alloc(65_536)
const readBuffer = Buffer.alloc(2_048)
const answer = Buffer.from(`HTTP/1.1 200 OK\r\n${responseHeaders}\r\n${'x'.repeat(1024)}`, 'latin1')
let answered = 0
let pending: SocketEvents | undefined

const runtime: Runtime = {
  name: 'node',
  version: process.version,
  connect: () => {
    const socket = new PlainSocket((text) => {
      sink.write(text, 'latin1') // what the system would be given
      pending = socket.events
    })
    return Promise.resolve(socket)
  },
  clock,
} as Partial<Runtime> as Runtime

const timers = createTimers(clock)
const proxy = createProxy({ runtime, timers, allowLoopbackBackends: true, onRecord: () => {} })
const { config } = parseProxyConfig({
  version: 1,
  rules: [
    {
      hostnames: ['bench.example.com'],
      matches: [{ path: { type: 'PathPrefix', value: '/' } }],
      filters: [
        { type: 'RequestHeaderModifier', requestHeaderModifier: { set: [{ name: 'x-bench', value: '1' }] } },
        { type: 'ResponseHeaderModifier', responseHeaderModifier: { set: [{ name: 'x-bench', value: '1' }] } },
      ],
      backends: [{ url: 'http://127.0.0.1:1', weight: 1 }],
      timeouts: { request: '10s', backend: '5s' },
    },
  ],
})
proxy.apply(config!)
const server = createHttp1Server({ handler: proxy.fetch, timers, limits: defaultHttp1Limits, scheme: 'http' })
const client = new PlainSocket((text) => {
  sink.write(text, 'latin1')
  answered++
})
server.accept(client)
if (!client.events) throw new Error('the server took no socket')

const heads = Array.from({ length: 256 }, (_, i) =>
  Buffer.from(
    `GET /1k HTTP/1.1\r\n${browserHead}${varied ? `Traceparent: 00-${String(i).padStart(32, '0')}-0000000000000001-01\r\n` : ''}\r\n`,
    'latin1',
  ),
)

async function turn(i: number): Promise<void> {
  const head = heads[i & 255]!
  readBuffer.set(head) // as a socket does that reads into a buffer of its own
  client.events!.data(readBuffer, 0, head.length)
  while (!pending) await Promise.resolve()
  const upstream = pending
  pending = undefined
  const before = answered
  upstream.data(answer, 0, answer.length)
  while (answered === before) await Promise.resolve()
}

for (let i = 0; i < 30_000; i++) await turn(i)
let best = Infinity
const until = performance.now() + seconds * 1000
while (performance.now() < until) {
  const from = performance.now()
  for (let i = 0; i < 5_000; i++) await turn(i)
  best = Math.min(best, ((performance.now() - from) * 1e6) / 5_000)
}
console.log(
  `${varied ? 'varied heads' : 'equal heads'}: ${best.toFixed(0)} ns of our own code per request (best of many passes of 5,000)`,
)
process.exit(0)

function argument(name: string): string | undefined {
  const at = process.argv.indexOf(name)
  return at < 0 ? undefined : process.argv[at + 1]
}
