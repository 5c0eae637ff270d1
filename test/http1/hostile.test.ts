import { describe, expect, test } from 'vitest'
import { defaultHttp1Limits, type Http1Limits } from '../../src/http1/limits.ts'
import { createHttp1Server } from '../../src/http1/server.ts'
import { createResponse } from '../../src/http/response.ts'
import type { Handler } from '../../src/runtime.ts'
import { createMemorySocket, type MemorySocket } from '../support/memory-socket.ts'
import { until } from '../support/until.ts'
import { dial } from '../support/wire.ts'
import { createManualTimers } from '../tunnel/manual-timers.ts'
import { startEngine } from './engine.ts'

interface Row {
  readonly rule: string
  readonly sent: string
  readonly status: number
}

/** The same limits everywhere, small enough to be reached. */
const limits: Http1Limits = {
  ...defaultHttp1Limits,
  maxTargetBytes: 100,
  maxFieldLineBytes: 200,
  maxHeadBytes: 1_000,
  maxFieldLines: 10,
  maxTrailerBytes: 100,
}

const get = 'GET / HTTP/1.1\r\nHost: a\r\n'
const post = 'POST / HTTP/1.1\r\nHost: a\r\n'
const chunked = `${post}Transfer-Encoding: chunked\r\n\r\n`
/** What a smuggler would like to be taken for a request. */
const hidden = 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n'

const heads: readonly Row[] = [
  // How long the body is: RFC 9112 section 6
  {
    rule: '6.3: both Transfer-Encoding and Content-Length',
    sent: `${post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    status: 400,
  },
  {
    rule: '6.3: both, the other way round',
    sent: `${post}Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n`,
    status: 400,
  },
  { rule: '6.3: two lengths', sent: `${post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`, status: 400 },
  { rule: '6.3: one length twice', sent: `${post}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`, status: 400 },
  { rule: '6.3: a list of lengths', sent: `${post}Content-Length: 1, 1\r\n\r\na`, status: 400 },
  ...[
    '+1',
    '-1',
    '0x1',
    '1.0',
    '1e0',
    '1 1',
    '',
    'a',
    '1;',
    "1'",
    '\xb2',
    '99999999999999999999',
    '9007199254740993',
  ].map((length) => ({
    rule: `6.2: a length of "${length}"`,
    sent: `${post}Content-Length: ${length}\r\n\r\na`,
    status: 400,
  })),
  ...[
    'gzip',
    'chunked, gzip',
    'gzip, chunked',
    'chunked, chunked',
    'identity',
    'chunked;q=1',
    'xchunked',
    'chunkedx',
    '"chunked"',
    'chunked,',
    ',chunked',
    '',
    'chunked\x0b',
    '\x0cchunked',
    'chun\tked',
  ].map((coding) => ({
    rule: `6.1: a coding of ${JSON.stringify(coding)}`,
    sent: `${post}Transfer-Encoding: ${coding}\r\n\r\n0\r\n\r\n`,
    status: 400,
  })),
  {
    rule: '6.1: two codings, one of them known',
    sent: `${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n`,
    status: 400,
  },
  {
    rule: '6.1: a coding in HTTP/1.0',
    sent: 'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    status: 400,
  },
  // Lines: RFC 9112 section 2.2 and 5
  { rule: '2.2: bare LF behind the request line', sent: 'GET / HTTP/1.1\nHost: a\r\n\r\n', status: 400 },
  { rule: '2.2: bare LF behind a field', sent: `GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n`, status: 400 },
  { rule: '2.2: bare LF at the end of the head', sent: `${get}\n`, status: 400 },
  { rule: '2.2: bare LF inside a value', sent: `${get}X: a\nTransfer-Encoding: chunked\r\n\r\n`, status: 400 },
  { rule: '2.2: bare CR inside a value', sent: `${get}X: a\rb\r\n\r\n`, status: 400 },
  { rule: '2.2: bare CR before a name', sent: `${get}\rX: a\r\n\r\n`, status: 400 },
  { rule: '2.2: bare CR in the request line', sent: `GET /\r HTTP/1.1\r\nHost: a\r\n\r\n`, status: 400 },
  { rule: '2.2: bare CR at the end of a value', sent: `${get}X: a\r\r\n\r\n`, status: 400 },
  { rule: '5.1: NUL in a value', sent: `${get}X: a\0b\r\n\r\n`, status: 400 },
  { rule: '5.1: NUL in a name', sent: `${get}X\0: a\r\n\r\n`, status: 400 },
  { rule: '5.1: other controls in a value', sent: `${get}X: a\x01b\r\n\r\n`, status: 400 },
  { rule: '5.1: DEL in a value', sent: `${get}X: a\x7fb\r\n\r\n`, status: 400 },
  { rule: '5.2: a folded line', sent: `${get}X: a\r\n b\r\n\r\n`, status: 400 },
  { rule: '5.2: a folded line, by a tab', sent: `${get}X: a\r\n\tb\r\n\r\n`, status: 400 },
  { rule: '2.2: white space before the first field', sent: `GET / HTTP/1.1\r\n Host: a\r\n\r\n`, status: 400 },
  { rule: '5.1: space before the colon', sent: `${get}X : a\r\n\r\n`, status: 400 },
  { rule: '5.1: tab before the colon', sent: `${get}Transfer-Encoding\t: chunked\r\n\r\n`, status: 400 },
  { rule: '5: no colon', sent: `${get}X\r\n\r\n`, status: 400 },
  { rule: '5: no name', sent: `${get}: a\r\n\r\n`, status: 400 },
  { rule: '5: a space inside a name', sent: `${get}X Y: a\r\n\r\n`, status: 400 },
  { rule: '5: a name that is no token', sent: `${get}X(Y): a\r\n\r\n`, status: 400 },
  { rule: '5: a name beyond ASCII', sent: `${get}X\xe9: a\r\n\r\n`, status: 400 },
  // Host: RFC 9112 section 3.2
  { rule: '3.2: no Host', sent: 'GET / HTTP/1.1\r\nX: a\r\n\r\n', status: 400 },
  { rule: '3.2: no field at all', sent: 'GET / HTTP/1.1\r\n\r\n', status: 400 },
  { rule: '3.2: two Hosts', sent: `${get}Host: b\r\n\r\n`, status: 400 },
  { rule: '3.2: one Host twice', sent: `${get}Host: a\r\n\r\n`, status: 400 },
  { rule: '3.2: absolute-form and no Host', sent: 'GET http://a/ HTTP/1.1\r\n\r\n', status: 400 },
  ...[
    '',
    'a b',
    'a/b',
    'a@b',
    'a:b',
    'a:99999',
    'a:80:80',
    'a,b',
    'a?b',
    'a#b',
    '[::1',
    '[]',
    '[g::]',
    'a\\b',
    '%61',
    'a\xe9',
  ].map((host) => ({
    rule: `3.2: a Host of ${JSON.stringify(host)}`,
    sent: `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
    status: 400,
  })),
  {
    rule: '3.2: a bad Host beside absolute-form',
    sent: 'GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n',
    status: 400,
  },
  // The request line: RFC 9112 section 3
  ...[
    'a',
    'a/b',
    '/a#b',
    '/a\tb',
    '/a\x7f',
    '/a\0',
    '*',
    '?a',
    'http://',
    'http:///a',
    'http://a@b/',
    'http://a b/',
    'ftp://a/',
    'a:80',
    'http:/a',
  ].map((target) => ({
    rule: `3.2: a target of ${JSON.stringify(target)}`,
    sent: `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`,
    status: 400,
  })),
  { rule: '3: no target', sent: 'GET HTTP/1.1\r\nHost: a\r\n\r\n', status: 400 },
  { rule: '3: an empty target', sent: 'GET  HTTP/1.1\r\nHost: a\r\n\r\n', status: 400 },
  { rule: '3: two spaces', sent: 'GET  / HTTP/1.1\r\nHost: a\r\n\r\n', status: 400 },
  { rule: '3: a tab for a space', sent: 'GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n', status: 400 },
  { rule: '3: a space at the end', sent: 'GET / HTTP/1.1 \r\nHost: a\r\n\r\n', status: 400 },
  { rule: '3: a space at the start', sent: ' GET / HTTP/1.1\r\nHost: a\r\n\r\n', status: 400 },
  { rule: '3.1: a method that is no token', sent: 'G(T / HTTP/1.1\r\nHost: a\r\n\r\n', status: 400 },
  { rule: '3: HTTP/0.9', sent: 'GET /\r\n\r\n', status: 400 },
  { rule: '2.3: a version that is none', sent: 'GET / HTTP/1\r\nHost: a\r\n\r\n', status: 400 },
  { rule: '2.3: a version in lower case', sent: 'GET / http/1.1\r\nHost: a\r\n\r\n', status: 400 },
  { rule: '2.3: two digits', sent: 'GET / HTTP/1.10\r\nHost: a\r\n\r\n', status: 400 },
  { rule: '2.3: another protocol', sent: 'GET / RTSP/1.1\r\nHost: a\r\n\r\n', status: 400 },
  { rule: 'RFC 9110 section 15.6.6: a later minor version', sent: 'GET / HTTP/1.2\r\nHost: a\r\n\r\n', status: 505 },
  { rule: 'RFC 9110 section 15.6.6: a later version', sent: 'GET / HTTP/3.0\r\nHost: a\r\n\r\n', status: 505 },
  { rule: 'RFC 9113 section 3.4: the preface of HTTP/2', sent: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', status: 505 },
  { rule: 'the first bytes of TLS', sent: '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n', status: 400 },
  { rule: 'RFC 9110 section 9.3.6: CONNECT', sent: 'CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n', status: 405 },
  { rule: 'RFC 9110 section 10.1.1: another expectation', sent: `${get}Expect: 200-maybe\r\n\r\n`, status: 417 },
  {
    rule: 'RFC 9110 section 10.1.1: two expectations',
    sent: `${get}Expect: 100-continue\r\nExpect: x\r\n\r\n`,
    status: 417,
  },
  // How much of it: RFC 9112 section 3, RFC 6585 section 5
  { rule: '3: a target too long', sent: `GET /${'a'.repeat(100)} HTTP/1.1\r\nHost: a\r\n\r\n`, status: 414 },
  { rule: '3: a target without end', sent: `GET /${'a'.repeat(1_100)}`, status: 414 },
  { rule: 'RFC 6585 section 5: a field too long', sent: `${get}X: ${'a'.repeat(200)}\r\n\r\n`, status: 431 },
  { rule: 'RFC 6585 section 5: too many fields', sent: `${get}${'X: a\r\n'.repeat(10)}\r\n`, status: 431 },
  {
    rule: 'RFC 6585 section 5: a head too long',
    sent: `${get}${`X: ${'a'.repeat(180)}\r\n`.repeat(6)}\r\n`,
    status: 431,
  },
  {
    rule: 'RFC 6585 section 5: a head without end',
    sent: `${get}${`X: ${'a'.repeat(180)}\r\n`.repeat(6)}X: ${'a'.repeat(180)}`,
    status: 431,
  },
]

const bodies: readonly Row[] = [
  ...[
    '',
    'g',
    ' 1',
    '-1',
    '+1',
    '0x1',
    '1 1',
    '1_',
    '\xb2',
    '12345678901234',
    'FFFFFFFFFFFFFFFF',
    '0000000000000000001',
  ].map((size) => ({
    rule: `7.1: a chunk size of "${size}"`,
    sent: `${chunked}${size}\r\na\r\n0\r\n\r\n`,
    status: 400,
  })),
  { rule: '7.1: a bare LF behind a size', sent: `${chunked}1\na\r\n0\r\n\r\n`, status: 400 },
  { rule: '7.1: a bare CR behind a size', sent: `${chunked}1\ra\r\n0\r\n\r\n`, status: 400 },
  { rule: '7.1.1: a bare LF in an extension', sent: `${chunked}1;a\nb\r\na\r\n0\r\n\r\n`, status: 400 },
  { rule: '7.1.1: a bare CR in an extension', sent: `${chunked}1;a\rb\r\na\r\n0\r\n\r\n`, status: 400 },
  { rule: '7.1.1: a NUL in an extension', sent: `${chunked}1;a\0\r\na\r\n0\r\n\r\n`, status: 400 },
  { rule: '7.1.1: extensions without end', sent: `${chunked}1;${'a'.repeat(200)}\r\na\r\n0\r\n\r\n`, status: 400 },
  {
    rule: '7.1.1: extensions that are more than the data, chunk after chunk',
    sent: `${chunked}${`1;${'a'.repeat(50)}\r\na\r\n`.repeat(4)}0\r\n\r\n`,
    status: 400,
  },
  { rule: '7.1: more data than the size', sent: `${chunked}1\r\nab\r\n0\r\n\r\n`, status: 400 },
  { rule: '7.1: a bare LF behind the data', sent: `${chunked}1\r\na\n0\r\n\r\n`, status: 400 },
  { rule: '7.1: a bare CR behind the data', sent: `${chunked}1\r\na\r0\r\n\r\n`, status: 400 },
  { rule: '7.1: no line break behind the data', sent: `${chunked}1\r\na0\r\n\r\n`, status: 400 },
  { rule: '7.1.2: a bare LF behind the last chunk', sent: `${chunked}0\r\n\n`, status: 400 },
  { rule: '7.1.2: a bare LF in a trailer', sent: `${chunked}0\r\nX: a\nY: b\r\n\r\n`, status: 400 },
  { rule: '7.1.2: a bare CR in a trailer', sent: `${chunked}0\r\nX: a\rb\r\n\r\n`, status: 400 },
  { rule: '7.1.2: a folded trailer', sent: `${chunked}0\r\nX: a\r\n b\r\n\r\n`, status: 400 },
  { rule: '7.1.2: a trailer with space before its colon', sent: `${chunked}0\r\nX : a\r\n\r\n`, status: 400 },
  { rule: '7.1.2: a request in place of a trailer', sent: `${chunked}0\r\n${hidden}`, status: 400 },
  { rule: '7.1.2: trailers too long', sent: `${chunked}0\r\nX: ${'a'.repeat(100)}\r\n\r\n`, status: 400 },
  { rule: '7.1.2: trailers without end', sent: `${chunked}0\r\nX: ${'a'.repeat(200)}`, status: 400 },
  { rule: '7.1.2: too many trailers', sent: `${chunked}0\r\n${'X: a\r\n'.repeat(11)}\r\n`, status: 400 },
]

/** Reads the body and says that it did. */
const reader: Handler = async (request) => createResponse(200, [], `read ${(await request.text()).length}`)

function afterTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0))
}

function statusesOf(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
}

describe('RFC 9112: a head that is refused, with what is behind it', () => {
  test.each(heads)('section $rule: $status', async ({ sent, status }) => {
    await using engine = await startEngine(reader, { limits })
    const wire = await dial(engine.address)
    wire.send(sent + hidden)
    const answered = await wire.rest()
    expect(statusesOf(answered)).toEqual([status])
    expect(answered).toMatch(/\r\nConnection: close\r\n/)
    expect(engine.asked).toEqual([])
    expect(engine.errors).toMatchObject([{ kind: 'bad-request', status }])
    wire.finish()
    await until(() => engine.server.connections.size === 0)
  })
})

describe('RFC 9112: a body that is refused, with what is behind it', () => {
  test.each(bodies)('section $rule: $status', async ({ sent, status }) => {
    await using engine = await startEngine(reader, { limits })
    const wire = await dial(engine.address)
    wire.send(sent + hidden)
    const answered = await wire.rest()
    expect(statusesOf(answered)).toEqual([status])
    expect(answered).toMatch(/\r\nConnection: close\r\n/)
    expect(engine.asked).toEqual(['POST /'])
    expect(engine.outcomes).toMatchObject([{ status, error: { kind: 'bad-request', status } }])
    wire.finish()
    await until(() => engine.server.connections.size === 0)
  })
})

test.each([...heads, ...bodies])('in whatever pieces it comes, section $rule', async ({ sent, status }) => {
  const whole = sent + hidden
  const cuts = [
    whole.split(''),
    ...Array.from({ length: whole.length - 1 }, (_, i) => [whole.slice(0, i + 1), whole.slice(i + 1)]),
  ]
  const asked: string[] = []
  for (const pieces of cuts.length > 150 ? cuts.filter((_, i) => i % 7 === 0) : cuts) {
    const server = createHttp1Server({
      handler(request, exchange) {
        asked.push(request.url)
        return reader(request, exchange)
      },
      limits,
      timers: createManualTimers(),
      scheme: 'http',
    })
    const socket = createMemorySocket()
    server.accept(socket)
    socket.feed(...pieces)
    await socket.ends
    expect({ pieces, statuses: statusesOf(socket.written) }).toEqual({ pieces, statuses: [status] })
    server.destroy()
  }
  expect(asked.filter((url) => url.includes('hidden'))).toEqual([])
})

test('a request is refused after those before it have been answered', async () => {
  await using engine = await startEngine(reader)
  const wire = await dial(engine.address)
  wire.send(`${get}\r\n${get}X : a\r\n\r\n${hidden}`)
  expect(statusesOf(await wire.rest())).toEqual([200, 400])
})

test('the answer to a refused request is not lost to what the client still sends', async () => {
  await using engine = await startEngine(reader)
  const wire = await dial(engine.address)
  wire.send(`${get}X : a\r\n\r\n${'a'.repeat(1_000_000)}`)
  wire.send('a'.repeat(1_000_000))
  expect(statusesOf(await wire.rest())).toEqual([400])
})

test('a door refuses in its own words', async () => {
  await using engine = await startEngine(reader, {
    refuse: (error) => Response.json({ because: error.kind }, { status: 400, headers: { connection: 'keep-alive' } }),
  })
  const wire = await dial(engine.address)
  wire.send(`${get}X : a\r\n\r\n`)
  const answered = await wire.rest()
  expect(answered.endsWith('{"because":"bad-request"}')).toBe(true)
  expect(answered).not.toContain('keep-alive')
})

describe('a client that takes its time', () => {
  function accept(handler: Handler = reader): {
    socket: MemorySocket
    timers: ReturnType<typeof createManualTimers>
    connections: ReadonlySet<unknown>
  } {
    const timers = createManualTimers()
    const server = createHttp1Server({ handler, limits: defaultHttp1Limits, timers, scheme: 'http' })
    const socket = createMemorySocket()
    server.accept(socket)
    return { socket, timers, connections: server.connections }
  }

  test('section 9.5: a connection on which nothing is asked is closed', async () => {
    const { socket, timers, connections } = accept()
    timers.advance(defaultHttp1Limits.headTimeoutMs - 100)
    expect(socket.finished).toBe(false)
    timers.advance(200)
    expect(socket.finished).toBe(true)
    expect(socket.written).toBe('')
    socket.feedEnd()
    timers.advance(defaultHttp1Limits.drainTimeoutMs + 100)
    expect(socket.destroyed).toBe('closed')
    expect(connections.size).toBe(0)
  })

  test('section 9.5: a kept connection on which nothing more is asked is closed', async () => {
    const { socket, timers } = accept(() => createResponse(200, [], 'ok'))
    socket.feed(`${get}\r\n`)
    expect(statusesOf(socket.written)).toEqual([200])
    const { written } = socket
    timers.advance(defaultHttp1Limits.idleTimeoutMs - 100)
    expect(socket.finished).toBe(false)
    timers.advance(200)
    expect(socket.finished).toBe(true)
    expect(socket.written).toBe(written)
  })

  test('RFC 9110 section 15.5.9: a head that does not come to its end is answered 408, drop by drop or not', async () => {
    const { socket, timers } = accept()
    for (const c of 'GET / HTTP/1.1\r\nHost: a') {
      socket.feed(c)
      timers.advance(100)
    }
    expect(socket.written).toBe('')
    for (let i = 0; i < 100 && !socket.finished; i++) {
      socket.feed('a')
      timers.advance(100)
    }
    expect(statusesOf(socket.written)).toEqual([408])
    expect(socket.finished).toBe(true)
  })

  test('RFC 9110 section 15.5.9: a second head that does not come to its end is answered 408', async () => {
    const { socket, timers } = accept(() => createResponse(200, [], 'ok'))
    socket.feed(`${get}\r\nG`)
    timers.advance(defaultHttp1Limits.headTimeoutMs + 100)
    expect(statusesOf(socket.written)).toEqual([200, 408])
  })

  test('RFC 9110 section 15.5.9: a body that stops coming is answered 408', async () => {
    const { socket, timers } = accept()
    socket.feed(`${post}Content-Length: 10\r\n\r\nabc`)
    await afterTurn() // the handler reads
    timers.advance(defaultHttp1Limits.bodyStallTimeoutMs - 100)
    socket.feed('d')
    await afterTurn()
    timers.advance(defaultHttp1Limits.bodyStallTimeoutMs - 100)
    expect(socket.written).toBe('')
    timers.advance(200)
    await socket.ends
    expect(statusesOf(socket.written)).toEqual([408])
  })

  test('a handler may take its time, and so may a body that nobody wants yet', async () => {
    let release = (): void => {}
    const { socket, timers } = accept(async (request, exchange) => {
      await new Promise<void>((resolve) => (release = resolve))
      return reader(request, exchange)
    })
    socket.feed(`${post}Content-Length: 4\r\n\r\nabc`)
    timers.advance(3_600_000)
    expect(socket.written).toBe('')
    release()
    await afterTurn()
    socket.feed('d')
    await until(() => statusesOf(socket.written).length > 0)
    expect(socket.written).toContain('read 4')
  })

  test('a client that takes nothing of its answer is given up', async () => {
    const timers = createManualTimers()
    let cancelled = false
    const { socket, connections } = (() => {
      const server = createHttp1Server({
        handler: () =>
          new Response(
            new ReadableStream({
              pull: (controller) => controller.enqueue(new Uint8Array(1_000)),
              cancel: () => void (cancelled = true),
            }),
          ),
        limits: defaultHttp1Limits,
        timers,
        scheme: 'http',
      })
      const socket = createMemorySocket()
      server.accept(socket)
      return { socket, connections: server.connections }
    })()
    socket.stuck = true
    socket.feed(`${get}\r\n`)
    await until(() => socket.written.length > 1_000)
    const { length } = socket.written
    timers.advance(defaultHttp1Limits.writeStallTimeoutMs - 100)
    expect(socket.destroyed).toBe(false)
    timers.advance(200)
    expect(socket.destroyed).not.toBe(false)
    await until(() => cancelled)
    expect(socket.written).toHaveLength(length)
    expect(connections.size).toBe(0)
  })

  test('a client that asks and asks and takes no answers is not read from', async () => {
    const timers = createManualTimers()
    let asked = 0
    const server = createHttp1Server({
      handler() {
        asked++
        return createResponse(200, [], 'ok')
      },
      limits: defaultHttp1Limits,
      timers,
      scheme: 'http',
    })
    const socket = createMemorySocket()
    server.accept(socket)
    socket.stuck = true
    socket.feed(`${get}\r\n`.repeat(10))
    expect(asked).toBe(1)
    socket.drain()
    expect(asked).toBe(10)
  })

  test('after an early answer, no more of the body is read than the limit says', async () => {
    const { socket } = accept(() => createResponse(200, [], 'no'))
    socket.feed(`${post}Content-Length: 100000000\r\n\r\n`)
    expect(statusesOf(socket.written)).toEqual([200])
    for (let i = 0; i < 40 && !socket.finished; i++) socket.feed('a'.repeat(65_536))
    expect(socket.finished).toBe(true)
  })

  test('after an early answer, the body is waited for only so long', async () => {
    const { socket, timers } = accept(() => createResponse(200, [], 'no'))
    socket.feed(`${post}Content-Length: 100000000\r\n\r\nabc`)
    timers.advance(defaultHttp1Limits.drainTimeoutMs + 100)
    timers.advance(defaultHttp1Limits.drainTimeoutMs + 100)
    expect(socket.destroyed).not.toBe(false)
  })

  test('after an early answer and the rest of the body, the connection goes on', async () => {
    const { socket } = accept(() => createResponse(200, [], 'no'))
    socket.feed(`${post}Content-Length: 3\r\n\r\na`, 'bc', `${get}\r\n`)
    expect(statusesOf(socket.written)).toEqual([200, 200])
  })

  test('a client that has ended its side inside a head is answered 400', async () => {
    const { socket } = accept()
    socket.feed('GET / HT')
    socket.feedEnd()
    expect(statusesOf(socket.written)).toEqual([400])
  })

  test('a client that has ended its side inside a body has left', async () => {
    let error: unknown
    const { socket } = accept(async (request, exchange) => {
      exchange!.onFinish((outcome) => ({ error } = outcome))
      return reader(request, exchange)
    })
    socket.feed(`${post}Content-Length: 3\r\n\r\na`)
    socket.feedEnd()
    await socket.ends
    expect(socket.written).toBe('')
    expect(error).toEqual({ kind: 'downstream-gone' })
  })

  test('a client that has ended its side behind a whole request gets an answer that takes its time', async () => {
    let answer = (_response: Response): void => {}
    const { socket, timers } = accept(() => new Promise((resolve) => (answer = resolve)))
    socket.feed(`${get}\r\n`)
    socket.feedEnd()
    timers.advance(defaultHttp1Limits.halfClosedTimeoutMs - 100)
    expect(socket.destroyed).toBe(false)
    answer(createResponse(200, [], 'late'))
    await socket.ends
    expect(socket.written).toMatch(/^HTTP\/1\.1 200 [^]*\r\n\r\nlate$/)
  })

  test('a client that has ended its side and takes nothing is not waited for without an end', async () => {
    const { socket, timers } = accept(() => new Promise(() => {}))
    socket.feed(`${get}\r\n`)
    socket.feedEnd()
    timers.advance(defaultHttp1Limits.halfClosedTimeoutMs + 100)
    expect(socket.destroyed).not.toBe(false)
  })
})
