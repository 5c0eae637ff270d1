import { expect, test } from 'vitest'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import { createHttp1Server } from '../../src/http1/server.ts'
import { createProxy } from '../../src/proxy/proxy.ts'
import { createTimers } from '../../src/timers.ts'
import { echo, readHead, startBackend, startRawBackend } from '../support/test-backend.ts'
import { startProxy, toBackend } from '../support/proxy.ts'
import { ask, connectRaw, requestText } from '../support/raw-client.ts'
import { runtime } from '../support/runtime.ts'

test('a record says what was asked, which rule and backend answered, and how much', async () => {
  await using backend = await startBackend(() => new Response('0123456789', { status: 201 }))
  const route = { kind: 'HTTPRoute', namespace: 'shop', name: 'cart', rule: 1 }
  await using rig = await startProxy([
    { hostnames: ['other.example'] },
    {
      name: 'checkout',
      route,
      hostnames: ['*.example'],
      backends: [{ url: backend.url, weight: 1, name: 'shop/cart:80' }],
    },
  ])
  await ask(rig.address, '/a/../p%2Fq?secret=1', {
    method: 'POST',
    host: 'A.example:8080',
    body: 'hello',
    headers: [['User-Agent', 'test/1']],
  })
  const [record] = await rig.recorded(1)
  expect(record).toMatchObject({
    method: 'POST',
    host: 'A.example:8080',
    path: '/a/../p%2Fq',
    query: 'secret=1',
    httpVersion: '1.1',
    client: '127.0.0.1',
    status: 201,
    bytesReceived: 5,
    bytesSent: 10,
    hostname: '*.example',
    rule: { route, name: 'checkout' },
    ruleIndex: 1,
    backend: 'shop/cart:80',
    endpoint: `127.0.0.1:${backend.port}`,
    attempts: 1,
    flags: [],
    upgradeAsked: false,
    upgraded: false,
  })
  expect(record!.error).toBeUndefined()
  expect(record!.head.get('user-agent')).toBe('test/1')
  expect(record!.upstreamMs).toBeGreaterThanOrEqual(0)
  expect(record!.durationMs).toBeGreaterThanOrEqual(record!.upstreamMs!)
})

test.each([
  ['no route', [{ hostnames: ['other.example'] }], { status: 404, flags: ['N'], attempts: 0, ruleIndex: undefined }],
  [
    'a redirect',
    [{ filters: [{ type: 'RequestRedirect', requestRedirect: {} }] }],
    { status: 302, flags: [], attempts: 0, ruleIndex: 0 },
  ],
  ['an unservable rule', [{ unavailableStatus: 500 }], { status: 500, flags: ['F'], attempts: 0, ruleIndex: 0 }],
  [
    'an unready backend',
    [{ backends: [{ url: 'http://b', weight: 1, name: 'ns/b:80', endpoints: [] }] }],
    { status: 503, flags: ['F'], backend: 'ns/b:80', attempts: 0 },
  ],
])('%s leaves a record too', async (_, rules, expected) => {
  await using rig = await startProxy(rules)
  await ask(rig.address, '/')
  expect(await rig.recorded(1)).toMatchObject([expected])
})

test('a request before the first config leaves a record', async () => {
  const seen: number[] = []
  const proxy = createProxy({ runtime, onRecord: ({ status }) => seen.push(status) })
  const server = createHttp1Server({
    handler: proxy.fetch,
    limits: defaultHttp1Limits,
    timers: createTimers(runtime.clock),
    scheme: 'http',
  })
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => void server.accept(socket))
  const answer = await ask(listener.address, '/')
  expect([answer.status, answer.header('retry-after')]).toEqual([503, '1'])
  await expect.poll(() => seen).toEqual([503])
  server.destroy()
  await listener.close()
})

test('a backend that breaks inside its body: the client sees a truncated message, the record says whose fault it was', async () => {
  await using backend = await startRawBackend(async (peer) => {
    await readHead(peer)
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf')
    peer.finish()
  })
  await using rig = await startProxy(toBackend(backend.url))
  await expect(ask(rig.address, '/')).rejects.toThrow('connection ended')
  expect(await rig.recorded(1)).toMatchObject([
    { status: 200, flags: ['U'], bytesSent: 4, error: { kind: 'upstream', phase: 'body', cause: 'closed' } },
  ])
})

test('bytes are those of the body, whatever its framing', async () => {
  await using backend = await startRawBackend(async (peer) => {
    await readHead(peer)
    peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n')
  })
  await using rig = await startProxy(toBackend(backend.url))
  const answer = await ask(rig.address, '/')
  expect([answer.text, answer.trailers]).toEqual(['hello', [['X-T', '1']]])
  expect(await rig.recorded(1)).toMatchObject([{ bytesSent: 5, bytesReceived: 0 }])
})

test('requests of one connection leave one record each, in order', async () => {
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url))
  const client = await connectRaw(rig.address)
  for (let i = 0; i < 10; i++) client.write(requestText(`/${i}`))
  for (let i = 0; i < 10; i++) expect((await client.answer()).status).toBe(200)
  client.destroy()
  const records = await rig.recorded(10)
  expect(records.map(({ path }) => path)).toEqual(Array.from({ length: 10 }, (_, i) => `/${i}`))
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(rig.records.length).toBe(10)
  expect(rig.proxy.stats.inFlight).toBe(0)
})

test('a record that its reader chokes on costs nobody an answer', async () => {
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url), {
    onRecord() {
      throw new Error('disk full')
    },
  })
  for (let i = 0; i < 3; i++) expect((await ask(rig.address, '/')).status).toBe(200)
  expect(rig.proxy.stats.inFlight).toBe(0)
})
