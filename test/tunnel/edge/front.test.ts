import { afterEach, describe, expect, test } from 'vitest'
import { emptyHead, headOf } from '../../../src/http/head.ts'
import { engineRequest } from '../../../src/http/request.ts'
import { createResponse, responseOf } from '../../../src/http/response.ts'
import { trailersOf } from '../../../src/http/trailers.ts'
import type { Http2Connection } from '../../../src/http2/client.ts'
import { flag, frameType } from '../../../src/http2/frames.ts'
import { formatAddress } from '../../../src/options/address.ts'
import type { Exchange, Handler } from '../../../src/runtime.ts'
import { silentLog } from '../../../src/telemetry.ts'
import { createTimers } from '../../../src/timers.ts'
import { startEdge, type Edge } from '../../../src/tunnel/edge/edge.ts'
import { createPipe } from '../../../src/tunnel/edge/pipe.ts'
import { createTunnel } from '../../../src/tunnel/tunnel.ts'
import { literalBlock, RawPeer } from '../../http2/raw-peer.ts'
import { clientOn, patternBody, pushBody, readPattern, requestFor } from '../../http2/rig.ts'
import { runtime } from '../../support/runtime.ts'
import { until } from '../../support/until.ts'
import { webSocketAccept } from '../../support/websocket-accept.ts'
import { dial } from '../../support/wire.ts'

const timers = createTimers(runtime.clock)
const loopback = { host: '127.0.0.1', port: 0 }
const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

/** An eyeball of HTTP/2, and a connector whose handler answers it. */
async function connect(handler: Handler): Promise<{ eyeball: Http2Connection; edge: Edge }> {
  const edge = await startEdge({ runtime, timers, log: silentLog, servers: [loopback], eyeballs: loopback })
  stops.push(() => edge.close())
  const connector = createTunnel({
    runtime,
    timers,
    log: silentLog,
    random: () => 0,
    credentials: edge.mint().credentials,
    credentialOrigin: 'token',
    region: undefined,
    protocol: 'http2',
    connections: 1,
    edge: edge.servers.map(({ address }) => formatAddress(address)),
    edgeCa: edge.certificate,
    ipVersion: 'auto',
    version: '1.2.3',
    handler,
    needsTrailers: () => false,
  })
  stops.push(() => connector.destroy())
  connector.start()
  await until(() => edge.connections[0]?.phase === 'registered')
  const eyeball = clientOn(await runtime.connect(edge.eyeballs!, { timeoutMs: 5_000 }), timers)
  stops.push(() => eyeball.destroy())
  return { eyeball, edge }
}

const echo: Handler = (request) => responseOf(200, '', emptyHead, engineRequest(request)!.holder.take())

describe('an eyeball that speaks HTTP/2 to the local edge', () => {
  test('reaches the handler with what the edge adds', async () => {
    const { eyeball, edge } = await connect((request) =>
      createResponse(
        200,
        [['x-seen', request.headers.get('cf-connecting-ip') ?? '']],
        engineRequest(request)!.authority,
      ),
    )
    const answer = await eyeball.send(requestFor('/', { authority: 'shop.example.com' }), {})
    expect([answer.status, answer.headers.get('x-seen')]).toEqual([200, '127.0.0.1'])
    expect(answer.headers.get('cf-ray')).toMatch(/^[0-9a-f]{16}-LHR$/)
    expect(await answer.text()).toBe('shop.example.com')
    expect(edge.violations).toEqual([])
  })

  test('bodies flow both ways at once, and trailers follow them both ways', async () => {
    let wanted: string | null = null
    const { eyeball } = await connect((request) => {
      wanted = request.headers.get('te')
      return echo(request)
    })
    const body = pushBody()
    const answer = await eyeball.send(requestFor('/', { body, fields: [['TE', 'trailers']] }), {})
    expect(wanted).toBe('trailers')
    const reader = answer.body!.getReader()
    for (const text of ['one', 'two']) {
      body.push(text)
      expect(new TextDecoder().decode((await reader.read()).value)).toBe(text)
    }
    body.finish(headOf([['X-After', 'all']]))
    expect((await reader.read()).done).toBe(true)
    expect(trailersOf(answer)).toEqual([['x-after', 'all']])
  })

  test('large bodies keep to back-pressure on every hop', async () => {
    const { eyeball } = await connect(echo)
    const answer = await eyeball.send(requestFor('/', { body: patternBody(8_000_000) }), {})
    expect(await readPattern(answer.body!)).toBe(8_000_000)
  })

  test('its reset is heard at the handler', async () => {
    let seen: Exchange | undefined
    const { eyeball } = await connect((_, exchange) => {
      seen = exchange
      return new Promise(() => {})
    })
    const leave = new AbortController()
    const sent = eyeball.send(requestFor('/'), { signal: leave.signal })
    await until(() => seen !== undefined)
    expect(seen!.gone).toBe(false)
    leave.abort()
    await expect(sent).rejects.toMatchObject({ error: { kind: 'downstream-gone' } })
    await until(() => seen!.gone)
  })

  test('an answer that breaks at the handler breaks at the eyeball, and nothing else does', async () => {
    const body = pushBody()
    const { eyeball } = await connect((request) =>
      engineRequest(request)!.target === '/broken'
        ? responseOf(200, '', emptyHead, body)
        : createResponse(200, [], 'whole'),
    )
    const answer = await eyeball.send(requestFor('/broken'), {})
    const reader = answer.body!.getReader()
    body.push('half')
    expect(new TextDecoder().decode((await reader.read()).value)).toBe('half')
    body.break({ kind: 'downstream-gone' })
    await expect(reader.read()).rejects.toBeDefined()
    expect(await (await eyeball.send(requestFor('/'), {})).text()).toBe('whole')
  })

  test('over HTTP/1.1: a handshake with a body is a request like others, since a WebSocket has no body', async () => {
    const { edge } = await connect(async (request, exchange) => {
      return createResponse(200, [], `${exchange!.upgrade} ${await request.text()}`)
    })
    const wire = await dial(edge.eyeballs!)
    stops.push(() => wire.destroy())
    wire.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc')
    expect(await wire.until('undefined abc')).toMatch(/^HTTP\/1\.1 200 /)
    expect(edge.violations).toEqual([])
  })

  test('RFC 8441: has a WebSocket on one of its streams', async () => {
    const { edge } = await connect(async (request, exchange) => {
      expect([request.method, exchange!.upgrade, exchange!.edge]).toEqual(['GET', 'websocket', true])
      const accept = await webSocketAccept(request.headers.get('sec-websocket-key')!)
      const { body: incoming, sink: outgoing, onWritable } = createPipe()
      const head = headOf([
        ['Upgrade', 'websocket'],
        ['Sec-WebSocket-Accept', accept],
      ])
      return responseOf(101, '', head, undefined, { incoming, outgoing, onWritable })
    })
    const peer = new RawPeer(await runtime.connect(edge.eyeballs!, { timeoutMs: 5_000 }))
    stops.push(() => peer.destroy())
    const handshake = literalBlock([
      [':method', 'CONNECT'],
      [':protocol', 'websocket'],
      [':scheme', 'http'],
      [':path', '/'],
      [':authority', 'chat.example'],
      ['sec-websocket-version', '13'],
    ])
    peer.send(frameType.headers, flag.endHeaders, 1, handshake)
    expect(await peer.fields(1)).toContain(':status: 200')
    // A frame of RFC 6455 that says nothing: the connector follows frames.
    peer.send(frameType.data, 0, 1, Uint8Array.of(0x81, 0x02, 0x68, 0x69))
    await until(() => peer.text(1).endsWith('hi'))
    expect(edge.violations).toEqual([])
  })
})
