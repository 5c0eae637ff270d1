import { afterEach, describe, expect, test } from 'vitest'
import { createResponse } from '../../../src/http/response.ts'
import { formatAddress } from '../../../src/options/address.ts'
import type { Handler } from '../../../src/runtime.ts'
import { silentLog } from '../../../src/telemetry.ts'
import { createTimers } from '../../../src/timers.ts'
import { type Edge, type EdgeOptions, startEdge } from '../../../src/tunnel/edge/edge.ts'
import { createTunnel, type Tunnel as Connector } from '../../../src/tunnel/tunnel.ts'
import { runtime } from '../../support/service.ts'
import { until } from '../../support/until.ts'

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

  test('two connectors of one tunnel share its requests, and one serves alone when the other leaves', async () => {
    const edge = await openEdge()
    const { credentials } = edge.mint()
    const [one, other] = ['one', 'other'].map((name) => connect(edge, () => createResponse(200, [], name), credentials))
    await until(() => edge.connections.filter(({ phase }) => phase === 'registered').length === 2)
    const ask = async (): Promise<string> => (await edge.fetch(new Request('http://a.example/'))).text()
    const answers: string[] = []
    for (let i = 0; i < 4; i++) answers.push(await ask())
    expect(answers.toSorted()).toEqual(['one', 'one', 'other', 'other'])
    expect(await one!.stop(5_000)).toBe(true)
    expect([await ask(), await ask()]).toEqual(['other', 'other'])
    expect(other!.ready).toBe(1)
    expect(edge.violations).toEqual([])
  })

  test('requests are spread over the connections', async () => {
    const edge = await openEdge({ servers: [loopback, loopback] })
    const connector = connect(edge, show)
    await until(() => connector.ready === 2 && edge.connections.every(({ phase }) => phase === 'registered'))
    for (let i = 0; i < 10; i++) await (await edge.fetch(new Request('http://a.example/'))).text()
    expect(edge.connections.map(({ served }) => served)).toEqual([5, 5])
  })
})
