import { afterEach, describe, expect, test } from 'vitest'
import { createResponse } from '../../../src/http/response.ts'
import { formatAddress } from '../../../src/options/address.ts'
import type { Handler } from '../../../src/runtime.ts'
import { silentLog } from '../../../src/telemetry.ts'
import { createTimers } from '../../../src/timers.ts'
import { type Edge, type EdgeOptions, startEdge } from '../../../src/tunnel/edge/edge.ts'
import { registrationErrors } from '../../../src/tunnel/edge/faults.ts'
import { createTunnel, type Tunnel as Connector } from '../../../src/tunnel/tunnel.ts'
import { runtime, until } from '../../support/service.ts'

const timers = createTimers(runtime.clock)
const loopback = { host: '127.0.0.1', port: 0 }
const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

async function openEdge(options: Partial<EdgeOptions> = {}): Promise<Edge> {
  const edge = await startEdge({ runtime, timers, log: silentLog, servers: [loopback], eyeballs: loopback, ...options })
  stops.push(() => edge.close())
  return edge
}

function connect(edge: Edge, handler: Handler, credentials = edge.mint().credentials): Connector {
  const connector = createTunnel({
    runtime,
    timers,
    log: silentLog,
    random: () => 0,
    credentials,
    credentialOrigin: 'token',
    region: undefined,
    protocol: 'http2',
    connections: 4,
    edge: edge.servers.map(({ address }) => formatAddress(address)),
    edgeCa: edge.certificate,
    ipVersion: 'auto',
    version: '1.2.3',
    handler,
    needsTrailers: () => false,
  })
  stops.push(() => connector.destroy())
  connector.start()
  return connector
}

const show: Handler = async (request) =>
  createResponse(
    200,
    [['X-Seen', request.headers.get('cf-connecting-ip') ?? '']],
    `${request.method} ${request.url} ${await request.text()}`,
  )

describe('the local edge, with our own connector', () => {
  test('requests go in at the front and come out at the handler', async () => {
    const edge = await openEdge()
    const connector = connect(edge, show)
    await until(() => connector.ready === 1 && edge.connections[0]?.phase === 'registered')
    const answer = await fetch(`http://${formatAddress(edge.eyeballs!)}/a?b=c`, { method: 'POST', body: 'hello' })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('x-seen')).toBe('127.0.0.1')
    expect(answer.headers.get('cf-ray')).toMatch(/^[0-9a-f]{16}-LHR$/)
    expect(answer.headers.has('cf-cloudflared-response-meta')).toBe(false)
    expect(await answer.text()).toMatch(/^POST .*\/a\?b=c hello$/)
    expect(edge.violations).toEqual([])
  })

  test('nobody registered: 530', async () => {
    const edge = await openEdge()
    edge.mint()
    const answer = await edge.fetch(new Request('http://a.example/'))
    expect([answer.status, await answer.text()]).toEqual([530, 'error 1033: no connector serves this tunnel\n'])
  })

  test('each server takes one connection of a connector, and a push reaches every one', async () => {
    const edge = await openEdge({ servers: [loopback, loopback] })
    const connector = connect(edge, show)
    await until(() => connector.ready === 2)
    expect(edge.connections.map(({ registration }) => registration!.connIndex)).toEqual([0, 1])
    const pushed = await edge.configure({ ingress: [] })
    expect(pushed.map(({ latestAppliedVersion, error }) => [latestAppliedVersion, error])).toEqual([
      [0, ''],
      [0, ''],
    ])
  })

  test('a connector that leaves unregisters, and its connection closes', async () => {
    const edge = await openEdge()
    const connector = connect(edge, show)
    await until(() => connector.ready === 1)
    const [connection] = edge.connections
    expect(await connector.stop(5_000)).toBe(true)
    await until(() => edge.connections.length === 0)
    expect(connection!.unregistered).toBe(true)
    expect(edge.violations).toEqual([])
  })

  test.each([
    ['RPC in two segments', { segmented: true }],
    ['RPC that comes late', { rpcDelayMs: 100 }],
    ['an exception, once', { registration: { kind: 'exception', reason: 'no' } }],
    ['an abort, once', { registration: { kind: 'abort' } }],
    ['a duplicate connection, once', { registration: { kind: 'error', error: registrationErrors.duplicate } }],
    ['a close right after registration, once', { registration: { kind: 'close-after' } }],
  ] as const)('%s: the connector comes up all the same', async (_, faults) => {
    let attempts = 0
    const edge = await openEdge({
      faults: ({ attempt }) => {
        attempts++
        return attempt === 0 ? faults : undefined
      },
    })
    const connector = connect(edge, show)
    await until(() => connector.ready === 1 && (attempts > 1 || !('registration' in faults)))
    const answer = await edge.fetch(new Request('http://a.example/'))
    expect(answer.status).toBe(200)
  })

  test('requests are spread over the connections', async () => {
    const edge = await openEdge({ servers: [loopback, loopback] })
    const connector = connect(edge, show)
    await until(() => connector.ready === 2 && edge.connections.every(({ phase }) => phase === 'registered'))
    for (let i = 0; i < 10; i++) await (await edge.fetch(new Request('http://a.example/'))).text()
    expect(edge.connections.map(({ served }) => served)).toEqual([5, 5])
  })

  test.each([
    ['GOAWAY', (edge: Edge) => edge.connections[0]!.goAway()],
    ['a lost control stream', (edge: Edge) => edge.connections[0]!.loseControl()],
    ['a close', (edge: Edge) => edge.connections[0]!.close()],
  ])('%s: the connector comes back', async (_, act) => {
    const edge = await openEdge()
    const connector = connect(edge, show)
    await until(() => connector.ready === 1 && edge.connections[0]?.phase === 'registered')
    const first = edge.connections[0]!
    act(edge)
    await until(() => edge.connections.some((other) => other !== first && other.phase === 'registered'))
    expect((await edge.fetch(new Request('http://a.example/'))).status).toBe(200)
  })

  test.each([undefined, 'reset'] as const)(
    'a connection that is closed (%s) is given nothing from then on',
    async (how) => {
      const edge = await openEdge({ servers: [loopback, loopback] })
      const connector = connect(edge, show)
      await until(() => connector.ready === 2 && edge.connections.every(({ phase }) => phase === 'registered'))
      edge.connections[0]!.close(how)
      const answers = Array.from({ length: 4 }, () => edge.fetch(new Request('http://a.example/')))
      expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200, 200])
    },
  )

  test('a request that may have been acted upon is not given to another connection', async () => {
    const edge = await openEdge({ servers: [loopback, loopback] })
    let asked = 0
    const connector = connect(edge, () => {
      asked++
      return asked < 3 ? createResponse(200, []) : new Promise(() => {})
    })
    await until(() => connector.ready === 2 && edge.connections.every(({ phase }) => phase === 'registered'))
    // A connection that has served before: one that broke with its first request might never have been there.
    for (let i = 0; i < 2; i++) await (await edge.fetch(new Request('http://a.example/'))).text()
    const answer = edge.fetch(new Request('http://a.example/', { method: 'POST' }))
    await until(() => asked === 3)
    edge.connections.find(({ inFlight }) => inFlight === 1)!.close('reset')
    expect([(await answer).status, asked]).toEqual([502, 3])
  })

  test('a wrong secret is Unauthorized, and never registers', async () => {
    const edge = await openEdge()
    const { credentials } = edge.mint()
    const connector = connect(edge, show, { ...credentials, tunnelSecret: new Uint8Array(32) })
    await until(() => connector.reports[0]?.lastFailure !== undefined)
    expect(connector.reports[0]!.lastFailure).toMatch(/Unauthorized/)
    expect(connector.ready).toBe(0)
  })
})
