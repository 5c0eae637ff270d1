import { expect, test } from 'vitest'
import { echo, readHead, startBackend, startRawBackend } from '../support/test-backend.ts'
import { startProxy, toBackend, type WireRule } from '../support/proxy.ts'
import { ask, connectRaw, requestText } from '../support/raw-client.ts'
import { runtime, slowDial } from '../support/runtime.ts'
import { until } from '../support/until.ts'

/** GEP-1742: both limits cover the same phases of a request with one attempt. */
const limits: readonly [name: string, timeouts: NonNullable<WireRule['timeouts']>, limit: string][] = [
  ['request', { request: '60ms' }, 'request'],
  ['backendRequest', { backend: '60ms' }, 'backendRequest'],
  ['the shorter of both', { request: '1h', backend: '60ms' }, 'backendRequest'],
]

test.each(limits)('%s: a backend that does not answer is given up with 504', async (_, timeouts, limit) => {
  await using backend = await startRawBackend(() => {})
  await using rig = await startProxy(toBackend(backend.url, { timeouts }))
  expect((await ask(rig.address, '/')).status).toBe(504)
  expect((await rig.recorded(1))[0]).toMatchObject({
    status: 504,
    flags: ['T'],
    error: { kind: 'timeout', limit, timeoutMs: 60 },
  })
  await until(() => backend.open === 0)
})

test.each(limits)('%s: an answer that stops is cut off, not ended', async (_, timeouts, limit) => {
  await using backend = await startRawBackend(async (peer) => {
    await readHead(peer)
    peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
  })
  await using rig = await startProxy(toBackend(backend.url, { timeouts }))
  await expect(ask(rig.address, '/')).rejects.toThrow('connection ended')
  expect((await rig.recorded(1))[0]).toMatchObject({ status: 200, flags: ['T'], error: { kind: 'timeout', limit } })
  await until(() => backend.open === 0)
})

test.each(limits)('%s: dialling what does not answer', async (_, timeouts, limit) => {
  const slow = slowDial()
  await using rig = await startProxy(toBackend('http://192.0.2.1:80', { timeouts }), { runtime: slow.runtime })
  expect((await ask(rig.address, '/')).status).toBe(504)
  expect((await rig.recorded(1))[0]?.error).toMatchObject({ kind: 'timeout', limit })
})

test.each(limits)('%s: a name that DNS does not answer for', async (_, timeouts, limit) => {
  const silent = { ...runtime, resolver: { ...runtime.resolver, lookup: () => new Promise<never>(() => {}) } }
  await using rig = await startProxy(toBackend('http://svc.example', { timeouts }), { runtime: silent })
  expect((await ask(rig.address, '/')).status).toBe(504)
  expect((await rig.recorded(1))[0]?.error).toMatchObject({ kind: 'timeout', limit })
})

test.each(limits)('%s: waiting for a connection', async (_, timeouts, limit) => {
  await using backend = await startRawBackend(() => {})
  const more = { pool: { maxConnections: 1 } }
  await using rig = await startProxy(
    [
      { matches: [{ path: { type: 'Exact', value: '/stuck' } }], ...toBackend(backend.url)[0] },
      { timeouts, ...toBackend(backend.url)[0] },
    ],
    more,
  )
  const stuck = await connectRaw(rig.address)
  stuck.write(requestText('/stuck'))
  await until(() => backend.open === 1)
  expect((await ask(rig.address, '/')).status).toBe(504)
  expect(rig.records[0]?.error).toMatchObject({ kind: 'timeout', limit })
  stuck.destroy()
})

test('an upload that the client stretches is within the limits too', async () => {
  await using backend = await startRawBackend(() => {})
  await using rig = await startProxy(toBackend(backend.url, { timeouts: { backend: '60ms' } }))
  const client = await connectRaw(rig.address)
  client.write('POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\nslow')
  expect((await client.answer()).status).toBe(504)
  client.destroy()
})

test('dialling what does not answer ends by itself where the route sets no limit', async () => {
  const slow = slowDial()
  await using rig = await startProxy(toBackend('http://192.0.2.1:80'), {
    runtime: slow.runtime,
    pool: { connectTimeoutMs: 30 },
  })
  expect((await ask(rig.address, '/')).status).toBe(503)
  expect((await rig.recorded(1))[0]?.error).toMatchObject({ kind: 'upstream', phase: 'connect', cause: 'timeout' })
})

test('0 switches a limit off', async () => {
  await using backend = await startBackend(async () => {
    await new Promise((resolve) => setTimeout(resolve, 120))
    return new Response('late')
  })
  await using rig = await startProxy(toBackend(backend.url, { timeouts: { request: '0s', backend: '0s' } }))
  expect((await ask(rig.address, '/')).text).toBe('late')
})

test('the limit of one exchange is not that of the next on the same connection', async () => {
  await using backend = await startRawBackend(async (peer) => {
    for (;;) {
      const head = await readHead(peer)
      if (head.startsWith('GET /slow')) await new Promise((resolve) => setTimeout(resolve, 200))
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    }
  })
  await using rig = await startProxy([
    {
      matches: [{ path: { type: 'Exact', value: '/fast' } }],
      timeouts: { request: '100ms', backend: '100ms' },
      ...toBackend(backend.url)[0],
    },
    ...toBackend(backend.url),
  ])
  for (let i = 0; i < 3; i++) {
    expect((await ask(rig.address, '/fast')).status).toBe(200)
    expect((await ask(rig.address, '/slow')).status).toBe(200)
  }
  expect(backend.accepted).toBe(1)
  expect(rig.records.every(({ error }) => error === undefined)).toBe(true)
})

test('request covers both attempts, backendRequest each of them', async () => {
  // The first connection is kept, and then dead; the second does not answer.
  await using backend = await startRawBackend(async (peer, number) => {
    await readHead(peer)
    if (number > 1) return
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    await readHead(peer)
    await new Promise((resolve) => setTimeout(resolve, 60))
    peer.destroy()
  })
  await using rig = await startProxy(toBackend(backend.url, { timeouts: { request: '250ms', backend: '150ms' } }))
  expect((await ask(rig.address, '/')).status).toBe(200)
  expect((await ask(rig.address, '/')).status).toBe(504)
  expect((await rig.recorded(2))[1]).toMatchObject({
    attempts: 2,
    flags: ['R', 'T'],
    error: { limit: 'backendRequest' },
  })
})

test('after a switch of protocols the limits have been kept: they are about the answer, and the 101 was it', async () => {
  await using backend = await startRawBackend(async (peer) => {
    await readHead(peer)
    peer.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    for (;;) peer.write(await peer.bytes(1))
  })
  await using rig = await startProxy(toBackend(backend.url, { timeouts: { request: '80ms', backend: '80ms' } }))
  const client = await connectRaw(rig.address)
  client.write(
    requestText('/', {
      headers: [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'echo'],
      ],
    }),
  )
  expect((await client.answer()).status).toBe(101)
  await new Promise((resolve) => setTimeout(resolve, 200))
  client.write('x')
  expect(await client.bytes(1)).toEqual(new Uint8Array([120]))
  client.destroy()
})

test('an answer in time is one whatever the limits', async () => {
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url, { timeouts: { request: '10s', backend: '5s' } }))
  expect((await ask(rig.address, '/', { method: 'POST', body: 'x' })).status).toBe(200)
})
