import { describe, expect, test } from 'vitest'
import { ProxyFailure } from '../../src/errors.ts'
import { engineRequest } from '../../src/http/request.ts'
import { createResponse } from '../../src/http/response.ts'
import { setTrailers, trailersOf } from '../../src/http/trailers.ts'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import { createHttp1Server } from '../../src/http1/server.ts'
import type { Field, Handler } from '../../src/runtime.ts'
import { createMemorySocket } from '../support/memory-socket.ts'
import { until } from '../support/until.ts'
import { dial } from '../support/wire.ts'
import { createManualTimers } from '../tunnel/manual-timers.ts'
import { startEngine } from './engine.ts'

const date = 'Tue, 24 Nov 2026 00:00:00 GMT'

function answer(text: string | undefined, status = 200, fields: readonly Field[] = []): Response {
  return createResponse(status, [['Date', date], ...fields], text)
}

/** What {@link answer} is on the wire. */
function onWire(text: string, lines = ''): string {
  return `HTTP/1.1 200 OK\r\nDate: ${date}\r\nContent-Length: ${text.length}\r\n${lines}\r\n${text}`
}

/** Says what it was asked, in one line. */
const report: Handler = async (request, exchange) => {
  const { method, authority, target } = engineRequest(request)!
  const body = await request.text()
  const trailers = trailersOf(request).map(([name, value]) => ` ${name}=${value}`)
  return answer(`${exchange?.httpVersion} ${method} ${authority} ${target} [${body}]${trailers.join('')}`)
}

const last = 'GET /last HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n'
const lastAnswer = onWire('1.1 GET b /last []', 'Connection: close\r\n')

/** Sends all at once and reads until the server has ended the connection. */
async function exchange(handler: Handler, sent: string): Promise<string> {
  await using engine = await startEngine(handler)
  const wire = await dial(engine.address)
  wire.send(sent)
  const answered = await wire.rest()
  wire.destroy()
  return answered
}

interface Row {
  readonly rule: string
  readonly sent: string
  readonly seen: string
}

const requests: readonly Row[] = [
  {
    rule: 'RFC 9112 section 3.2.1: origin-form, with its query, byte for byte',
    sent: 'GET /a%2Fb/../c?x=%20&y=[1] HTTP/1.1\r\nHost: a\r\n\r\n',
    seen: '1.1 GET a /a%2Fb/../c?x=%20&y=[1] []',
  },
  {
    rule: 'RFC 9112 section 3.2.2: absolute-form counts, whatever Host says',
    sent: 'GET http://real.example:8080/a?b HTTP/1.1\r\nHost: other.example\r\n\r\n',
    seen: '1.1 GET real.example:8080 /a?b []',
  },
  {
    rule: 'RFC 9112 section 3.2.1: an empty path is /',
    sent: 'GET http://real.example HTTP/1.1\r\nHost: real.example\r\n\r\n',
    seen: '1.1 GET real.example / []',
  },
  {
    rule: 'RFC 9112 section 3.2.1: an empty path before a query is /',
    sent: 'GET HTTP://real.example?q HTTP/1.1\r\nHost: real.example\r\n\r\n',
    seen: '1.1 GET real.example /?q []',
  },
  {
    rule: 'RFC 9112 section 3.2.4: OPTIONS *',
    sent: 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n',
    seen: '1.1 OPTIONS a * []',
  },
  {
    rule: 'RFC 9112 section 3.2.4: OPTIONS for no path at all is for the server as a whole',
    sent: 'OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n',
    seen: '1.1 OPTIONS a.example * []',
  },
  {
    rule: 'RFC 9112 section 3.2.4: OPTIONS for a path is for that path',
    sent: 'OPTIONS http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n',
    seen: '1.1 OPTIONS a.example / []',
  },
  {
    rule: 'RFC 9112 section 2.2: empty lines before a request line are skipped',
    sent: '\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n',
    seen: '1.1 GET a / []',
  },
  {
    rule: 'RFC 9110 section 9.1: methods are case-sensitive tokens, known or not',
    sent: 'get! / HTTP/1.1\r\nHost: a\r\n\r\n',
    seen: '1.1 get! a / []',
  },
  {
    rule: 'RFC 9112 section 3.2: Host with an IPv6 address and a port',
    sent: 'GET / HTTP/1.1\r\nhOsT:[2001:db8::1]:8080\r\n\r\n',
    seen: '1.1 GET [2001:db8::1]:8080 / []',
  },
  {
    rule: 'RFC 9112 section 5.1: white space around a value is no part of it',
    sent: 'POST / HTTP/1.1\r\nHost: \t a \t \r\nContent-Length:\t2 \r\n\r\nok',
    seen: '1.1 POST a / [ok]',
  },
  {
    rule: 'RFC 9112 section 6.2: Content-Length',
    sent: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nGET / HTTP/1',
    seen: '1.1 POST a / [GET / HTTP/1]',
  },
  {
    rule: 'RFC 9112 section 6.3: Content-Length of nothing',
    sent: 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n',
    seen: '1.1 POST a / []',
  },
  {
    rule: 'RFC 9112 section 6.3: without either field there is no body',
    sent: 'POST / HTTP/1.1\r\nHost: a\r\n\r\n',
    seen: '1.1 POST a / []',
  },
  {
    rule: 'RFC 9110 section 9.3.1: GET with a body',
    sent: 'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nwhy',
    seen: '1.1 GET a / [why]',
  },
  {
    rule: 'RFC 9110 section 9.3.2: HEAD with a body',
    sent: 'DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwhy\r\n0\r\n\r\n',
    seen: '1.1 DELETE a / [why]',
  },
  {
    rule: 'RFC 9112 section 7.1: chunks, sizes in either case and with leading zeros',
    sent: 'POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n003\r\nabc\r\nA\r\n0123456789\r\na\r\n\r\n0\r\n\r\n678\r\n000\r\n\r\n',
    seen: '1.1 POST a / [abc0123456789\r\n0\r\n\r\n678]',
  },
  {
    rule: 'RFC 9112 section 7.1.1: chunk extensions are not read',
    sent: 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b;c="d;e" ; f\r\nabc\r\n0;last\r\n\r\n',
    seen: '1.1 POST a / [abc]',
  },
  {
    rule: 'RFC 9112 section 7.1.2: trailers come with the end of the body, those that frame or route do not',
    sent: 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 12\r\nContent-Length: 9\r\nhost: c\r\nX-Sum:  13 \r\n\r\n',
    seen: '1.1 POST a / [a] X-Sum=12 X-Sum=13',
  },
  {
    rule: 'RFC 9112 section 7.1: a chunked body of nothing',
    sent: 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    seen: '1.1 POST a / []',
  },
]

describe('a request, and one behind it', () => {
  test.each(requests)('$rule', async ({ sent, seen }) => {
    const answers = onWire(seen) + lastAnswer
    expect(await exchange(report, sent + last)).toBe(answers)
  })

  test.each(requests)('cut anywhere: $rule', async ({ sent, seen }) => {
    const answers = onWire(seen) + lastAnswer
    const whole = sent + last
    for (let at = 1; at < whole.length; at++) {
      expect({ at, answered: await inPieces([whole.slice(0, at), whole.slice(at)]) }).toEqual({ at, answered: answers })
    }
    expect(await inPieces(whole.split(''))).toBe(answers)
  })

  async function inPieces(pieces: readonly string[]): Promise<string> {
    const server = createHttp1Server({
      handler: report,
      limits: defaultHttp1Limits,
      timers: createManualTimers(),
      scheme: 'http',
    })
    const socket = createMemorySocket()
    server.accept(socket)
    socket.feed(...pieces)
    await socket.ends
    server.destroy()
    return socket.written
  }
})

describe('how long a connection lives', () => {
  test.each([
    { rule: 'section 9.3: HTTP/1.1 goes on', head: 'GET / HTTP/1.1\r\n', lines: '', goesOn: true },
    {
      rule: 'section 9.6: close ends it',
      head: 'GET / HTTP/1.1\r\nConnection: close\r\n',
      lines: 'Connection: close\r\n',
    },
    {
      rule: 'section 9.6: close in a list, in whatever case',
      head: 'GET / HTTP/1.1\r\nConnection: foo , Close\r\n',
      lines: 'Connection: close\r\n',
    },
    {
      rule: 'section 9.6: close in the second of two fields',
      head: 'GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\n',
      lines: 'Connection: close\r\n',
    },
    { rule: 'section 9.3: HTTP/1.0 ends', head: 'GET / HTTP/1.0\r\n', lines: 'Connection: close\r\n' },
    {
      rule: 'section 9.3: HTTP/1.0 with keep-alive goes on',
      head: 'GET / HTTP/1.0\r\nConnection: keep-alive\r\n',
      lines: 'Connection: keep-alive\r\n',
      goesOn: true,
    },
    {
      rule: 'section 9.3: HTTP/1.0 with keep-alive and close ends',
      head: 'GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n',
      lines: 'Connection: close\r\n',
    },
  ])('RFC 9112 $rule', async ({ head, lines, goesOn = false }) => {
    const handler: Handler = () => answer('ok')
    const second = goesOn ? onWire('ok', 'Connection: close\r\n') : ''
    expect(await exchange(handler, `${head}Host: a\r\n\r\n${last}`)).toBe(onWire('ok', lines) + second)
  })

  test('RFC 9112 section 9.3.2: pipelined requests are answered in their order, one at a time', async () => {
    let atOnce = 0
    let most = 0
    const handler: Handler = async (request) => {
      most = Math.max(most, ++atOnce)
      const delay = Number(engineRequest(request)!.target.slice(1)) % 3
      for (let i = 0; i < 3 - delay; i++) await new Promise((resolve) => setTimeout(resolve, 1))
      atOnce--
      return answer(engineRequest(request)!.target)
    }
    const sent = Array.from({ length: 20 }, (_, i) => `GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`).join('')
    const answers = Array.from({ length: 20 }, (_, i) => onWire(`/${i}`)).join('')
    expect(await exchange(handler, sent + last)).toBe(answers + onWire('/last', 'Connection: close\r\n'))
    expect(most).toBe(1)
  })

  test.each<[string, Handler]>([
    ['at once', (request) => answer(engineRequest(request)!.target)],
    ['later', async (request) => answer(engineRequest(request)!.target)],
    ['with a stream', (request) => new Response(new Blob([engineRequest(request)!.target]).stream())],
  ])('3,000 pipelined requests in one write, answered %s', async (_, handler) => {
    const count = 3_000
    const sent = Array.from({ length: count }, (_, i) => `GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`).join('')
    const answered = await exchange(handler, sent + last)
    const targets = [...answered.matchAll(/\/(?:\d+|last)(?=HTTP|\r\n0|$)/g)].map(([target]) => target)
    expect(targets).toEqual([...Array.from({ length: count }, (_, i) => `/${i}`), '/last'])
  })

  test('RFC 9112 section 9.6: a client that has ended its side still gets the answers it waits for', async () => {
    await using engine = await startEngine(report)
    const wire = await dial(engine.address)
    wire.send('GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n')
    wire.finish()
    expect(await wire.rest()).toContain('GET a /2 []')
  })

  test('a drained server ends idle connections at once, the others after their answer', async () => {
    let go = (): void => {}
    const asked = new Promise<void>((resolve) => (go = resolve))
    let release = (): void => {}
    await using engine = await startEngine(async () => {
      go()
      await new Promise<void>((resolve) => (release = resolve))
      return answer('ok')
    })
    const [idle, busy] = await Promise.all([dial(engine.address), dial(engine.address)])
    busy.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await asked
    engine.server.drain()
    expect(await idle.rest()).toBe('')
    release()
    expect(await busy.rest()).toBe(onWire('ok', 'Connection: close\r\n'))
    idle.destroy()
    busy.destroy()
    await until(() => engine.server.connections.size === 0)
  })
})

describe('what an answer looks like', () => {
  const get = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
  const start = `HTTP/1.1 200 OK\r\nDate: ${date}\r\n`
  const close = 'Connection: close\r\n'

  function streamed(...chunks: readonly string[]): ReadableStream<Uint8Array<ArrayBuffer>> {
    const encoder = new TextEncoder()
    return new ReadableStream({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(encoder.encode(chunk))
        controller.close()
      },
    })
  }
  const ofStream = (...chunks: readonly string[]): Response => new Response(streamed(...chunks), { headers: { date } })

  test.each<{ rule: string; sent?: string; handler: Handler; answered: string }>([
    {
      rule: 'RFC 9112 section 6.3: chunked where the length is not known',
      handler: () => ofStream('ab', 'cde'),
      answered: `HTTP/1.1 200 OK\r\ndate: ${date}\r\nTransfer-Encoding: chunked\r\n${close}\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n`,
    },
    {
      rule: 'RFC 9112 section 7.1: an empty piece is no chunk: it would end the body',
      handler: () => ofStream('ab', '', 'c'),
      answered: `HTTP/1.1 200 OK\r\ndate: ${date}\r\nTransfer-Encoding: chunked\r\n${close}\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n`,
    },
    {
      rule: 'RFC 9112 section 6.1: HTTP/1.0 knows no chunks, so the end of the connection ends the body',
      sent: 'GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n',
      handler: () => ofStream('ab', 'cde'),
      answered: `HTTP/1.1 200 OK\r\ndate: ${date}\r\n${close}\r\nabcde`,
    },
    {
      rule: 'RFC 9112 section 7.1.2: trailers behind the last chunk',
      handler() {
        const response = ofStream('ab')
        setTrailers(response, [['X-Sum', '12']])
        return response
      },
      answered: `HTTP/1.1 200 OK\r\ndate: ${date}\r\nTransfer-Encoding: chunked\r\n${close}\r\n2\r\nab\r\n0\r\nX-Sum: 12\r\n\r\n`,
    },
    {
      rule: 'RFC 9110 section 8.6: a declared length frames a stream',
      handler: () => new Response(streamed('ab', 'c'), { headers: { date, 'content-length': '3' } }),
      answered: `HTTP/1.1 200 OK\r\ncontent-length: 3\r\ndate: ${date}\r\n${close}\r\nabc`,
    },
    {
      rule: 'RFC 9110 section 8.6: nothing is said to be nothing',
      handler: () => answer(undefined),
      answered: `${start}Content-Length: 0\r\n${close}\r\n`,
    },
    {
      rule: 'RFC 9110 section 9.3.2: HEAD says how long the body would be, and has none',
      sent: get.replace('GET', 'HEAD'),
      handler: () => answer('abc'),
      answered: `${start}Content-Length: 3\r\n${close}\r\n`,
    },
    {
      rule: 'RFC 9110 section 9.3.2: HEAD with a length of its own',
      sent: get.replace('GET', 'HEAD'),
      handler: () => answer(undefined, 200, [['Content-Length', '1000']]),
      answered: `${start}Content-Length: 1000\r\n${close}\r\n`,
    },
    {
      rule: 'RFC 9110 section 9.3.2: HEAD of a stream, which is not read',
      sent: get.replace('GET', 'HEAD'),
      handler: () => ofStream('abc'),
      answered: `HTTP/1.1 200 OK\r\ndate: ${date}\r\n${close}\r\n`,
    },
    {
      rule: 'RFC 9110 section 15.3.5: 204 has neither body nor length',
      handler: () => answer(undefined, 204, [['Content-Length', '3']]),
      answered: `HTTP/1.1 204 No Content\r\nDate: ${date}\r\n${close}\r\n`,
    },
    {
      rule: 'RFC 9110 section 15.4.5: 304 may say the length of what it stands for',
      handler: () => answer(undefined, 304, [['Content-Length', '3']]),
      answered: `HTTP/1.1 304 Not Modified\r\nDate: ${date}\r\nContent-Length: 3\r\n${close}\r\n`,
    },
    {
      rule: 'RFC 9110 section 5.3: names keep their case, order and repetitions',
      handler: () =>
        answer('', 200, [
          ['X-b', '1'],
          ['x-A', ''],
          ['X-B', '2'],
          ['Set-Cookie', 'a=1'],
          ['set-cookie', 'b=2'],
        ]),
      answered: `${start}X-b: 1\r\nx-A: \r\nX-B: 2\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 0\r\n${close}\r\n`,
    },
    {
      rule: 'RFC 9110 section 7.6.1: what belongs to the connection is ours to say',
      handler: () =>
        answer('', 200, [
          ['Connection', 'upgrade'],
          ['Keep-Alive', 'timeout=1'],
          ['Transfer-Encoding', 'chunked'],
          ['Proxy-Connection', 'x'],
          ['Upgrade', 'x'],
          ['X-A', '1'],
        ]),
      answered: `${start}X-A: 1\r\nContent-Length: 0\r\n${close}\r\n`,
    },
    {
      rule: "RFC 9110 section 8.6: a length that is not the body's is put right",
      handler: () => answer('abc', 200, [['content-length', '2']]),
      answered: `${start}Content-Length: 3\r\n${close}\r\nabc`,
    },
    {
      rule: "RFC 9112 section 4: a reason phrase of the handler's own",
      handler: () => new Response(null, { status: 299, statusText: 'Fine by me', headers: { date } }),
      answered: `HTTP/1.1 299 Fine by me\r\ndate: ${date}\r\nContent-Length: 0\r\n${close}\r\n`,
    },
  ])('$rule', async ({ sent = get, handler, answered }) => {
    expect(await exchange(handler, sent)).toBe(answered)
  })

  test('RFC 9110 section 6.6.1: a Date is added where there is none', async () => {
    const before = Math.floor(Date.now() / 1000) * 1000
    const answered = await exchange(() => createResponse(200, [], ''), get)
    const found = Date.parse(/^Date: (.*)\r$/m.exec(answered)?.[1] ?? '')
    expect(found).toBeGreaterThanOrEqual(before)
    expect(found).toBeLessThanOrEqual(Date.now())
  })

  test('field names of a request keep their case, order and repetitions', async () => {
    const names: Handler = (request) =>
      answer(
        engineRequest(request)!
          .head.fields()
          .map(([name, value]) => `${name}=${value}`)
          .join('|'),
      )
    const sent = 'GET / HTTP/1.1\r\nX-b: 1\r\nHOST: a\r\nx-A:\r\nX-B: \xe9 2\r\nConnection: close\r\n\r\n'
    expect(await exchange(names, sent)).toContain('\r\n\r\nX-b=1|HOST=a|x-A=|X-B=\xc3\xa9 2|Connection=close')
  })

  test('RFC 9110 section 7.6.1: fields that Connection names are gone before anybody sees them, framing ones are not', async () => {
    const sent =
      'POST / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nContent-Length: 1\r\nConnection: close, X-A, Host, Content-Length\r\n\r\n!'
    const handler: Handler = async (request) => answer(`${request.headers.has('x-a')} ${await request.text()}`)
    expect(await exchange(handler, sent)).toBe(onWire('false !', close))
  })
})

describe('1xx', () => {
  test('RFC 9110 section 15.2: informational responses go ahead of the answer', async () => {
    const handler: Handler = (_, exchange) => {
      exchange!.inform(103, [
        ['Link', '</a.css>; rel=preload'],
        ['link', '</b.js>'],
      ])
      exchange!.inform(102, [])
      return answer('ok')
    }
    const hints = 'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n'
    const processing = 'HTTP/1.1 102 Processing\r\n\r\n'
    const get = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
    expect(await exchange(handler, get)).toBe(hints + processing + onWire('ok', 'Connection: close\r\n'))
  })

  test('RFC 9110 section 15.2: not to an HTTP/1.0 client', async () => {
    const handler: Handler = (_, exchange) => {
      exchange!.inform(103, [['Link', '</a.css>']])
      return answer('ok')
    }
    expect(await exchange(handler, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n')).toBe(onWire('ok', 'Connection: close\r\n'))
  })

  test('an informational response that is none, or has a field that may not go out, is a failure of the handler', async () => {
    const wrong: readonly [number, Field[]][] = [
      [200, []],
      [101, []],
      [103, [['Bad Name', '']]],
      [103, [['X-A', 'a\r\nX-B: c']]],
    ]
    for (const [status, fields] of wrong) {
      const handler: Handler = (_, exchange) => {
        exchange!.inform(status, fields)
        return answer('ok')
      }
      const answered = await exchange(handler, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
      expect(answered).toMatch(/^HTTP\/1.1 500 /)
    }
  })

  const expecting = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n'

  test('RFC 9110 section 10.1.1: 100 as soon as the handler reads the body', async () => {
    await using engine = await startEngine(report)
    const wire = await dial(engine.address)
    wire.send(expecting)
    expect(await wire.until('\r\n\r\n')).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    wire.send('ok' + last)
    expect(await wire.rest()).toBe(onWire('1.1 POST a / [ok]') + lastAnswer)
  })

  test('RFC 9110 section 10.1.1: a look at the body that does not read it asks for nothing', async () => {
    await using engine = await startEngine((request) => answer(String(request.body !== null)))
    const wire = await dial(engine.address)
    wire.send(expecting)
    expect(await wire.rest()).toBe(onWire('true', 'Connection: close\r\n'))
  })

  test('RFC 9110 section 10.1.1: an answer without the body is no 100, and ends the connection', async () => {
    await using engine = await startEngine(() => answer('no'))
    const wire = await dial(engine.address)
    wire.send(expecting)
    expect(await wire.rest()).toBe(onWire('no', 'Connection: close\r\n'))
  })

  test('RFC 9110 section 10.1.1: no 100 where the body is coming already', async () => {
    expect(await exchange(report, `${expecting}ok${last}`)).toBe(onWire('1.1 POST a / [ok]') + lastAnswer)
  })

  test('RFC 9110 section 10.1.1: an expectation of HTTP/1.0 is ignored', async () => {
    const sent = expecting.replace('HTTP/1.1', 'HTTP/1.0')
    await using engine = await startEngine(report)
    const wire = await dial(engine.address)
    wire.send(sent)
    await until(() => engine.asked.length === 1)
    wire.send('ok')
    expect(await wire.rest()).toBe(onWire('1.0 POST a / [ok]', 'Connection: close\r\n'))
  })

  test('RFC 9110 section 10.1.1: an expectation without a body needs no 100', async () => {
    const sent = `GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n${last}`
    expect(await exchange(report, sent)).toBe(onWire('1.1 GET a / []') + lastAnswer)
  })
})

describe('a handler that fails', () => {
  const get = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

  test.each<[string, Handler]>([
    [
      'throws',
      () => {
        throw new Error('a secret')
      },
    ],
    ['rejects', () => Promise.reject(new Error('a secret'))],
    ['answers with no Response', () => undefined as unknown as Response],
    ['answers with a network error', () => Response.error()],
    [
      'answers with a body that was read',
      async () => {
        const response = new Response('a secret')
        await response.text()
        return response
      },
    ],
    ['answers 101 to nobody who asked', () => ({ __proto__: Response.prototype, status: 101 }) as unknown as Response],
  ])('%s: 500 or 502, no word of why, and the connection goes on', async (_, handler) => {
    await using engine = await startEngine((request, exchange) =>
      engineRequest(request)!.target === '/last' ? report(request, exchange) : handler(request, exchange),
    )
    const wire = await dial(engine.address)
    wire.send(get + last)
    const answered = await wire.rest()
    expect(answered).toMatch(/^HTTP\/1.1 50[02] /)
    expect(answered).not.toContain('secret')
    expect(answered.endsWith(lastAnswer)).toBe(true)
    expect(engine.outcomes[0]).toMatchObject({ error: { kind: expect.any(String) } })
    expect(engine.errors).toHaveLength(1)
  })

  test('a failure that says what it was is answered as the owner of the door wants', async () => {
    await using engine = await startEngine(() => Promise.reject(new ProxyFailure({ kind: 'no-route' })), {
      refuse: (error) => answer(error.kind, 404),
    })
    const wire = await dial(engine.address)
    wire.send(get.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'))
    expect(await wire.rest()).toContain('\r\n\r\nno-route')
    expect(engine.outcomes).toEqual([{ status: 404, bytesReceived: 0, bytesSent: 8, error: { kind: 'no-route' } }])
  })

  test('a door that fails to refuse still answers', async () => {
    await using engine = await startEngine(
      () => {
        throw new Error('first')
      },
      {
        refuse() {
          throw new Error('second')
        },
      },
    )
    const wire = await dial(engine.address)
    wire.send(get.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'))
    expect(await wire.rest()).toMatch(/^HTTP\/1.1 500 /)
  })

  /** Two pieces, then no more. */
  function broken(): ReadableStream<Uint8Array<ArrayBuffer>> {
    let count = 0
    return new ReadableStream({
      pull(controller) {
        if (++count > 2) controller.error(new Error('broke'))
        else controller.enqueue(new Uint8Array([97, 98]))
      },
    })
  }

  test.each<[string, () => Response, string]>([
    [
      'a stream that has failed',
      () => new Response(new ReadableStream({ start: (controller) => controller.error(new Error('broke')) })),
      '',
    ],
    [
      'a stream of texts',
      () => new Response(new ReadableStream<never>({ start: (controller) => controller.enqueue('text' as never) })),
      '',
    ],
    ['a chunked body has no last chunk', () => new Response(broken()), '2\r\nab\r\n2\r\nab\r\n'],
    [
      'a body of declared length is shorter',
      () => new Response(broken(), { headers: { 'content-length': '6' } }),
      'abab',
    ],
  ])('mid-way: %s, and the connection ends', async (_, handler, body) => {
    await using engine = await startEngine(handler)
    const wire = await dial(engine.address)
    wire.send(get + last)
    const answered = await wire.rest()
    expect(answered.slice(answered.indexOf('\r\n\r\n') + 4)).toBe(body)
    await until(() => engine.outcomes.length > 0)
    expect(engine.outcomes).toMatchObject([
      { status: 200, bytesSent: body === '' ? 0 : 4, error: { kind: 'filter-failed' } },
    ])
    expect(engine.asked).toEqual(['GET /'])
  })

  test('mid-way, where the end of the connection would end the body: a reset', async () => {
    await using engine = await startEngine(() => new Response(broken()))
    const wire = await dial(engine.address)
    wire.send('GET / HTTP/1.0\r\nHost: a\r\n\r\n')
    expect(await wire.closed).toMatchObject({ code: 'reset' })
  })

  test.each<[string, string, Response['status']]>([
    ['longer', '1', 200],
    ['shorter', '9', 200],
  ])('a body %s than its Content-Length is cut off, and the connection ends', async (_, length) => {
    const body = new Blob(['abc']).stream()
    await using engine = await startEngine(() => new Response(body, { headers: { 'content-length': length } }))
    const wire = await dial(engine.address)
    wire.send(get + last)
    const answered = await wire.rest()
    const end = answered.indexOf('\r\n\r\n') + 4
    expect(answered.slice(end).length).toBeLessThanOrEqual(3)
    expect(answered).not.toContain('HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc')
    expect(engine.asked).toEqual(['GET /'])
    await until(() => engine.outcomes.length > 0)
    expect(engine.outcomes[0]).toMatchObject({ error: { kind: 'filter-failed' } })
  })
})

test('an exchange tells how it ended, and whom it served', async () => {
  await using engine = await startEngine(async (request, exchange) => {
    expect(exchange).toMatchObject({ scheme: 'http', gone: false, awaitsContinue: false, upgrade: undefined })
    expect(exchange!.peer.host).toBe('127.0.0.1')
    expect(exchange!.local.port).toBe(engine.address.port)
    return answer(await request.text())
  })
  const wire = await dial(engine.address)
  wire.send(
    'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  )
  await wire.rest()
  expect(engine.outcomes).toEqual([{ status: 200, bytesReceived: 3, bytesSent: 3 }])
})
