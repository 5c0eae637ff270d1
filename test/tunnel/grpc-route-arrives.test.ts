import { afterEach, expect, test } from 'vitest'
import { headOf } from '../../src/http/head.ts'
import { engineRequest } from '../../src/http/request.ts'
import { responseOf } from '../../src/http/response.ts'
import { trailersOf } from '../../src/http/trailers.ts'
import { defaultOptions } from '../../src/options.ts'
import { formatAddress } from '../../src/options/address.ts'
import type { QuicConnection, Runtime } from '../../src/runtime.ts'
import { start } from '../../src/start.ts'
import { silentLog } from '../../src/telemetry.ts'
import { createTimers } from '../../src/timers.ts'
import { startEdge } from '../../src/tunnel/edge/edge.ts'
import { clientOn, pushBody, requestFor, startHttp2 } from '../http2/rig.ts'
import { runtime as ours } from '../support/runtime.ts'
import { until } from '../support/until.ts'
import { createMemoryQuic } from './memory-quic.ts'

const loopback = { host: '127.0.0.1', port: 0 }
const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

/** A host that has QUIC, whatever runs this: both ends of it are here. */
function withQuic(runtime: Runtime): Runtime {
  const doors = new Map<number, (connection: QuicConnection) => void>()
  return {
    ...runtime,
    async listenQuic(address, _, accept) {
      doors.set(address.port, accept)
      return { address, present: async () => {}, close: async () => void doors.delete(address.port) }
    },
    async connectQuic(to) {
      const { client, server } = createMemoryQuic()
      doors.get(to.port)!(server)
      return client
    },
  }
}

test('PUT /config with the first gRPC route: live connections move from QUIC to HTTP/2, and nothing is lost', async () => {
  const runtime = withQuic(ours)
  const timers = createTimers(runtime.clock)
  const slow = pushBody()
  await using backend = await startHttp2((request) => {
    const body = pushBody()
    body.push('hello')
    body.finish(headOf([['grpc-status', '0']]))
    return engineRequest(request)!.target === '/slow'
      ? responseOf(200, '', headOf([]), slow)
      : responseOf(200, '', headOf([]), body)
  })
  const edge = await startEdge({ runtime, timers, log: silentLog, servers: [loopback, loopback], eyeballs: loopback })
  stops.push(() => edge.close())
  const service = await start(
    {
      ...defaultOptions(),
      listen: [{ address: loopback }],
      admin: loopback,
      connections: 2,
      edge: edge.servers.map(({ address }) => formatAddress(address)),
    },
    runtime,
    {
      log: silentLog,
      accessLog: { write() {} },
      version: '1.2.3',
      tunnel: {
        credentials: edge.mint().credentials,
        origin: 'token',
        region: undefined,
        edgeCa: edge.certificate,
      },
    },
  )
  stops.push(() => {
    service.abort()
    return service.stop()
  })

  async function put(version: number, hasGrpcRoute: boolean): Promise<void> {
    const url = `http://127.0.0.1:${backend.port}`
    const answer = await fetch(`http://${formatAddress(service.admin)}/config`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ version, hasGrpcRoute, rules: [{ backends: [{ url, weight: 1, protocol: 'h2c' }] }] }),
    })
    expect(answer.status).toBe(200)
  }
  const registered = (protocol: string): number =>
    edge.connections.filter((connection) => connection.phase === 'registered' && connection.protocol === protocol)
      .length

  await put(1, false)
  await until(() => registered('quic') === 2)
  const eyeball = clientOn(await runtime.connect(edge.eyeballs!, { timeoutMs: 5_000 }), timers)
  stops.push(() => eyeball.destroy())
  const inFlight = await eyeball.send(requestFor('/slow'), {})
  const reader = inFlight.body!.getReader()
  slow.push('first ')
  expect(new TextDecoder().decode((await reader.read()).value)).toBe('first ')

  await put(2, true)
  let fewest = 2
  await until(() => {
    fewest = Math.min(fewest, registered('quic') + registered('http2'))
    return registered('http2') === 2
  })
  expect(fewest).toBeGreaterThanOrEqual(1)
  slow.push('last')
  slow.finish()
  expect(new TextDecoder().decode((await reader.read()).value)).toBe('last')
  expect((await reader.read()).done).toBe(true)

  const call = await eyeball.send(requestFor('/', { method: 'POST', fields: [['TE', 'trailers']] }), {})
  for await (const piece of call.body!) expect(new TextDecoder().decode(piece)).toBe('hello')
  expect(trailersOf(call)).toEqual([['grpc-status', '0']])
  await until(() => registered('quic') === 0)
})
