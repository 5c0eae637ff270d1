import { describe, expect, test } from 'vitest'
import { ProxyFailure, type ProxyError } from '../../src/errors.ts'
import { bodyOfText } from '../../src/http/body.ts'
import {
  asEngineRequest,
  authorityOf,
  engineRequest,
  genuineRequest,
  targetOf,
  withHeaders,
  withUrl,
} from '../../src/http/request.ts'
import type { Exchange } from '../../src/runtime.ts'
import { engine, engineRequestOf, kinds, platform, type RequestSpec } from './messages.ts'

const post: RequestSpec = {
  method: 'POST',
  url: 'http://a.example:8080/p%2Fq/../r?x=1&x=2',
  fields: [
    ['Content-Type', 'application/json'],
    ['X-A', '1'],
    ['x-a', '2'],
  ],
  body: '{"a":"\u00e9"}',
}

describe.each(kinds)('a request of $name kind', (kind) => {
  test('is a Request, and says so', () => {
    const request = kind.request(post)
    expect(request).toBeInstanceOf(Request)
    expect(Object.prototype.toString.call(request)).toBe('[object Request]')
  })

  test('has method, url and headers', () => {
    const request = kind.request(post)
    expect(request.method).toBe('POST')
    expect(request.url).toBe('http://a.example:8080/r?x=1&x=2')
    expect(request.headers.get('x-a')).toBe('1, 2')
    expect(request.signal.aborted).toBe(false)
  })

  test.each([
    ['text()', (request: Request) => request.text(), '{"a":"\u00e9"}'],
    ['json()', (request: Request) => request.json(), { a: '\u00e9' }],
    ['arrayBuffer()', async (request: Request) => (await request.arrayBuffer()).byteLength, 10],
    ['bytes()', async (request: Request) => [...(await request.bytes())].slice(0, 6), [123, 34, 97, 34, 58, 34]],
    ['blob()', async (request: Request) => (await request.blob()).type.split(';')[0], 'application/json'],
    ['body', async (request: Request) => readAll(request.body!), '{"a":"\u00e9"}'],
  ])('gives its body as %s, once', async (_, read, expected) => {
    const request = kind.request(post)
    expect(request.bodyUsed).toBe(false)
    expect(await read(request)).toEqual(expected)
    expect(request.bodyUsed).toBe(true)
    await expect(request.text()).rejects.toThrow(TypeError)
  })

  test('reads form data by its content type', async () => {
    const request = kind.request({
      method: 'POST',
      url: 'http://a.example/',
      fields: [['content-type', 'application/x-www-form-urlencoded']],
      body: 'a=1&b=%26',
    })
    expect([...(await request.formData())]).toEqual([
      ['a', '1'],
      ['b', '&'],
    ])
  })

  test('without a body has none, and reading it is no use of it', async () => {
    const request = kind.request({ url: 'http://a.example/' })
    expect(request.body).toBeNull()
    expect(await request.text()).toBe('')
    expect(request.bodyUsed).toBe(false)
  })

  test('can be cloned, and both have the body', async () => {
    const request = kind.request(post)
    const clone = request.clone()
    expect(clone).toBeInstanceOf(Request)
    expect([clone.url, clone.method, [...clone.headers]]).toEqual([request.url, request.method, [...request.headers]])
    expect(await Promise.all([request.text(), clone.text()])).toEqual(['{"a":"\u00e9"}', '{"a":"\u00e9"}'])
  })

  test('cannot be cloned when its body has been read', async () => {
    const request = kind.request(post)
    await request.text()
    expect(() => request.clone()).toThrow(TypeError)
  })

  test('withHeaders gives the same request with other headers', async () => {
    const request = withHeaders(kind.request(post), { removed: ['x-a'], added: [['X-B', '3']] })
    expect(request).toBeInstanceOf(Request)
    expect([request.method, request.url]).toEqual(['POST', 'http://a.example:8080/r?x=1&x=2'])
    expect([request.headers.get('x-a'), request.headers.get('x-b')]).toEqual([null, '3'])
    expect(await request.json()).toEqual({ a: '\u00e9' })
  })

  test('withUrl gives the same request for another target and authority', async () => {
    const request = withUrl(kind.request(post), { target: '/%2e/x?y', authority: 'B.example' })
    expect([targetOf(request), authorityOf(request)]).toEqual(['/%2e/x?y', 'B.example'])
    expect(request.url).toBe('http://b.example/x?y')
    expect(request.headers.get('x-a')).toBe('1, 2')
    expect(await request.text()).toBe('{"a":"\u00e9"}')
  })

  test('the platform makes a genuine request of it', async () => {
    const genuine = genuineRequest(withHeaders(kind.request(post), { removed: [], added: [['X-B', '3']] }))
    expect(new Request(genuine).headers.get('x-b')).toBe('3')
    expect(Object.getPrototypeOf(genuine)).toBe(Request.prototype)
  })
})

describe("an engine's request", () => {
  test('has what Fetch would lose: the target, the authority, a GET with a body', async () => {
    const request = engineRequestOf({ url: 'http://A.example:80/a/./%7e?', body: 'x' })
    expect([targetOf(request), authorityOf(request)]).toEqual(['/a/./%7e?', 'A.example:80'])
    expect([request.method, await request.text()]).toEqual(['GET', 'x'])
  })

  test('no member is left to the platform, whose own would look for private state', () => {
    const request = engineRequestOf(post) as unknown as Record<string, unknown>
    const foreign = Object.getOwnPropertyNames(Request.prototype).filter(
      (name) => !Object.hasOwn(request, name) && !Object.hasOwn(Object.getPrototypeOf(request) as object, name),
    )
    expect(foreign).toEqual([])
    for (const name of Object.getOwnPropertyNames(Request.prototype)) expect(() => request[name]).not.toThrow()
  })

  test('can be logged', () => {
    const request = engineRequestOf({ url: 'http://a.example/', fields: [['X-A', '1']] })
    const custom = Symbol.for('nodejs.util.inspect.custom')
    const inspect = (of: unknown): unknown => (of as Record<symbol, () => unknown>)[custom]!()
    expect(inspect(request)).toEqual({ method: 'GET', url: 'http://a.example/', headers: request.headers })
    expect(inspect(request.headers)).toEqual({ 'x-a': '1' })
    expect(inspect(engine.response({ status: 204 }))).toMatchObject({ status: 204 })
  })

  test.each(['cache', 'destination', 'integrity', 'mode', 'keepalive', 'referrerPolicy', 'duplex'] as const)(
    '%s is what a plain Request has',
    (name) => {
      const plain = platform.request({ url: 'http://a.example/' }) as unknown as Record<string, unknown>
      const own = engineRequestOf({ url: 'http://a.example/' }) as unknown as Record<string, unknown>
      expect(own[name]).toBeDefined()
      expect([own[name], undefined]).toContain(plain[name]) // not every platform has every member
    },
  )

  test.each([
    ['too many numbers', '1.2.3.4.5'],
    ['too many colons', '[:::]'],
    ['a number too high', '256.256.256.256'],
  ])('has a url, even for a Host that no URL may have: %s', (_, authority) => {
    const request = engineRequestOf({ url: `http://${authority}/x` })
    expect(request.url).toBe(`http://${authority}/x`)
  })

  test('the url of OPTIONS * stays within its host', () => {
    const request = withUrl(engineRequestOf({ method: 'OPTIONS', url: 'http://a.example/' }), { target: '*' })
    expect(request.url).toBe('http://a.example/*')
  })

  test('a method that Fetch forbids is made genuine where the platform lets it be', () => {
    const outcome = (make: () => Request): unknown => {
      try {
        return make().method
      } catch (thrown) {
        return thrown instanceof TypeError
      }
    }
    const url = 'http://a.example/'
    expect(outcome(() => genuineRequest(engineRequestOf({ method: 'TRACE', url })))).toBe(
      outcome(() => new Request(url, { method: 'TRACE' })),
    )
  })

  test('textStream() gives its text', async () => {
    const request = engineRequestOf(post) as unknown as { textStream(): ReadableStream<string>; bodyUsed: boolean }
    let text = ''
    for await (const part of request.textStream() as unknown as AsyncIterable<string>) text += part
    expect(text).toBe('{"a":"\u00e9"}')
    expect(() => request.textStream()).toThrow(TypeError)
  })

  test('is made genuine once', () => {
    const request = engineRequestOf(post)
    expect(genuineRequest(request)).toBe(genuineRequest(request))
  })

  test('its body counts as used once an engine has taken it', async () => {
    const request = engineRequestOf(post)
    expect(engineRequest(request)!.holder.take()?.length).toBe(10)
    expect(request.bodyUsed).toBe(true)
    await expect(request.text()).rejects.toThrow(TypeError)
    expect(() => request.clone()).toThrow(TypeError)
  })

  test('a body that was taken and not begun can be put back', async () => {
    const request = engineRequestOf(post)
    const { holder } = engineRequest(request)!
    holder.restore(holder.take()!)
    expect(request.bodyUsed).toBe(false)
    expect(await request.text()).toBe('{"a":"\u00e9"}')
  })

  test('a body that somebody has read cannot be sent as if it were whole', async () => {
    const request = engineRequestOf(post)
    await request.text()
    const failed: ProxyError[] = []
    engineRequest(request)!
      .holder.take()!
      .start({
        data: () => true,
        end: () => expect.unreachable(),
        fail: (error) => void failed.push(error),
      })
    await Promise.resolve()
    expect(failed).toMatchObject([{ kind: 'filter-failed' }])
  })

  test('nor can what is left of one that somebody has begun to read', async () => {
    const request = engineRequestOf(post)
    const reader = request.body!.getReader()
    await reader.read()
    reader.releaseLock()
    let failed: ProxyError | undefined
    engineRequest(request)!
      .holder.take()!
      .start({
        data: () => expect.unreachable(),
        end: () => expect.unreachable(),
        fail: (error) => void (failed = error),
      })
    await new Promise((resolve) => setTimeout(resolve))
    expect(failed).toMatchObject({ kind: 'filter-failed' })
  })

  test('a body that somebody has looked at can still be sent', async () => {
    const request = engineRequestOf(post)
    expect(request.body).not.toBeNull()
    const body = engineRequest(request)!.holder.take()!
    expect(body.length).toBe(10)
    const text = await new Promise((resolve, reject) => {
      let seen = ''
      body.start({
        data(bytes, start, end) {
          seen += new TextDecoder().decode(bytes.subarray(start, end))
          return true
        },
        end: () => resolve(seen),
        fail: reject,
      })
    })
    expect(text).toBe('{"a":"\u00e9"}')
  })
})

describe('the signal', () => {
  test('of an engine says that the client left, and why', () => {
    let leave: (error: ProxyError) => void = () => {}
    const exchange = { onAbort: (listener) => void (leave = listener) } as Partial<Exchange> as Exchange
    const request = engineRequestOf(post, exchange)
    const changed = withHeaders(request, { removed: ['a'], added: [] })
    expect(request.signal).toBe(request.signal)
    expect(request.signal.aborted).toBe(false)
    leave({ kind: 'downstream-gone' })
    expect(request.signal.aborted).toBe(true)
    expect(request.signal.reason).toBeInstanceOf(ProxyFailure)
    expect((request.signal.reason as ProxyFailure).error).toEqual({ kind: 'downstream-gone' })
    expect(changed.signal).toBeInstanceOf(AbortSignal)
  })

  test.each([
    ['withHeaders', (request: Request) => withHeaders(request, { removed: ['a'], added: [] })],
    ['withUrl', (request: Request) => withUrl(request, { target: '/x' })],
    ['both', (request: Request) => withUrl(withHeaders(request, { removed: [], added: [] }), { authority: 'b' })],
  ])("of the platform's request goes on through %s", (_, change) => {
    const controller = new AbortController()
    const changed = change(new Request('http://a.example/', { signal: controller.signal }))
    expect(changed.signal.aborted).toBe(false)
    controller.abort(new Error('gone'))
    expect(changed.signal.aborted).toBe(true)
    expect(genuineRequest(changed).signal.aborted).toBe(true)
  })
})

test('a request of the engine is its own engine request', () => {
  const request = engine.request(post)
  expect(asEngineRequest(request)).toBe(request)
  expect(engineRequest(request)).toBe(request)
  expect(engineRequest(platform.request(post))).toBeUndefined()
})

test("the platform's request keeps its declared length on its way into an engine", async () => {
  const request = platform.request({ ...post, fields: [['content-length', '10']] })
  const body = engineRequest(asEngineRequest(request))!.holder.take()!
  expect([10, undefined]).toContain(body.length) // some platforms keep Content-Length to themselves
  expect(bodyOfText('\u00e9').length).toBe(2)
})

async function readAll(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of stream as unknown as AsyncIterable<Uint8Array>)
    text += decoder.decode(chunk, { stream: true })
  return text
}
