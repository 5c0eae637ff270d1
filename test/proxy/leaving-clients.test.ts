import { expect, test } from 'vitest'
import { createProxy } from '../../src/proxy/proxy.ts'
import { echo, readHead, startBackend, startRawBackend } from '../support/test-backend.ts'
import { configOf, startProxy, toBackend } from '../support/proxy.ts'
import { ask, connectRaw, requestText } from '../support/raw-client.ts'
import { runtime, slowDial } from '../support/runtime.ts'
import { until } from '../support/until.ts'

/** On loopback a client that leaves sends a FIN, which half-closing clients send as well. */
const limits = { halfClosedTimeoutMs: 200 }

test('waiting for a connection: its place in the queue is free again', async () => {
  let finish = (): void => {}
  await using backend = await startRawBackend(async (peer) => {
    for (;;) {
      const head = await readHead(peer)
      if (head.includes('/first')) await new Promise<void>((resolve) => (finish = resolve))
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    }
  })
  await using rig = await startProxy(toBackend(backend.url), { limits, pool: { maxConnections: 1, maxWaiting: 1 } })
  const first = ask(rig.address, '/first')
  await until(() => backend.open === 1)
  for (let i = 1; i <= 3; i++) {
    const leaving = await connectRaw(rig.address)
    leaving.write(requestText('/leaving'))
    await until(() => rig.proxy.stats.inFlight === 2)
    leaving.destroy()
    await until(() => rig.proxy.stats.inFlight === 1)
  }
  const second = ask(rig.address, '/second')
  await until(() => rig.proxy.stats.inFlight === 2)
  finish()
  expect([(await first).status, (await second).status]).toEqual([200, 200])
  expect(backend.accepted).toBe(1)
  expect(rig.records.map(({ path, flags }) => [path, ...flags])).toEqual([
    ['/leaving', 'C'],
    ['/leaving', 'C'],
    ['/leaving', 'C'],
    ['/first'],
    ['/second'],
  ])
})

test('waiting for DNS: nothing is dialled', async () => {
  let answer = (): void => {}
  await using backend = await startBackend(echo())
  const lookup = async (): Promise<{ addresses: { address: string; family: 4 }[] }> => {
    await new Promise<void>((resolve) => (answer = resolve))
    return { addresses: [{ address: '127.0.0.1', family: 4 }] }
  }
  await using rig = await startProxy(toBackend(`http://svc.example:${backend.port}`), {
    limits,
    runtime: { ...runtime, resolver: { ...runtime.resolver, lookup } },
  })
  const leaving = await connectRaw(rig.address)
  leaving.write(requestText('/'))
  await until(() => rig.proxy.stats.inFlight === 1)
  leaving.destroy()
  await rig.recorded(1)
  answer()
  expect((await ask(rig.address, '/next')).status).toBe(200)
  expect(backend.asked).toEqual(['GET /next'])
})

test('while dialling: the connection is there for the next', async () => {
  const slow = slowDial()
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url), { limits, runtime: slow.runtime })
  const leaving = await connectRaw(rig.address)
  leaving.write(requestText('/leaving'))
  await until(() => slow.waiting === 1)
  leaving.destroy()
  await rig.recorded(1)
  await slow.letThrough()
  await until(() => backend.open === 1)
  expect((await ask(rig.address, '/next')).status).toBe(200)
  expect(backend.asked).toEqual(['GET /next'])
  expect(backend.accepted).toBe(1)
})

test.each([
  ['before the answer', ''],
  ['inside the answer', 'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf'],
])('%s: the backend is told by a closed connection', async (_, half) => {
  await using backend = await startRawBackend(async (peer) => {
    await readHead(peer)
    peer.write(half)
  })
  await using rig = await startProxy(toBackend(backend.url), { limits })
  const leaving = await connectRaw(rig.address)
  leaving.write(requestText('/'))
  await until(() => backend.open === 1)
  if (half !== '') await leaving.bytes(20)
  leaving.destroy()
  await until(() => backend.open === 0)
  expect((await rig.recorded(1))[0]).toMatchObject({ flags: ['C'], status: half === '' ? 0 : 200 })
})

test('inside the request: the backend never gets a whole one', async () => {
  let got = ''
  await using backend = await startRawBackend(async (peer) => {
    for (;;) got += String.fromCharCode(...(await peer.bytes(1)))
  })
  await using rig = await startProxy(toBackend(backend.url))
  const leaving = await connectRaw(rig.address)
  leaving.write('POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n')
  await until(() => got.includes('half'))
  leaving.destroy()
  await until(() => backend.open === 0)
  expect(got).not.toContain('0\r\n\r\n')
})

test('a client that leaves after its answer does not break the exchange that has its connection now', async () => {
  let finish = (): void => {}
  await using backend = await startRawBackend(async (peer) => {
    for (;;) {
      const head = await readHead(peer)
      if (head.includes('/second')) await new Promise<void>((resolve) => (finish = resolve))
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    }
  })
  await using rig = await startProxy(toBackend(backend.url))
  const first = await connectRaw(rig.address)
  first.write(requestText('/first'))
  expect((await first.answer()).status).toBe(200)
  const second = ask(rig.address, '/second')
  await until(() => rig.proxy.stats.inFlight === 1)
  first.destroy()
  await new Promise((resolve) => setTimeout(resolve, 20))
  finish()
  expect((await second).text).toBe('ok')
  expect(backend.accepted).toBe(1)
})

test('an abort signal does for a plain Request what leaving does for a client', async () => {
  await using backend = await startRawBackend(() => {})
  const proxy = createProxy({ runtime, allowLoopbackBackends: true })
  proxy.apply(configOf(toBackend(backend.url)))
  const controller = new AbortController()
  const answer = proxy.fetch(new Request('http://a.example/', { signal: controller.signal }))
  await until(() => backend.open === 1)
  controller.abort()
  await until(() => backend.open === 0)
  expect((await answer).status).toBe(499)
  proxy.close()
})

test('an abort signal that fires after its answer does not break the exchange that has its connection now', async () => {
  let finish = (): void => {}
  await using backend = await startRawBackend(async (peer) => {
    for (;;) {
      const head = await readHead(peer)
      if (head.includes('/second')) await new Promise<void>((resolve) => (finish = resolve))
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    }
  })
  const proxy = createProxy({ runtime, allowLoopbackBackends: true })
  proxy.apply(configOf(toBackend(backend.url)))
  const controller = new AbortController()
  const first = await proxy.fetch(new Request('http://a.example/first', { signal: controller.signal }))
  expect(await first.text()).toBe('ok')
  let waiting = false
  const second = Promise.resolve(proxy.fetch(new Request('http://a.example/second'))).finally(() => (waiting = false))
  waiting = true
  await new Promise((resolve) => setTimeout(resolve, 20))
  controller.abort()
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(waiting).toBe(true)
  finish()
  expect(await (await second).text()).toBe('ok')
  expect(backend.accepted).toBe(1)
  proxy.close()
})

test('nothing is left behind by many that leave at any moment', async () => {
  await using backend = await startBackend(async () => {
    await new Promise((resolve) => setTimeout(resolve, 3))
    return new Response('x'.repeat(50_000))
  })
  await using rig = await startProxy(toBackend(backend.url), { pool: { maxConnections: 4, maxWaiting: 500 } })
  await Promise.all(
    Array.from({ length: 150 }, async (_, i) => {
      const client = await connectRaw(rig.address)
      client.write(requestText('/'))
      await new Promise((resolve) => setTimeout(resolve, i % 12))
      client.destroy()
    }),
  )
  await rig.recorded(150)
  expect(rig.proxy.stats.inFlight).toBe(0)
  expect(rig.records.length).toBe(150)
  const after = await Promise.all(Array.from({ length: 20 }, () => ask(rig.address, '/')))
  expect(new Set(after.map(({ status, bytes }) => `${status} ${bytes.length}`))).toEqual(new Set(['200 50000']))
  expect(backend.open).toBeLessThanOrEqual(4)
})
