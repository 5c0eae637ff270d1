import { describe, expect, test } from 'vitest'
import { ProxyFailure, type ProxyError } from '../../src/errors.ts'
import type { BodySink } from '../../src/http/body.ts'
import { headOf } from '../../src/http/head.ts'
import { createRequest, engineRequest } from '../../src/http/request.ts'
import { engineResponse } from '../../src/http/response.ts'
import { bodyOfStream } from '../../src/http/stream.ts'
import { trailersOf } from '../../src/http/trailers.ts'
import type { SendOptions } from '../../src/http/send.ts'
import { Http1Connection } from '../../src/http1/client.ts'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import type { Exchange, Field } from '../../src/runtime.ts'
import { until } from '../support/until.ts'
import { startWireServer, type Wire } from '../support/wire.ts'
import { createMemorySocket, type MemorySocket } from '../support/memory-socket.ts'
import { createManualTimers, type ManualTimers } from '../tunnel/manual-timers.ts'
import { connectEngine } from './engine.ts'

interface Asking {
  readonly method?: string
  readonly fields?: readonly Field[]
  readonly body?: string | ReadableStream<Uint8Array>
  readonly length?: number
}

function ask({ method = 'GET', fields = [], body, length }: Asking = {}): Request {
  const stream = typeof body === 'string' ? new Blob([body]).stream() : body
  return createRequest({
    method,
    target: '/a?b',
    authority: 'a.example:81',
    scheme: 'http',
    head: headOf(fields),
    body: stream && bodyOfStream(stream, typeof body === 'string' ? body.length : length),
    exchange: undefined,
  })
}

interface TestExchange extends Exchange {
  readonly informed: readonly (readonly [number, readonly Field[]])[]
  leave(): void
}

/** What a client connection needs of the exchange it serves. */
function exchangeOf(facts: Partial<Exchange> = {}): TestExchange {
  const informed: [number, readonly Field[]][] = []
  const listeners: ((error: ProxyError) => void)[] = []
  return {
    scheme: 'http',
    httpVersion: '1.1',
    peer: { host: '192.0.2.1', port: 1 },
    local: { host: '192.0.2.2', port: 2 },
    startedAtMs: 0,
    awaitsContinue: false,
    gone: false,
    inform: (status, fields) => informed.push([status, fields]),
    onAbort: (listener) => listeners.push(listener),
    onFinish() {},
    ...facts,
    informed,
    leave() {
      for (const listener of listeners) listener({ kind: 'downstream-gone' })
    },
  }
}

/** One exchange with a server that sends `answer` once the head of the request is here. */
async function send(
  answer: string,
  { end = false, how = {}, ...asking }: Asking & { readonly end?: boolean; readonly how?: SendOptions } = {},
): Promise<{ head: string; response: Response; events: readonly string[] }> {
  let head = ''
  await using server = await startWireServer(async (wire) => {
    head = await wire.until('\r\n\r\n')
    wire.send(answer)
    if (end) wire.finish()
  })
  await using client = await connectEngine(server.address)
  const response = await client.connection.send(ask(asking), how)
  await response.text()
  return { head, response, events: client.events }
}

async function failure(sent: Promise<unknown>): Promise<ProxyError> {
  try {
    await sent
  } catch (thrown) {
    if (thrown instanceof ProxyFailure) return thrown.error
    throw thrown
  }
  throw new Error('did not fail')
}

describe('what goes out', () => {
  async function headOfRequest(asking: Asking, how: SendOptions = {}): Promise<string> {
    return (await send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', { ...asking, how })).head
  }
  const start = 'GET /a?b HTTP/1.1\r\nHost: a.example:81\r\n'

  test.each<{ rule: string; asking: Asking; head: string; how?: SendOptions }>([
    { rule: 'RFC 9112 section 3.2: Host comes first', asking: {}, head: `${start}\r\n` },
    {
      rule: 'RFC 9110 section 5.3: names keep their case, order and repetitions',
      asking: {
        fields: [
          ['X-b', '1'],
          ['x-A', ''],
          ['X-B', '\xe9'],
        ],
      },
      head: `${start}X-b: 1\r\nx-A: \r\nX-B: \xe9\r\n\r\n`,
    },
    {
      rule: 'RFC 9110 section 7.6.1: nothing of another connection, nor framing of another message',
      asking: {
        fields: [
          ['Host', 'other'],
          ['Connection', 'x'],
          ['Keep-Alive', 'timeout=5'],
          ['Proxy-Connection', 'close'],
          ['Upgrade', 'h2c'],
          ['Expect', '100-continue'],
          ['Transfer-Encoding', 'chunked'],
          ['TE', 'gzip'],
        ],
      },
      head: `${start}\r\n`,
    },
    {
      rule: 'RFC 9110 section 10.1.4: that trailers are welcome is said again',
      asking: { fields: [['TE', 'gzip;q=0.5, trailers']] },
      head: `${start}Connection: TE\r\nTE: trailers\r\n\r\n`,
    },
    {
      rule: 'RFC 9110 section 8.6: that there is no body is said where one is usual',
      asking: { method: 'POST' },
      head: `${start.replace('GET', 'POST')}Content-Length: 0\r\n\r\n`,
    },
    {
      rule: 'RFC 9110 section 8.6: that there is no body is said where the client said so',
      asking: { fields: [['Content-Length', '0']] },
      head: `${start}Content-Length: 0\r\n\r\n`,
    },
    {
      rule: 'lines of the caller',
      asking: { fields: [['X-A', '1']] },
      how: { lines: 'X-Forwarded-For: 192.0.2.1\r\n' },
      head: `${start}X-A: 1\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n`,
    },
    {
      rule: 'RFC 9110 section 7.8: an upgrade that the client asked for',
      asking: {},
      how: { exchange: exchangeOf({ upgrade: 'websocket' }) },
      head: `${start}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    },
  ])('$rule', async ({ asking, head, how }) => {
    expect(await headOfRequest(asking, how)).toBe(head)
  })

  test.each<[string, Asking, string]>([
    ['a declared length', { body: 'abc' }, 'Content-Length: 3\r\n\r\nabc'],
    ['chunks', { body: new Blob(['abc']).stream() }, 'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'],
  ])('RFC 9112 section 6: a body with %s', async (_, asking, rest) => {
    await using server = await startWireServer()
    await using client = await connectEngine(server.address)
    const sent = client.connection.send(ask(asking), {})
    const wire = await server.wire(0)
    expect(await wire.take(start.length + rest.length)).toBe(start + rest)
    wire.send('HTTP/1.1 204 No Content\r\n\r\n')
    expect((await sent).status).toBe(204)
  })

  test.each(['GET /\r\nX: y', 'GE T', ''])('a method %j never goes out', async (method) => {
    await using server = await startWireServer()
    await using client = await connectEngine(server.address)
    expect(await failure(client.connection.send(ask({ method }), {}))).toMatchObject({ kind: 'filter-failed' })
    client.connection.destroy()
    expect(await (await server.wire(0)).rest()).toBe('')
  })
})

describe('where an answer ends: RFC 9112 section 6.3', () => {
  test.each<{
    rule: string
    method?: string
    answer: string
    end?: boolean
    text: string
    kept: boolean
  }>([
    { rule: 'Content-Length', answer: 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc', text: 'abc', kept: true },
    {
      rule: 'chunked',
      answer: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nX-Sum: 1\r\n\r\n',
      text: 'abc',
      kept: true,
    },
    { rule: 'until close', answer: 'HTTP/1.1 200 OK\r\n\r\nabc', end: true, text: 'abc', kept: false },
    { rule: 'until close, nothing', answer: 'HTTP/1.1 200 OK\r\n\r\n', end: true, text: '', kept: false },
    { rule: 'HTTP/1.0 until close', answer: 'HTTP/1.0 200 OK\r\n\r\nabc', end: true, text: 'abc', kept: false },
    {
      rule: 'HTTP/1.0 with a length, kept',
      answer: 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc',
      text: 'abc',
      kept: true,
    },
    {
      rule: 'HTTP/1.0 with a length, not kept',
      answer: 'HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc',
      text: 'abc',
      kept: false,
    },
    {
      rule: 'Connection: close',
      answer: 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc',
      text: 'abc',
      kept: false,
    },
    { rule: '204', answer: 'HTTP/1.1 204 No Content\r\n\r\n', text: '', kept: true },
    { rule: '204 with a length', answer: 'HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n', text: '', kept: true },
    {
      rule: '304 with a length',
      answer: 'HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n',
      text: '',
      kept: true,
    },
    {
      rule: 'HEAD with a length',
      method: 'HEAD',
      answer: 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n',
      text: '',
      kept: true,
    },
    {
      rule: 'HEAD with a coding',
      method: 'HEAD',
      answer: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
      text: '',
      kept: true,
    },
    { rule: 'a length of nothing', answer: 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', text: '', kept: true },
    { rule: 'no reason phrase', answer: 'HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\na', text: 'a', kept: true },
    { rule: 'nor its space', answer: 'HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na', text: 'a', kept: true },
  ])('$rule', async ({ method = 'GET', answer, end = false, text, kept }) => {
    await using server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      for (let i = 0; i < answer.length; i++) wire.send(answer.charAt(i))
      if (end) wire.finish()
    })
    await using client = await connectEngine(server.address)
    const response = await client.connection.send(ask({ method }), {})
    expect(await response.text()).toBe(text)
    expect(client.events).toEqual([kept ? 'idle' : 'close'])
    expect(client.connection.closed).toBe(!kept)
  })

  test('trailers, without those that frame or route', async () => {
    const answer =
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nHost: b\r\nVia: 1.1 b\r\nX-Sum: 2\r\n\r\n'
    await using server = await startWireServer((wire) => wire.send(answer))
    await using client = await connectEngine(server.address)
    const response = await client.connection.send(ask(), {})
    await response.text()
    expect(trailersOf(response)).toEqual([
      ['X-Sum', '1'],
      ['Via', '1.1 b'],
      ['X-Sum', '2'],
    ])
  })

  test('status, reason and fields as they came', async () => {
    const answer = 'HTTP/1.1 299 Fine by me\r\nX-b: 1\r\nx-B: \xe9\r\nContent-Length: 0\r\n\r\n'
    const { response } = await send(answer)
    expect(response.statusText).toBe('Fine by me')
    expect(engineResponse(response)!.head.fields()).toEqual([
      ['X-b', '1'],
      ['x-B', '\xe9'],
      ['Content-Length', '0'],
    ])
  })
})

test('a connection serves one request after the other', async () => {
  await using server = await startWireServer(async (wire) => {
    for (let i = 0; ; i++) {
      await wire.until('\r\n\r\n')
      wire.send(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${i}`)
    }
  })
  await using client = await connectEngine(server.address)
  for (let i = 0; i < 5; i++) {
    const response = await client.connection.send(ask(), {})
    expect(await response.text()).toBe(String(i))
  }
  expect(server.wires).toHaveLength(1)
  expect(client.connection.uses).toBe(5)
  expect(client.events).toEqual(Array.from({ length: 5 }, () => 'idle'))
})

describe('an answer that must not be believed', () => {
  test.each([
    ['no HTTP', 'SSH-2.0-x\r\n\r\n'],
    ['another version', 'HTTP/2.0 200 OK\r\n\r\n'],
    ['no status', 'HTTP/1.1 OK\r\n\r\n'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n'],
    ['a status below 100', 'HTTP/1.1 099 OK\r\n\r\n'],
    ['a control in the reason', 'HTTP/1.1 200 O\0K\r\n\r\n'],
    ['a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n'],
    ['a bare LF behind a field', 'HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n'],
    ['a bare CR in a value', 'HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n'],
    ['a NUL in a value', 'HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n'],
    ['a folded line', 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n'],
    ['space before a colon', 'HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n'],
    ['length and coding', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\na'],
    ['a length that is none', 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n'],
    ['an unknown coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
    ['a coding in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a head too large', `HTTP/1.1 200 OK\r\n${`X: ${'a'.repeat(1_000)}\r\n`.repeat(70)}\r\n`],
    ['too many fields', `HTTP/1.1 200 OK\r\n${'X: a\r\n'.repeat(300)}\r\n`],
    ['101 to nobody who asked', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n'],
    ['informational answers without end', 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(1_000)],
  ])('%s', async (_, answer) => {
    await using server = await startWireServer((wire) => wire.send(answer))
    await using client = await connectEngine(server.address)
    const error = await failure(client.connection.send(ask(), {}))
    expect(error).toMatchObject({ kind: 'upstream', phase: 'head', cause: 'malformed' })
    expect(client.events).toEqual(['close'])
    await (
      await server.wire(0)
    ).ended
  })

  test.each([
    ['a chunk size', 'x\r\n'],
    ['the end of a chunk', '1\r\nab\r\n'],
    ['a trailer', '0\r\nX : a\r\n\r\n'],
  ])('in %s of the body: the body breaks', async (_, body) => {
    const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n'
    await using server = await startWireServer((wire) => wire.send(head + body))
    await using client = await connectEngine(server.address)
    const response = await client.connection.send(ask(), {})
    expect(await failure(response.text())).toMatchObject({ kind: 'upstream', phase: 'body', cause: 'malformed' })
    expect(client.events).toEqual(['close'])
  })

  test.each([
    ['another answer', 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden'],
    ['bytes', 'x'],
    ['a line break', '\r\n'],
  ])('%s behind the answer: the answer counts, the connection is not used again', async (_, more) => {
    await using server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send(`HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc${more}`)
    })
    await using client = await connectEngine(server.address)
    const response = await client.connection.send(ask(), {})
    expect(await response.text()).toBe('abc')
    await until(() => client.connection.closed)
    expect(client.events.at(-1)).toBe('close')
    await (
      await server.wire(0)
    ).ended
  })

  test('bytes that nobody asked for on a connection that waits: it is not used again', async () => {
    await using server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    })
    await using client = await connectEngine(server.address)
    await client.connection.send(ask(), {})
    expect(client.events).toEqual(['idle'])
    server.wires[0]!.send('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n')
    await until(() => client.events.length === 2)
    expect(client.events).toEqual(['idle', 'close'])
  })
})

describe('1xx', () => {
  const final = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'

  test('RFC 9110 section 15.2: informational answers are handed on, without what belongs to the connection', async () => {
    const exchange = exchangeOf()
    await send(
      `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nContent-Length: 5\r\n\r\nHTTP/1.1 102 \r\n\r\n${final}`,
      { how: { exchange } },
    )
    expect(exchange.informed).toEqual([
      [103, [['Link', '</a>']]],
      [102, []],
    ])
  })

  test('RFC 9110 section 10.1.1: the body waits for 100, and a 100 is not handed on', async () => {
    const exchange = exchangeOf({ awaitsContinue: true })
    await using server = await startWireServer()
    await using client = await connectEngine(server.address)
    const sent = client.connection.send(ask({ method: 'POST', body: 'abc' }), { exchange })
    const wire = await server.wire(0)
    expect(await wire.until('\r\n\r\n')).toContain('\r\nExpect: 100-continue\r\n')
    expect(wire.received).toBe('')
    wire.send('HTTP/1.1 100 Continue\r\n\r\n')
    expect(await wire.take(3)).toBe('abc')
    wire.send(final)
    expect((await sent).status).toBe(200)
    expect(exchange.informed).toEqual([])
    expect(client.events).toEqual(['idle'])
  })

  test('RFC 9110 section 10.1.1: a final answer instead of 100: the body never goes, nor does another request', async () => {
    let cancelled = false
    const body = new ReadableStream<Uint8Array>({ cancel: () => void (cancelled = true) })
    await using server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n')
    })
    await using client = await connectEngine(server.address)
    const sent = ask({ method: 'POST', body, length: 3 })
    const response = await client.connection.send(sent, { exchange: exchangeOf({ awaitsContinue: true }) })
    expect(response.status).toBe(417)
    expect(client.events).toEqual(['close'])
    expect(await (await server.wire(0)).rest()).toBe('')
    expect(cancelled).toBe(true)
  })

  test('RFC 9110 section 10.1.1: a server that says nothing gets the body after a while', async () => {
    const timers = createManualTimers()
    await using server = await startWireServer()
    await using client = await connectEngine(server.address, { timers })
    const sent = client.connection.send(ask({ method: 'POST', body: 'abc' }), {
      exchange: exchangeOf({ awaitsContinue: true }),
    })
    const wire = await server.wire(0)
    await wire.until('\r\n\r\n')
    timers.advance(2_000)
    expect(await wire.take(3)).toBe('abc')
    wire.send(final)
    expect((await sent).status).toBe(200)
  })
})

describe('a server that breaks', () => {
  test.each<[string, 'finish' | 'destroy' | 'reset']>([
    ['ends its side', 'finish'],
    ['leaves', 'destroy'],
    ['resets', 'reset'],
  ])('and %s before the answer', async (_, way) => {
    await using server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      leave(wire, way)
    })
    await using client = await connectEngine(server.address)
    const error = await failure(client.connection.send(ask(), {}))
    expect(error).toMatchObject({ kind: 'upstream', phase: 'head', cause: 'closed' })
    expect(error).not.toMatchObject({ stale: true })
    expect(client.events).toEqual(['close'])
  })

  const broken: readonly (readonly [string, string])[] = [
    ['of declared length', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'],
    ['in chunks, inside one', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc'],
    ['in chunks, between two', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'],
    ['in chunks, before the last line break', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n'],
  ]
  test.each(broken.flatMap(([what, text]) => (['finish', 'reset'] as const).map((way) => [what, way, text] as const)))(
    'inside a body %s, by %s: what came is not all of it',
    async (_, way, text) => {
      let released = (): void => {}
      const release = new Promise<void>((resolve) => (released = resolve))
      await using server = await startWireServer(async (wire) => {
        await wire.until('\r\n\r\n')
        wire.send(text)
        await release
        leave(wire, way)
      })
      await using client = await connectEngine(server.address)
      const response = await client.connection.send(ask(), {})
      const reader = response.body!.getReader()
      expect(new TextDecoder().decode((await reader.read()).value)).toBe('abc')
      released()
      expect(await failure(reader.read())).toMatchObject({ kind: 'upstream', phase: 'body', cause: 'closed' })
      expect(client.events).toEqual(['close'])
    },
  )

  test('inside a body until close, by a reset: what came is not all of it', async () => {
    let released = (): void => {}
    const release = new Promise<void>((resolve) => (released = resolve))
    await using server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 200 OK\r\n\r\nabc')
      await release
      wire.destroy('reset')
    })
    await using client = await connectEngine(server.address)
    const response = await client.connection.send(ask(), {})
    const reader = response.body!.getReader()
    await reader.read()
    released()
    expect(await failure(reader.read())).toMatchObject({ kind: 'upstream', phase: 'body', cause: 'closed' })
  })

  test('all of an answer that came before the server left is handed on', async () => {
    const body = 'a'.repeat(300_000)
    await using server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
      wire.finish()
    })
    await using client = await connectEngine(server.address)
    const response = await client.connection.send(ask(), {})
    expect(await response.text()).toBe(body)
  })

  function leave(wire: Wire, way: 'finish' | 'destroy' | 'reset'): void {
    if (way === 'finish') wire.finish()
    else wire.destroy(way === 'reset' ? 'reset' : undefined)
  }
})

describe('a kept connection that dies before the answer', () => {
  async function second(
    asking: Asking,
    answerOf: (wire: Wire) => void | Promise<void>,
  ): Promise<{ error: ProxyError; request: Request }> {
    await using server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      await wire.until('\r\n\r\n')
      await answerOf(wire)
      wire.destroy()
    })
    await using client = await connectEngine(server.address)
    await client.connection.send(ask(), {})
    const request = ask(asking)
    const error = await failure(client.connection.send(request, {}))
    return { error, request }
  }

  test('RFC 9112 section 9.3.1: is stale, where no byte of a body was spent', async () => {
    const { error } = await second({}, () => {})
    expect(error).toMatchObject({ kind: 'upstream', cause: 'closed', stale: true })
  })

  test('is not stale once a byte of an answer has come', async () => {
    const { error } = await second({}, (wire) => wire.send('HTTP/1.1 2'))
    expect(error).toMatchObject({ kind: 'upstream', cause: 'closed' })
    expect(error).not.toMatchObject({ stale: true })
  })

  test('is not stale once its body is on its way', async () => {
    const { error } = await second({ method: 'PUT', body: 'abc' }, () => {})
    expect(error).not.toMatchObject({ stale: true })
  })

  test('known to be gone: nothing was sent, so anything may be sent again', async () => {
    await using server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      wire.finish()
    })
    await using client = await connectEngine(server.address)
    await client.connection.send(ask(), {})
    await until(() => client.connection.closed)
    const error = await failure(client.connection.send(ask({ method: 'POST', body: 'abc' }), {}))
    expect(error).toMatchObject({ stale: true, unprocessed: true })
  })

  test('a body that has waited for 100 can be sent again', async () => {
    await using server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      await wire.until('\r\n\r\n')
      wire.destroy()
    })
    await using client = await connectEngine(server.address)
    await client.connection.send(ask(), {})
    const request = ask({ method: 'POST', body: 'abc' })
    const error = await failure(client.connection.send(request, { exchange: exchangeOf({ awaitsContinue: true }) }))
    expect(error).toMatchObject({ stale: true })
    expect(await engineRequest(request)!.text()).toBe('abc')
  })
})

describe('an attempt that ends early', () => {
  test('by its deadline, before the answer', async () => {
    const timers = createManualTimers()
    await using server = await startWireServer()
    await using client = await connectEngine(server.address, { timers })
    const late: ProxyError = { kind: 'timeout', limit: 'backendRequest', timeoutMs: 100 }
    const sent = failure(client.connection.send(ask(), { deadlineMs: 100, deadlineError: late }))
    timers.advance(99)
    expect(client.events).toEqual([])
    timers.advance(60)
    expect(await sent).toEqual(late)
    expect(client.events).toEqual(['close'])
    await (
      await server.wire(0)
    ).ended
  })

  test('by its deadline, inside the answer', async () => {
    const timers = createManualTimers()
    await using server = await startWireServer((wire) => wire.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'))
    await using client = await connectEngine(server.address, { timers })
    const late: ProxyError = { kind: 'timeout', limit: 'request', timeoutMs: 100 }
    const response = await client.connection.send(ask(), { deadlineMs: 100, deadlineError: late })
    const text = failure(response.text())
    timers.advance(200)
    expect(await text).toEqual(late)
  })

  test('not by a deadline of the exchange before', async () => {
    const timers = createManualTimers()
    await using server = await startWireServer(async (wire) => {
      for (;;) {
        await wire.until('\r\n\r\n')
        wire.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      }
    })
    await using client = await connectEngine(server.address, { timers })
    await client.connection.send(ask(), { deadlineMs: 100 })
    timers.advance(1_000)
    expect((await client.connection.send(ask(), {})).status).toBe(200)
  })

  test('by the client that left, before the answer', async () => {
    await using server = await startWireServer()
    await using client = await connectEngine(server.address)
    const exchange = exchangeOf()
    const sent = failure(client.connection.send(ask(), { exchange }))
    const wire = await server.wire(0)
    await wire.until('\r\n\r\n')
    exchange.leave()
    expect(await sent).toEqual({ kind: 'downstream-gone' })
    await wire.ended
  })

  test('by the client that left, inside the answer', async () => {
    await using server = await startWireServer((wire) => wire.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'))
    await using client = await connectEngine(server.address)
    const exchange = exchangeOf()
    const response = await client.connection.send(ask(), { exchange })
    const text = failure(response.text())
    exchange.leave()
    expect(await text).toEqual({ kind: 'downstream-gone' })
    await (
      await server.wire(0)
    ).ended
  })

  test('not by a client that left after its answer was complete', async () => {
    await using server = await startWireServer(async (wire) => {
      for (;;) {
        await wire.until('\r\n\r\n')
        wire.send('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na')
      }
    })
    await using client = await connectEngine(server.address)
    const exchange = exchangeOf()
    await (await client.connection.send(ask(), { exchange })).text()
    const response = await client.connection.send(ask(), {})
    exchange.leave()
    expect(await response.text()).toBe('a')
  })

  test('by a signal', async () => {
    await using server = await startWireServer()
    await using client = await connectEngine(server.address)
    const controller = new AbortController()
    const sent = failure(client.connection.send(ask(), { signal: controller.signal }))
    await (await server.wire(0)).until('\r\n\r\n')
    controller.abort()
    expect(await sent).toEqual({ kind: 'downstream-gone' })
  })

  test('by a consumer that cancels the answer', async () => {
    await using server = await startWireServer((wire) => wire.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'))
    await using client = await connectEngine(server.address)
    const response = await client.connection.send(ask(), {})
    await response.body!.cancel()
    await (
      await server.wire(0)
    ).ended
    expect(client.events).toEqual(['close'])
  })

  test('by a request body that breaks: half a request never looks like a whole one', async () => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(new Uint8Array([97]))
      },
      pull: (controller) => controller.error(new Error('broke')),
    })
    await using server = await startWireServer()
    await using client = await connectEngine(server.address)
    const error = await failure(client.connection.send(ask({ method: 'POST', body }), {}))
    expect(error).toMatchObject({ kind: 'filter-failed' })
    expect(await (await server.wire(0)).rest()).not.toContain('0\r\n\r\n')
  })
})

describe('a backend that takes no more of the body', () => {
  function post(): { timers: ManualTimers; socket: MemorySocket; sent: Promise<Response> } {
    const timers = createManualTimers()
    const socket = createMemorySocket()
    socket.stuck = true
    const connection = new Http1Connection(socket, {
      timers,
      limits: { ...defaultHttp1Limits, writeStallTimeoutMs: 1_000 },
      onIdle() {},
      onClose() {},
    })
    const sent = connection.send(ask({ method: 'POST', body: 'abc' }), {})
    return { timers, socket, sent }
  }

  test('is given up after a while', async () => {
    const { timers, socket, sent } = post()
    await until(() => socket.written.endsWith('abc'))
    timers.advance(999)
    expect(socket.destroyed).toBe(false)
    timers.advance(60)
    expect(await failure(sent)).toMatchObject({ kind: 'upstream', phase: 'send', cause: 'timeout' })
    expect(socket.destroyed).toBe('closed')
  })

  test('is not, when it takes bytes now and then', async () => {
    const { timers, socket, sent } = post()
    await until(() => socket.written.endsWith('abc'))
    timers.advance(999)
    socket.drain()
    timers.advance(10_000)
    socket.feed('HTTP/1.1 204 No Content\r\n\r\n')
    expect((await sent).status).toBe(204)
  })

  test('is not, once it answers', async () => {
    const { timers, socket, sent } = post()
    await until(() => socket.written.endsWith('abc'))
    socket.feed('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na')
    const response = await sent
    timers.advance(10_000)
    socket.feed('b')
    expect(await response.text()).toBe('ab')
  })
})

describe('an answer before the request is all out', () => {
  test('is delivered, and the rest of 10 MiB is not sent', async () => {
    const piece = new Uint8Array(65_536)
    let pulled = 0
    let cancelled = false
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          pulled += piece.length
          controller.enqueue(piece)
          if (pulled >= 10 << 20) controller.close()
        },
        cancel: () => void (cancelled = true),
      },
      { highWaterMark: 0 },
    )
    await using server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.socket.pause()
      wire.send('HTTP/1.1 413 Content Too Large\r\nContent-Length: 6\r\n\r\ntoobig')
    })
    await using client = await connectEngine(server.address)
    const response = await client.connection.send(ask({ method: 'POST', body }), {})
    expect(response.status).toBe(413)
    expect(await response.text()).toBe('toobig')
    await until(() => cancelled)
    expect(pulled).toBeLessThan(10 << 20)
    expect(client.events).toEqual(['close'])
  })

  test('is read to its end while the request goes on: both directions at once', async () => {
    let feed = (_text: string): void => {}
    let close = (): void => {}
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        feed = (text) => controller.enqueue(new TextEncoder().encode(text))
        close = () => controller.close()
      },
    })
    await using server = await startWireServer()
    await using client = await connectEngine(server.address)
    feed('1')
    const sent = client.connection.send(ask({ method: 'POST', body }), {})
    const wire = await server.wire(0)
    expect(await wire.until('1\r\n1\r\n')).toContain('chunked')
    wire.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    const reader = (await sent).body!.getReader()
    for (const text of ['2', '3', '4']) {
      feed(text)
      await wire.until(`1\r\n${text}\r\n`)
      wire.send(`1\r\n${text}\r\n`)
      expect(new TextDecoder().decode((await reader.read()).value)).toBe(text)
    }
    close()
    await wire.until('0\r\n\r\n')
    wire.send('0\r\n\r\n')
    expect((await reader.read()).done).toBe(true)
    expect(client.events).toEqual(['idle'])
  })
})

describe('an upgrade: RFC 9110 section 7.8', () => {
  const switching = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'

  /** Takes what comes out of a switched connection. */
  function collect(): { sink: BodySink; text: () => string; ended: () => boolean; failed: () => boolean } {
    let text = ''
    let ended = false
    let failed = false
    return {
      sink: {
        data(bytes, start, end) {
          text += new TextDecoder().decode(bytes.subarray(start, end))
          return true
        },
        end: () => void (ended = true),
        fail: () => void (failed = true),
      },
      text: () => text,
      ended: () => ended,
      failed: () => failed,
    }
  }

  async function upgrade(serve: (wire: Wire) => unknown): Promise<{
    server: Awaited<ReturnType<typeof startWireServer>>
    client: Awaited<ReturnType<typeof connectEngine>>
    response: Response
  }> {
    const server = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      await serve(wire)
    })
    const client = await connectEngine(server.address)
    const response = await client.connection.send(ask(), { exchange: exchangeOf({ upgrade: 'x' }) })
    return { server, client, response }
  }

  test('bytes behind the 101 come out first, and each direction ends by itself', async () => {
    const { server, client, response } = await upgrade((wire) => wire.send(`${switching}first `))
    await using _server = server
    expect(response.status).toBe(101)
    const stream = engineResponse(response)!.upgrade!
    const wire = await server.wire(0)
    wire.send('second')
    const came = collect()
    stream.incoming.start(came.sink)
    await until(() => came.text() === 'first second')
    const bytes = new TextEncoder().encode('up')
    stream.outgoing.data(bytes, 0, bytes.length)
    expect(await wire.take(2)).toBe('up')
    wire.finish()
    await until(() => came.ended())
    stream.outgoing.data(bytes, 0, bytes.length)
    expect(await wire.take(2)).toBe('up')
    stream.outgoing.end()
    expect(await wire.rest()).toBe('')
    await until(() => client.events.length > 0)
    expect(client.events).toEqual(['close'])
    expect(came.failed()).toBe(false)
  })

  test('our side may end first', async () => {
    const { server, response } = await upgrade((wire) => wire.send(switching))
    await using _server = server
    const stream = engineResponse(response)!.upgrade!
    const came = collect()
    stream.incoming.start(came.sink)
    stream.outgoing.end()
    const wire = await server.wire(0)
    expect(await wire.rest()).toBe('')
    wire.send('late')
    wire.finish()
    await until(() => came.ended())
    expect(came.text()).toBe('late')
    expect(came.failed()).toBe(false)
  })

  test('a reset breaks both', async () => {
    const { server, response } = await upgrade((wire) => wire.send(switching))
    await using _server = server
    const came = collect()
    engineResponse(response)!.upgrade!.incoming.start(came.sink)
    server.wires[0]!.destroy('reset')
    await until(() => came.failed())
    expect(came.ended()).toBe(false)
  })

  test('bytes that nobody takes are not read without end', async () => {
    const { server, response } = await upgrade((wire) => {
      wire.send(switching)
      wire.send(new Uint8Array(32 << 20))
    })
    await using _server = server
    const stream = engineResponse(response)!.upgrade!
    let count = 0
    let held = 0
    stream.incoming.start({
      data(_, start, end) {
        count += end - start
        held++
        return false
      },
      end() {},
      fail() {},
    })
    await until(() => held > 0)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(held).toBe(1)
    expect(count).toBeLessThan(1 << 20)
    stream.incoming.cancel()
    await server.wires[0]!.closed
  })

  test('a refusal is an answer like any other', async () => {
    const { server, client, response } = await upgrade((wire) =>
      wire.send('HTTP/1.1 426 Upgrade Required\r\nUpgrade: y\r\nContent-Length: 2\r\n\r\nno'),
    )
    await using _server = server
    expect(response.status).toBe(426)
    expect(await response.text()).toBe('no')
    expect(client.events).toEqual(['idle'])
    client.connection.destroy()
  })
})
