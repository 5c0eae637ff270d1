import { describe, expect, test } from 'vitest'
import { type Body } from '../../src/http/body.ts'
import { emptyHead } from '../../src/http/head.ts'
import { createResponse, responseOf } from '../../src/http/response.ts'
import { engineRequest } from '../../src/http/request.ts'
import { type Exchange, type Handler, type Outcome, type QuicStream } from '../../src/runtime.ts'
import { silentLog } from '../../src/telemetry.ts'
import { type ControlStream, DialFailure, type EdgeLink, type LinkEnd } from '../../src/tunnel/edge-link.ts'
import { readQuicResponse, writeQuicRequest } from '../../src/tunnel/quic-http.ts'
import { createQuicTransport } from '../../src/tunnel/quic-transport.ts'
import { createRemoteConfiguration } from '../../src/tunnel/remote-configuration.ts'
import { createRequestCounts } from '../../src/tunnel/request-counts.ts'
import { createRpcConnection } from '../../src/tunnel/rpc.ts'
import { updateConfiguration } from '../../src/tunnel/configuration-manager.ts'
import { registerUdpSession } from '../../src/tunnel/session-manager.ts'
import {
  createOpeningReader,
  readConnectResponse,
  rpcPreface,
  writeConnectRequest,
} from '../../src/tunnel/stream-metadata.ts'
import { createManualTimers } from './manual-timers.ts'
import { createMemoryQuic, type MemoryQuicEnd } from './memory-quic.ts'
import { concat } from './messages.ts'

const encode = (text: string) => new TextEncoder().encode(text)
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

/** What the edge read of a stream of its own. */
interface Reading {
  readonly stream: QuicStream
  bytes: Uint8Array
  ended: boolean
  reset: boolean
  stopped: boolean
}

interface Scene {
  readonly edge: MemoryQuicEnd
  readonly link: EdgeLink
  readonly control: ControlStream
  readonly ends: LinkEnd[]
  readonly timers: ReturnType<typeof createManualTimers>
  readonly counts: ReturnType<typeof createRequestCounts>
  open(...bytes: readonly Uint8Array[]): Promise<Reading>
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await Promise.resolve()
}

async function createScene(handler: Handler, pieceBytes?: number): Promise<Scene> {
  const { client, server: edge } = createMemoryQuic(pieceBytes)
  const timers = createManualTimers()
  const counts = createRequestCounts()
  const ends: LinkEnd[] = []
  let control: ControlStream | undefined
  const transport = createQuicTransport({
    connectQuic: () => Promise.resolve(client),
    timers,
    trust: { ca: '' },
    handler,
    configuration: createRemoteConfiguration(() => {}),
    counts,
    log: silentLog,
  })
  edge.attach({ stream() {}, close() {} })
  const link = await transport.connect({ host: '198.51.100.1', port: 7844, family: 4 }, 2, {
    control: (stream) => (control = stream),
    goAway() {},
    close: (end) => ends.push(end),
  })
  await settle()
  return {
    edge,
    link,
    control: control!,
    ends,
    timers,
    counts,
    async open(...bytes) {
      const stream = await edge.openStream()
      const reading: Reading = { stream, bytes: new Uint8Array(0), ended: false, reset: false, stopped: false }
      stream.attach({
        data(piece, start, end) {
          reading.bytes = concat(reading.bytes, piece.slice(start, end))
          return true
        },
        end: () => (reading.ended = true),
        drain() {},
        reset: () => (reading.reset = true),
        stopped: () => (reading.stopped = true),
      })
      for (const piece of bytes) stream.write(piece)
      await settle()
      return reading
    },
  }
}

function requestBytes(
  fields: readonly (readonly [string, string])[] = [],
  more: { method?: string; isWebSocket?: boolean } = {},
) {
  return writeConnectRequest(
    writeQuicRequest({
      method: more.method ?? 'GET',
      authority: 'shop.example.com',
      url: 'https://shop.example.com/a%2Fb?c=d',
      fields,
      isWebSocket: more.isWebSocket ?? false,
    }),
  )
}

function answerOf(reading: Reading) {
  const reader = createOpeningReader()
  const taken = reader.push(reading.bytes, 0, reading.bytes.length)
  if (reader.opening?.kind !== 'data') throw new Error('no answer')
  return { ...readQuicResponse(readConnectResponse(reader.opening.message)), body: reading.bytes.slice(taken) }
}

const echo: Handler = async (request) => {
  const text = await request.text()
  return createResponse(200, [['X-Method', request.method]], `${engineRequest(request)!.target} ${text}`)
}

describe('requests', () => {
  test.each([Infinity, 1])('method, target, host and fields arrive, in pieces of %s bytes too', async (pieceBytes) => {
    let seen: { url: string; ray: string | null; scheme: string; edge: boolean | undefined } | undefined
    const { open } = await createScene((request, exchange) => {
      seen = {
        url: request.url,
        ray: request.headers.get('cf-ray'),
        scheme: exchange!.scheme,
        edge: exchange!.edge,
      }
      return createResponse(
        201,
        [
          ['X-A', '1'],
          ['X-A', '2'],
        ],
        'hello',
      )
    }, pieceBytes)
    const reading = await open(
      requestBytes([
        ['cf-ray', '1-LIS'],
        ['x-forwarded-proto', 'http'],
      ]),
    )
    expect(seen).toEqual({ url: 'http://shop.example.com/a%2Fb?c=d', ray: '1-LIS', scheme: 'http', edge: true })
    const answer = answerOf(reading)
    expect(answer).toMatchObject({
      status: 201,
      fields: [
        ['X-A', '1'],
        ['X-A', '2'],
        ['Content-Length', '5'],
      ],
    })
    expect(decode(answer.body)).toBe('hello')
    expect(reading.ended).toBe(true)
  })

  test.each([
    ['a length: so many bytes', [['content-length', '5']], 'hello', 'hello'],
    ['more than the length says: the rest is nobody’s', [['content-length', '5']], 'hello, you', 'hello'],
    ['chunked: raw bytes up to FIN', [['transfer-encoding', 'gzip,chunked']], '5\r\nhello', '5\r\nhello'],
    ['neither: no body, whatever comes', [], 'hello', ''],
    ['a length of 0: no body', [['content-length', '0']], 'hello', ''],
  ] as const)('the body of a request with %s', async (_, fields, sent, got) => {
    const { open } = await createScene(echo)
    const reading = await open(requestBytes(fields, { method: 'POST' }), encode(sent))
    reading.stream.end()
    await settle()
    expect(decode(answerOf(reading).body)).toBe(`/a%2Fb?c=d ${got}`)
  })

  test('a body that ends before its length breaks the request', async () => {
    let failed = false
    const { open } = await createScene(async (request) => {
      await request.text().catch(() => (failed = true))
      return createResponse(200, [])
    })
    const reading = await open(requestBytes([['content-length', '10']], { method: 'POST' }), encode('hello'))
    reading.stream.end()
    await settle()
    expect(failed).toBe(true)
  })

  test('fields between the edge and the connector do not reach the handler', async () => {
    let names: string[] = []
    const { open } = await createScene((request) => {
      names = [...request.headers.keys()]
      return createResponse(204, [])
    })
    await open(
      requestBytes([
        ['cf-cloudflared-proxy-connection-upgrade', 'x'],
        ['cf-trace-id', '1:2:0:1'],
        ['cf-ray', '1'],
      ]),
    )
    expect(names).toEqual(['cf-ray'])
  })

  test.each([
    ['private network traffic', writeConnectRequest({ dest: '10.0.0.1:22', type: 'tcp', metadata: [] })],
    ['an unknown type', writeConnectRequest({ dest: 'https://a/', type: undefined, metadata: [] })],
    ['a length that is none', requestBytes([['content-length', 'x']])],
  ])('%s is answered with an error', async (_, bytes) => {
    const { open, ends } = await createScene(echo)
    const reading = await open(bytes)
    expect(answerOf(reading)).toHaveProperty('error')
    expect(reading.ended).toBe(true)
    expect(ends).toEqual([])
  })

  test('a handler that throws before its answer: an error, and not an answer of the routes', async () => {
    const { open, counts } = await createScene(() => {
      throw new Error('secret detail')
    })
    const answer = answerOf(await open(requestBytes()))
    expect(answer).toMatchObject({ error: 'the request failed' })
    expect(counts).toMatchObject({ total: 1, errors: 1, concurrent: 0 })
  })

  test('an answer that breaks is reset, so that it does not look whole', async () => {
    const broken: Body = {
      length: undefined,
      start(sink) {
        const half = encode('half')
        sink.data(half, 0, half.length)
        sink.fail({ kind: 'upstream', phase: 'body', cause: 'closed', reason: 'gone' })
      },
      resume() {},
      cancel() {},
    }
    const { open } = await createScene(() => responseOf(200, '', emptyHead, broken))
    const reading = await open(requestBytes())
    expect(reading).toMatchObject({ ended: false, reset: true })
  })

  test('what we cut off is no client that left', async () => {
    const outcomes: Outcome[] = []
    const { open, link } = await createScene((_request, exchange) => {
      exchange!.onFinish((outcome) => outcomes.push(outcome))
      return new Promise<Response>(() => {})
    })
    await open(requestBytes())
    link.destroy()
    await settle()
    expect(outcomes).toMatchObject([{ status: 0, error: { kind: 'cut-off' } }])
  })

  test.each([
    ['resets its half', (reading: Reading) => reading.stream.reset()],
    ['stops reading', (reading: Reading) => reading.stream.stopReading()],
  ])('an edge that %s cancels that request alone', async (_, leave) => {
    const exchanges: Exchange[] = []
    const outcomes: Outcome[] = []
    const { open, ends } = await createScene((_request, exchange) => {
      exchanges.push(exchange!)
      exchange!.onFinish((outcome) => outcomes.push(outcome))
      return exchanges.length === 1 ? new Promise<Response>(() => {}) : createResponse(200, [], 'other')
    })
    const reading = await open(requestBytes([['transfer-encoding', 'chunked']], { method: 'POST' }))
    leave(reading)
    await settle()
    expect(exchanges[0]!.gone).toBe(true)
    expect(outcomes).toMatchObject([{ status: 0, error: { kind: 'downstream-gone' } }])
    expect(decode(answerOf(await open(requestBytes())).body)).toBe('other')
    expect(ends).toEqual([])
  })
})

test('a WebSocket keeps its 101, and carries bytes both ways', async () => {
  let request: Request | undefined
  const backend = createLoopback()
  const { open } = await createScene((received, exchange) => {
    request = received
    expect(exchange!.upgrade).toBe('websocket')
    const head = emptyHead.edit({
      removed: [],
      added: [
        ['Upgrade', 'websocket'],
        ['Sec-WebSocket-Accept', 'x'],
      ],
    })
    return responseOf(101, '', head, undefined, backend)
  })
  const reading = await open(requestBytes([['sec-websocket-key', 'dGhlIHNhbXBsZSBub25jZQ==']], { isWebSocket: true }))
  expect(request!.headers.get('sec-websocket-version')).toBe('13')
  expect(answerOf(reading)).toMatchObject({
    status: 101,
    fields: [
      ['Connection', 'Upgrade'],
      ['Upgrade', 'websocket'],
      ['Sec-WebSocket-Accept', 'x'],
    ],
  })
  reading.stream.write(encode('ping'))
  await settle()
  expect(decode(answerOf(reading).body)).toBe('ping')
  reading.stream.end()
  await settle()
  expect(reading.ended).toBe(true)
})

/** A switched connection that says what it hears. */
function createLoopback() {
  let sink: Parameters<Body['start']>[0] | undefined
  return {
    incoming: {
      length: undefined,
      start: (to: Parameters<Body['start']>[0]) => void (sink = to),
      resume() {},
      cancel() {},
    },
    outgoing: {
      data: (bytes: Uint8Array, start: number, end: number) => sink!.data(bytes.slice(start, end), 0, end - start),
      end: () => sink!.end(),
      fail() {},
    },
    onWritable() {},
  }
}

describe('streams', () => {
  test('the control stream is the first, and begins without a signature', async () => {
    const { control, edge } = await createScene(echo)
    control.write(Uint8Array.of(1, 2, 3))
    await settle()
    expect(edge.streams).toHaveLength(1)
    expect(edge.streams[0]!.inbox).toEqual([Uint8Array.of(1, 2, 3)])
  })

  test('calls of the edge are answered on their own stream, without a signature', async () => {
    const { open, timers, edge } = await createScene(echo, 7)
    const reading = await open(rpcPreface)
    const rpc = createRpcConnection(
      { write: (message) => void reading.stream.write(message), end: () => reading.stream.end() },
      { timers },
    )
    reading.stream.attach({
      data(bytes, start, end) {
        rpc.receive(bytes, start, end)
        return true
      },
      end: () => rpc.lost('ended'),
      drain() {},
      reset: () => rpc.lost('reset'),
      stopped() {},
    })
    const config = encode('{"ingress":[]}')
    expect(await rpc.call(updateConfiguration, { version: 7, config }, 5_000)).toEqual({
      latestAppliedVersion: 7,
      error: '',
    })
    const session = {
      sessionId: new Uint8Array(16),
      dstIp: Uint8Array.of(10, 0, 0, 1),
      dstPort: 53,
      closeAfterIdleMs: 210_000,
      traceContext: '',
    }
    expect((await rpc.call(registerUdpSession, session, 5_000)).error).not.toBe('')
    expect(edge.closed).toBe(false)
  })

  test('a stream with an unknown signature is reset, and the connection lives on', async () => {
    const { open, ends } = await createScene(echo)
    const reading = await open(encode('GET / HTTP/1.1\r\n\r\n'))
    expect(reading).toMatchObject({ reset: true, stopped: true })
    expect(ends).toEqual([])
  })

  test('a stream that never says what it is for is reset in time', async () => {
    const { open, timers } = await createScene(echo)
    const reading = await open(Uint8Array.of(0x0a))
    timers.advance(11_000)
    await settle()
    expect(reading.reset).toBe(true)
  })
})

describe('the connection', () => {
  test('it closes once nothing is in flight', async () => {
    let answer: (response: Response) => void = () => {}
    const { open, link, edge, timers } = await createScene(() => new Promise<Response>((resolve) => (answer = resolve)))
    const reading = await open(requestBytes())
    link.finish('end')
    await settle()
    expect(edge.closed).toBe(false)
    answer(createResponse(200, [], 'late'))
    await settle()
    expect(decode(answerOf(reading).body)).toBe('late')
    // What was written last needs time to arrive, and whoever reads it may close before.
    expect(edge.closed).toBe(false)
    timers.advance(2_500)
    expect(edge.closed).toBe(true)
  })

  test.each([
    ['an idle timeout is silence', { code: 'timeout', message: 'idle' }, true],
    ['a close is none', undefined, false],
  ] as const)('%s', async (_, error, silent) => {
    const { edge, ends } = await createScene(echo)
    edge.other.lose(error)
    expect(ends).toMatchObject([{ silent }])
  })

  test.each([
    ['timeout', 'quic-blocked'],
    ['denied', 'quic-blocked'],
    ['refused', 'unreachable'],
    ['tls', 'unreachable'],
  ] as const)('a dial that ends with %s counts as %s', async (code, failure) => {
    const transport = createQuicTransport({
      connectQuic: () => Promise.reject({ code, message: 'no' }),
      timers: createManualTimers(),
      trust: { ca: '' },
      handler: echo,
      configuration: createRemoteConfiguration(() => {}),
      counts: createRequestCounts(),
      log: silentLog,
    })
    const dialled = transport.connect({ host: '198.51.100.1', port: 7844, family: 4 }, 0, {
      control() {},
      goAway() {},
      close() {},
    })
    await expect(dialled).rejects.toMatchObject({ failure })
    await expect(dialled).rejects.toBeInstanceOf(DialFailure)
  })
})
