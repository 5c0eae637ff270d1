import { describe, expect, test } from 'vitest'
import type * as door from '../../adapters/node/serve.ts'
import { trailersOf } from '../../src/http/trailers.ts'
import { createProxy, type Proxy } from '../../src/proxy/proxy.ts'
import { readHead, startRawBackend } from '../support/test-backend.ts'
import { configOf, toBackend } from '../support/proxy.ts'
import { runtime } from '../support/runtime.ts'

const isGenuine = (response: Response): boolean => Object.getPrototypeOf(response) === Response.prototype

async function askThrough(head: string, body: string, use: (proxy: Proxy) => Promise<void>): Promise<void> {
  await using backend = await startRawBackend(async (client) => {
    await readHead(client)
    client.write(`HTTP/1.1 ${head}\r\n\r\n${body}`)
  })
  const proxy = createProxy({ runtime, allowLoopbackBackends: true })
  proxy.apply(configOf(toBackend(backend.url)))
  await use(proxy)
  proxy.close()
}

const request = (): Request => new Request('http://a.example/x')

describe('a request without an exchange is answered with a platform Response', () => {
  test("a backend's", () =>
    askThrough('200 Fine\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 5', 'hello', async (proxy) => {
      const answer = await proxy.fetch(request())
      expect(isGenuine(answer)).toBe(true)
      expect([answer.status, answer.statusText, await answer.text()]).toEqual([200, 'Fine', 'hello'])
      expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
      expect(answer.headers.get('content-length')).toBe('5')
    }))

  test("without what was this hop's own business", () => {
    const head = '200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked'
    return askThrough(head, '2\r\nhi\r\n0\r\n\r\n', async (proxy) => {
      const answer = await proxy.fetch(request())
      expect([...answer.headers.keys()]).toEqual([])
      expect(await answer.text()).toBe('hi')
    })
  })

  test('with its trailers', () =>
    askThrough('200 OK\r\nTransfer-Encoding: chunked', '2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n', async (proxy) => {
      const answer = await proxy.fetch(request())
      expect(await answer.text()).toBe('hi')
      expect(trailersOf(answer)).toEqual([['X-Sum', '7']])
    }))

  test.each(['204 No Content', '304 Not Modified'])('%s', (head) =>
    askThrough(head, '', async (proxy) => {
      const answer = await proxy.fetch(request())
      expect([isGenuine(answer), answer.status, answer.body]).toEqual([true, Number(head.slice(0, 3)), null])
    }),
  )

  test('our own', async () => {
    const proxy = createProxy({ runtime })
    expect(isGenuine(await proxy.fetch(request()))).toBe(true)
    proxy.apply(configOf([{ hostnames: ['b.example'] }]))
    const answer = await proxy.fetch(request())
    expect([isGenuine(answer), answer.status]).toEqual([true, 404])
    expect(isGenuine(await proxy.fetch(new Request('ftp://a.example/')))).toBe(true)
  })
})

type Fetch = (request: Request) => Response | Promise<Response>

const { Bun, Deno } = globalThis as {
  Bun?: { serve(options: object): { port: number; stop(now: boolean): Promise<void> } }
  Deno?: { serve(options: object, handler: Fetch): { addr: { port: number }; shutdown(): Promise<void> } }
}

function serveFetch(handler: Fetch): { port: number; close(): Promise<void> } {
  const options = { port: 0, hostname: '127.0.0.1' }
  if (Bun) {
    const server = Bun.serve({ ...options, fetch: handler })
    return { port: server.port, close: () => server.stop(true) }
  }
  const server = Deno!.serve({ ...options, onListen() {} }, handler)
  return { port: server.addr.port, close: () => server.shutdown() }
}

test.runIf(Bun ?? Deno)("the runtime's own server takes what the proxy answers", () =>
  askThrough('200 OK\r\nContent-Length: 5', 'hello', async (proxy) => {
    const server = serveFetch((asked) => proxy.fetch(asked))
    expect(await (await fetch(`http://127.0.0.1:${server.port}/x`)).text()).toBe('hello')
    await server.close()
  }),
)

test("the runtime's own door brings the runtime along", async () => {
  const { createProxy: open } = (await import(`../../adapters/${runtime.name}/serve.ts`)) as typeof door
  const proxy = await open()
  proxy.apply(configOf([{ filters: [{ type: 'RequestRedirect', requestRedirect: { hostname: 'b.example' } }] }]))
  expect((await proxy.fetch(request())).headers.get('location')).toBe('http://b.example/x')
  proxy.close()
})
