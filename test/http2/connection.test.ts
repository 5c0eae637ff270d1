import { describe, expect, test } from 'vitest'
import { ProxyFailure, type ProxyError } from '../../src/errors.ts'
import { emptyHead, headOf } from '../../src/http/head.ts'
import { engineRequest } from '../../src/http/request.ts'
import { createResponse, responseOf } from '../../src/http/response.ts'
import { setTrailers, trailersOf } from '../../src/http/trailers.ts'
import type { Exchange, Field, Outcome } from '../../src/runtime.ts'
import { until } from '../support/until.ts'
import { patternBody, pushBody, readPattern, requestFor, startHttp2 } from './rig.ts'

async function errorOf(promise: Promise<unknown>): Promise<ProxyError> {
  try {
    await promise
  } catch (thrown) {
    if (thrown instanceof ProxyFailure) return thrown.error
    throw thrown
  }
  throw new Error('nothing was thrown')
}

describe('a request and its answer', () => {
  test('head, body and status arrive as they were sent', async () => {
    await using rig = await startHttp2(async (request, exchange) => {
      const own = engineRequest(request)!
      const seen = [own.method, own.target, own.authority, request.headers.get('x-a'), await request.text()]
      expect(exchange!.httpVersion).toBe('2')
      expect(exchange!.peer.host).toBe('127.0.0.1')
      return createResponse(201, [['X-Seen', seen.join('|')]], 'done')
    })
    const client = await rig.connect()
    const body = new TextEncoder().encode('hello')
    const response = await client.send(
      requestFor('/a%2Fb?x=1', { method: 'PUT', fields: [['X-A', 'ä, b']], body, authority: 'b.example:8080' }),
      {},
    )
    expect(response.status).toBe(201)
    expect(response.headers.get('x-seen')).toBe('PUT|/a%2Fb?x=1|b.example:8080|ä, b|hello')
    expect(response.headers.get('content-length')).toBe('4')
    expect(response.headers.has('date')).toBe(true)
    expect(await response.text()).toBe('done')
    expect(client.active).toBe(0)
  })

  test('RFC 9113 section 8.2.2: fields of a connection stay behind, in both directions', async () => {
    await using rig = await startHttp2((request) => {
      const names = [...request.headers.keys()].join(' ')
      return responseOf(
        200,
        '',
        headOf([
          ['Connection', 'x-b'],
          ['Keep-Alive', 'timeout=5'],
          ['Transfer-Encoding', 'chunked'],
          ['Names', names],
        ]),
        undefined,
      )
    })
    const client = await rig.connect()
    const fields: Field[] = [
      ['Connection', 'keep-alive'],
      ['TE', 'trailers, deflate'],
      ['Upgrade', 'websocket'],
      ['Host', 'c.example'],
      ['Proxy-Connection', 'keep-alive'],
    ]
    const response = await client.send(requestFor('/', { fields }), {})
    expect(response.headers.get('names')).toBe('te')
    expect([...response.headers.keys()].sort()).toEqual(['content-length', 'date', 'names'])
  })

  test('RFC 9113 section 8.2.3: cookie crumbs become one field', async () => {
    await using rig = await startHttp2((request) => createResponse(200, [], request.headers.get('cookie') ?? ''))
    const client = await rig.connect()
    const fields: Field[] = [
      ['Cookie', 'a=1'],
      ['Cookie', 'b=2'],
    ]
    expect(await (await client.send(requestFor('/', { fields }), {})).text()).toBe('a=1; b=2')
  })

  test('set-cookie fields stay apart', async () => {
    await using rig = await startHttp2(() =>
      createResponse(200, [
        ['Set-Cookie', 'a=1'],
        ['Set-Cookie', 'b=2'],
      ]),
    )
    const client = await rig.connect()
    for (let i = 0; i < 3; i++) {
      const response = await client.send(requestFor('/'), {})
      expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    }
  })

  test('an answer to HEAD says the length, and sends nothing', async () => {
    await using rig = await startHttp2(() => createResponse(200, [], 'hello'))
    const client = await rig.connect()
    const response = await client.send(requestFor('/', { method: 'HEAD' }), {})
    expect(response.headers.get('content-length')).toBe('5')
    expect(response.body).toBeNull()
    await until(() => client.active === 0)
  })

  test('header lists larger than a frame go over in CONTINUATION frames', async () => {
    const large = 'v'.repeat(30_000)
    await using rig = await startHttp2((request) => createResponse(200, [['Y', request.headers.get('x')!]], 'ok'))
    const client = await rig.connect()
    const response = await client.send(requestFor('/', { fields: [['X', large]] }), {})
    expect(response.headers.get('y')).toBe(large)
  })

  test('header lists larger than what we hold in one text are whole all the same', async () => {
    const fields: Field[] = Array.from({ length: 60 }, (_, i) => [`x-${i}`, `${i}`.padEnd(10_000, '.')])
    await using rig = await startHttp2(
      (request) =>
        responseOf(
          200,
          '',
          emptyHead.edit({ removed: [], added: fields.map(([name]) => [name, request.headers.get(name)!]) }),
          undefined,
        ),
      { maxHeaderListBytes: 1_048_576 },
    )
    const client = await rig.connect({ maxHeaderListBytes: 1_048_576 })
    const request = requestFor('/')
    for (const [name, value] of fields) request.headers.append(name, value)
    const response = await client.send(request, {})
    expect(fields.filter(([name, value]) => response.headers.get(name) !== value)).toEqual([])
  })

  test('the fields that matter are found behind as many others, and repeated ones keep their order', async () => {
    const others = Array.from({ length: 300 }, (_, i): Field => [`x-${i}`, '.'.repeat(1_000)])
    await using rig = await startHttp2(
      async (request) =>
        createResponse(
          200,
          [],
          JSON.stringify([
            request.headers.get('x-list'),
            request.headers.get('cf-ray'),
            request.headers.get('content-length'),
            await request.text(),
          ]),
        ),
      { maxHeaderListBytes: 1_048_576, maxFieldLines: 1_000 },
    )
    const client = await rig.connect()
    const listed: Field[] = [
      ['x-list', 'a'.repeat(1_000)],
      ['x-list', 'b'],
    ]
    const request = requestFor('/', { body: new TextEncoder().encode('hello') })
    for (const [name, value] of [...others.slice(0, 97), ...listed, ...others.slice(97), ['cf-ray', '1'] as const])
      request.headers.append(name, value)
    const response = await client.send(request, {})
    expect(await response.json()).toEqual([`${'a'.repeat(1_000)}, b`, '1', '5', 'hello'])
  })

  test('a head that is too large is answered 431, and the connection lives on', async () => {
    await using rig = await startHttp2(() => createResponse(200, [], 'ok'), { maxHeaderListBytes: 4_096 })
    const client = await rig.connect()
    const response = await client.send(requestFor('/', { fields: [['X', 'v'.repeat(5_000)]] }), {})
    expect(response.status).toBe(431)
    expect((await client.send(requestFor('/'), {})).status).toBe(200)
  })

  test('a handler that throws is a 500 and harms nobody else', async () => {
    await using rig = await startHttp2((request) => {
      if (request.url.endsWith('/bad')) throw new Error('no')
      return createResponse(200, [], 'ok')
    })
    const client = await rig.connect()
    const [bad, good] = await Promise.all([client.send(requestFor('/bad'), {}), client.send(requestFor('/good'), {})])
    expect([bad.status, good.status]).toEqual([500, 200])
  })
})

describe('trailers', () => {
  test('of a request reach the handler', async () => {
    await using rig = await startHttp2(async (request) => {
      await request.text()
      return createResponse(200, [], JSON.stringify(trailersOf(request)))
    })
    const client = await rig.connect()
    const body = pushBody()
    body.push('hello')
    body.finish(headOf([['X-Sum', '1']]))
    expect(await (await client.send(requestFor('/', { body }), {})).json()).toEqual([['x-sum', '1']])
  })

  test('of an answer reach the client, those that frame or route a message do not', async () => {
    await using rig = await startHttp2(() => {
      const response = new Response('hello')
      setTrailers(response, [
        ['Grpc-Status', '0'],
        ['Content-Type', 'text/plain'],
        ['CF-Ray', '1'],
      ])
      return response
    })
    const client = await rig.connect()
    const response = await client.send(requestFor('/'), {})
    expect(await response.text()).toBe('hello')
    expect(trailersOf(response)).toEqual([
      ['grpc-status', '0'],
      ['cf-ray', '1'],
    ])
  })

  test('RFC 9113 section 8.2.2: fields of a connection do not go out as trailers', async () => {
    await using rig = await startHttp2(() => {
      const body = pushBody()
      body.push('hello')
      body.finish(
        headOf([
          ['Connection', 'close'],
          ['TE', 'gzip'],
          ['Grpc-Status', '0'],
        ]),
      )
      return responseOf(200, '', emptyHead, body)
    })
    const client = await rig.connect()
    const response = await client.send(requestFor('/'), {})
    expect(await response.text()).toBe('hello')
    expect(trailersOf(response)).toEqual([['grpc-status', '0']])
  })
})

describe('informational answers', () => {
  test('103 goes before the answer', async () => {
    const told: (readonly [number, readonly Field[]])[] = []
    await using rig = await startHttp2((_request, exchange) => {
      exchange!.inform(103, [['Link', '</a.css>; rel=preload']])
      return createResponse(200, [], 'ok')
    })
    const client = await rig.connect()
    const response = await client.send(requestFor('/'), { exchange: exchangeWith((...all) => told.push(all)) })
    expect(response.status).toBe(200)
    expect(told).toEqual([[103, [['link', '</a.css>; rel=preload']]]])
  })

  test('RFC 9110 section 10.1.1: a body that waits for 100 is sent when the handler reads it', async () => {
    let asked = false
    await using rig = await startHttp2(async (request, exchange) => {
      asked = exchange!.awaitsContinue
      return createResponse(200, [], await request.text())
    })
    const client = await rig.connect()
    const body = pushBody()
    body.push('hello')
    body.finish()
    const response = await client.send(requestFor('/', { body }), {
      exchange: { ...exchangeWith(() => {}), awaitsContinue: true },
    })
    expect(asked).toBe(true)
    expect(await response.text()).toBe('hello')
  })
})

function exchangeWith(inform: Exchange['inform']): Exchange {
  return {
    scheme: 'http',
    httpVersion: '1.1',
    peer: { host: '', port: 0 },
    local: { host: '', port: 0 },
    startedAtMs: 0,
    awaitsContinue: false,
    gone: false,
    inform,
    onAbort() {},
    onFinish() {},
  }
}

describe('many at once', () => {
  test('100 exchanges share a connection, and each gets its own answer', async () => {
    await using rig = await startHttp2(async (request) => {
      const { byteLength } = await request.arrayBuffer()
      return createResponse(200, [], `${engineRequest(request)!.target} ${byteLength}`)
    })
    const client = await rig.connect()
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const response = await client.send(requestFor(`/${i}`, { body: patternBody(i * 1_000, i % 2 === 0) }), {})
        return response.text()
      }),
    )
    expect(answers).toEqual(Array.from({ length: 100 }, (_, i) => `/${i} ${i * 1_000}`))
    expect(client.active).toBe(0)
  })

  test('more than the server allows are not sent, and may be sent again', async () => {
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    await using rig = await startHttp2(
      async () => {
        await held
        return createResponse(200, [], 'ok')
      },
      { maxConcurrentStreams: 2 },
    )
    const client = await rig.connect()
    await until(() => client.capacity === 2)
    const first = [client.send(requestFor('/'), {}), client.send(requestFor('/'), {})]
    expect(client.capacity).toBe(0)
    expect(await errorOf(client.send(requestFor('/'), {}))).toMatchObject({ stale: true, unprocessed: true })
    release()
    for (const response of await Promise.all(first)) expect(await response.text()).toBe('ok')
    expect(client.capacity).toBe(2)
  })
})

describe('flow control', () => {
  const size = 32 * 1_048_576

  test('32 MiB up and down, byte for byte', async () => {
    await using rig = await startHttp2((request) =>
      responseOf(200, '', emptyHead, engineRequest(request)!.holder.take()),
    )
    const client = await rig.connect()
    const response = await client.send(requestFor('/', { body: patternBody(size, false) }), {})
    expect(await readPattern(response.body!)).toBe(size)
  })

  test('a consumer that pauses holds its own stream and no other', async () => {
    await using rig = await startHttp2((request) =>
      responseOf(200, '', emptyHead, patternBody(request.url.endsWith('/large') ? size : 100_000)),
    )
    const client = await rig.connect()
    const paused = await client.send(requestFor('/large'), {})
    const reader = paused.body!.getReader()
    let got = (await reader.read()).value!.length
    for (let i = 0; i < 30; i++) {
      const other = await client.send(requestFor(`/${i}`), {})
      expect(await readPattern(other.body!)).toBe(100_000)
    }
    for (let next = await reader.read(); !next.done; next = await reader.read()) got += next.value.length
    expect(got).toBe(size)
  })

  test('a paused consumer stops the sender within its window', async () => {
    let sent = 0
    await using rig = await startHttp2(() => {
      const body = patternBody(size)
      return responseOf(200, '', emptyHead, {
        ...body,
        start: (sink) =>
          body.start({
            data(bytes, start, end) {
              sent += end - start
              return sink.data(bytes, start, end)
            },
            end: () => sink.end(),
            fail: (error) => sink.fail(error),
          }),
      })
    })
    const client = await rig.connect({ streamWindowBytes: 131_072 })
    const response = await client.send(requestFor('/'), {})
    await until(() => sent >= 131_072)
    await (await client.send(requestFor('/', { method: 'HEAD' }), {})).text()
    expect(sent).toBeLessThanOrEqual(131_072 + 65_536)
    expect(await readPattern(response.body!)).toBe(size)
  })

  test('windows of the least size do not stall', async () => {
    const small = { streamWindowBytes: 65_535, connectionWindowBytes: 65_535 }
    await using rig = await startHttp2(
      (request) => responseOf(200, '', emptyHead, engineRequest(request)!.holder.take()),
      small,
    )
    const client = await rig.connect(small)
    const sizes = [1, 65_535, 65_536, 1_000_000, 300_000]
    const read = await Promise.all(
      sizes.map(async (each) => {
        const response = await client.send(requestFor('/', { body: patternBody(each) }), {})
        return readPattern(response.body!)
      }),
    )
    expect(read).toEqual(sizes)
  })
})

describe('the end of an exchange', () => {
  test('a client that leaves aborts its exchange alone', async () => {
    const outcomes: Outcome[] = []
    let aborted: ProxyError | undefined
    await using rig = await startHttp2((request, exchange) => {
      exchange!.onFinish((outcome) => outcomes.push(outcome))
      exchange!.onAbort((error) => (aborted = error))
      return request.url.endsWith('/hangs') ? new Promise<never>(() => {}) : createResponse(200, [], 'ok')
    })
    const client = await rig.connect()
    const leaving = new AbortController()
    const hanging = errorOf(client.send(requestFor('/hangs'), { signal: leaving.signal }))
    expect((await client.send(requestFor('/'), {})).status).toBe(200)
    leaving.abort()
    expect(await hanging).toEqual({ kind: 'downstream-gone' })
    await until(() => aborted !== undefined)
    expect(outcomes.at(-1)).toMatchObject({ status: 0, error: { kind: 'downstream-gone' } })
    expect((await client.send(requestFor('/'), {})).status).toBe(200)
  })

  test('a consumer that leaves stops the sender', async () => {
    const body = pushBody()
    await using rig = await startHttp2(() => responseOf(200, '', emptyHead, body))
    const client = await rig.connect()
    const response = await client.send(requestFor('/'), {})
    body.push('first')
    const reader = response.body!.getReader()
    await reader.read()
    await reader.cancel()
    expect(await body.cancelled).toEqual({ kind: 'downstream-gone' })
  })

  test('an answer that breaks is never mistaken for a whole one', async () => {
    const body = pushBody()
    await using rig = await startHttp2(() => responseOf(200, '', emptyHead, body))
    const client = await rig.connect()
    const response = await client.send(requestFor('/'), {})
    body.push('half')
    body.break({ kind: 'filter-failed', reason: 'broke' })
    expect(await errorOf(response.text())).toMatchObject({ kind: 'upstream', phase: 'body', cause: 'closed' })
  })

  test.each([
    ['longer', 'longer than said', 4],
    ['shorter', 'abc', 4],
  ])('an answer that is %s than its content-length is broken off', async (_what, text, length) => {
    await using rig = await startHttp2(() => {
      const body = pushBody()
      body.push('ab')
      queueMicrotask(() => {
        body.push(text.slice(2))
        body.finish()
      })
      return responseOf(200, '', emptyHead, { ...body, length })
    })
    const client = await rig.connect()
    const response = await client.send(requestFor('/'), {})
    expect(await errorOf(response.text())).toMatchObject({ kind: 'upstream', phase: 'body' })
  })

  test('an answer before the end of the request ends the request', async () => {
    const body = pushBody()
    await using rig = await startHttp2(() => createResponse(403, [], 'no'))
    const client = await rig.connect()
    body.push('some of it')
    const response = await client.send(requestFor('/', { body }), {})
    expect([response.status, await response.text()]).toEqual([403, 'no'])
    await body.cancelled
    expect(client.active).toBe(0)
  })

  test('a deadline ends the exchange and says what was told', async () => {
    await using rig = await startHttp2(() => new Promise<never>(() => {}))
    const client = await rig.connect()
    const deadlineError: ProxyError = { kind: 'timeout', limit: 'request', timeoutMs: 30 }
    const deadlineMs = rig.timers.now() + 30
    expect(await errorOf(client.send(requestFor('/'), { deadlineMs, deadlineError }))).toEqual(deadlineError)
    await until(() => [...rig.server.connections].length === 1 && client.active === 0)
  })

  test('a body that does not come in time is answered 408', async () => {
    await using rig = await startHttp2(async (request) => createResponse(200, [], await request.text()), {
      bodyStallTimeoutMs: 50,
    })
    const client = await rig.connect()
    const body = pushBody()
    body.push('some')
    const response = await client.send(requestFor('/', { body }), {})
    expect(response.status).toBe(408)
  })

  test('a call of gRPC may pause for longer than any other body', async () => {
    await using rig = await startHttp2(async (request) => createResponse(200, [], await request.text()), {
      bodyStallTimeoutMs: 50,
    })
    const client = await rig.connect()
    const [call, upload] = [pushBody(), pushBody()]
    call.push('some')
    upload.push('some')
    const answered = client.send(requestFor('/', { body: call, fields: [['Content-Type', 'application/grpc']] }), {})
    expect((await client.send(requestFor('/', { body: upload }), {})).status).toBe(408)
    call.push(' more')
    call.finish()
    expect(await (await answered).text()).toBe('some more')
  })

  test('RFC 9113 section 8.7: what a server refuses may be sent again', async () => {
    await using rig = await startHttp2(() => new Promise<never>(() => {}), { maxConcurrentStreams: 1 })
    const client = await rig.connect()
    // Before its settings are here, the client does not know better.
    const [first, second] = [client.send(requestFor('/'), {}), client.send(requestFor('/'), {})]
    first.catch(() => {})
    expect(await errorOf(second)).toMatchObject({ kind: 'upstream', phase: 'head', stale: true, unprocessed: true })
  })

  test('a server that breaks many answers off does not lose those that it completes', async () => {
    let complete = (_response: Response): void => {}
    await using rig = await startHttp2((request) => {
      if (request.url.endsWith('/whole')) return new Promise<Response>((resolve) => (complete = resolve))
      const body = pushBody()
      body.push('some')
      body.break({ kind: 'filter-failed', reason: 'broken' })
      return responseOf(200, '', emptyHead, body)
    })
    const client = await rig.connect({ resetBurst: 2, resetsPerSecond: 0 })
    const whole = client.send(requestFor('/whole'), {})
    for (let i = 0; i < 20; i++)
      await client
        .send(requestFor('/broken'), {})
        .then(async (it) => it.text())
        .catch(() => {})
    complete(createResponse(200, [], 'whole'))
    expect(await (await whole).text()).toBe('whole')
  })
})

describe('the end of a connection', () => {
  test('RFC 9113 section 6.8: a drained server finishes what runs, and takes nothing new', async () => {
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    await using rig = await startHttp2(async () => {
      await held
      return createResponse(200, [], 'ok')
    })
    const client = await rig.connect()
    const running = client.send(requestFor('/'), {})
    await until(() => client.capacity === 249)
    rig.server.drain()
    await until(() => client.closed)
    expect(await errorOf(client.send(requestFor('/'), {}))).toMatchObject({ stale: true, unprocessed: true })
    release()
    expect(await (await running).text()).toBe('ok')
    await until(() => rig.server.connections.size === 0)
  })

  test('a drained client finishes what runs, and closes; the server is told as soon as it says so', async () => {
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    await using rig = await startHttp2(async () => {
      await held
      return createResponse(200, [], 'ok')
    })
    const client = await rig.connect()
    const running = client.send(requestFor('/'), {})
    client.drain()
    await until(() => rig.goAways > 0)
    release()
    expect(await (await running).text()).toBe('ok')
    await until(() => rig.server.connections.size === 0)
    expect(rig.goAways).toBe(1)
  })

  test('who is left by us has not said that it goes', async () => {
    await using rig = await startHttp2(() => createResponse(200, [], 'ok'))
    const client = await rig.connect()
    expect((await client.send(requestFor('/'), {})).status).toBe(200)
    rig.server.drain()
    await until(() => client.closed && rig.server.connections.size === 0)
    expect(rig.goAways).toBe(0)
  })

  test('a connection that dies breaks its exchanges, on both ends', async () => {
    let aborted = 0
    await using rig = await startHttp2((_request, exchange) => {
      exchange!.onAbort(() => aborted++)
      return new Promise<never>(() => {})
    })
    const client = await rig.connect()
    const sent = [client.send(requestFor('/'), {}), client.send(requestFor('/'), {})].map(errorOf)
    await until(() => client.capacity === 248)
    client.destroy()
    for (const error of await Promise.all(sent)) expect(error).toMatchObject({ kind: 'upstream', cause: 'closed' })
    await until(() => aborted === 2 && rig.server.connections.size === 0)
  })

  test('an idle connection is closed in time', async () => {
    await using rig = await startHttp2(() => createResponse(200, [], 'ok'), { idleTimeoutMs: 50 })
    const client = await rig.connect()
    expect((await client.send(requestFor('/'), {})).status).toBe(200)
    await until(() => client.closed && rig.server.connections.size === 0)
  })

  test('a peer that stays silent is asked for a sign of life, and gives one', async () => {
    await using rig = await startHttp2(() => createResponse(200, [], 'ok'), {
      pingIntervalMs: 25,
      pingTimeoutMs: 2_000,
    })
    const client = await rig.connect()
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect((await client.send(requestFor('/'), {})).status).toBe(200)
  })

  test('a peer that gives none is given up', async () => {
    await using rig = await startHttp2(() => createResponse(200, [], 'ok'), { pingIntervalMs: 50, pingTimeoutMs: 50 })
    const socket = await rig.dial()
    let over = false
    socket.attach({ data: () => true, drain() {}, end: () => (over = true), close: () => (over = true) })
    await until(() => over && rig.server.connections.size === 0)
    expect(over).toBe(true)
  })

  test('a peer that goes on talking, and never answers, is given up too', async () => {
    await using rig = await startHttp2(() => createResponse(200, [], 'ok'), { pingIntervalMs: 50, pingTimeoutMs: 50 })
    const socket = await rig.dial()
    let over = false
    socket.attach({ data: () => true, drain() {}, end: () => (over = true), close: () => (over = true) })
    const settings = '\0\0\0\x04\0\0\0\0\0'
    socket.write(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${settings}`)
    const talk = setInterval(() => socket.write('\0\0\x08\x06\0\0\0\0\0question'), 5)
    await until(() => over && rig.server.connections.size === 0)
    clearInterval(talk)
    expect(rig.errors).toEqual([])
  })
})
