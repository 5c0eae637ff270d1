import { expect, test } from 'vitest'
import { echo, readHead, startBackend, startRawBackend, closedAddress } from '../support/test-backend.ts'
import { createManualTimers } from '../tunnel/manual-timers.ts'
import { startProxy, toBackend } from '../support/proxy.ts'
import { ask, connectRaw, requestText, type RawClient } from '../support/raw-client.ts'
import { runtime, slowDial } from '../support/runtime.ts'
import { until } from '../support/until.ts'

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

/** Answers each request on a connection, and says on which connection it was. */
async function serveForEver(peer: RawClient, number: number): Promise<void> {
  for (;;) {
    await readHead(peer)
    peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${String(number).length}\r\n\r\n${number}`)
  }
}

test('one after the other, requests share one connection', async () => {
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url))
  for (let i = 0; i < 5; i++) expect((await ask(rig.address, '/')).status).toBe(200)
  expect(backend.accepted).toBe(1)
})

test('the connection used last is used next', async () => {
  const may: (() => void)[] = []
  await using backend = await startRawBackend(async (peer, number) => {
    for (let i = 0; ; i++) {
      await readHead(peer)
      if (i === 0) await new Promise<void>((resolve) => (may[number] = resolve))
      peer.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${number}`)
    }
  })
  await using rig = await startProxy(toBackend(backend.url))
  const both = [ask(rig.address, '/'), ask(rig.address, '/')]
  await until(() => may[1] !== undefined && may[2] !== undefined)
  may[2]!()
  await Promise.race(both)
  may[1]!()
  await Promise.all(both)
  for (let i = 0; i < 3; i++) expect((await ask(rig.address, '/')).text).toBe('1')
})

test('a pool has as many connections as it may, and the rest waits its turn', async () => {
  await using backend = await startRawBackend(serveForEver)
  await using rig = await startProxy(toBackend(backend.url), { pool: { maxConnections: 3 } })
  const answers = await Promise.all(Array.from({ length: 40 }, () => ask(rig.address, '/')))
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
  expect(backend.accepted).toBeLessThanOrEqual(3)
})

test('a full queue is answered 503 at once', async () => {
  await using backend = await startRawBackend(() => {}) // never answers
  await using rig = await startProxy(toBackend(backend.url), { pool: { maxConnections: 1, maxWaiting: 1 } })
  const clients = await Promise.all([connectRaw(rig.address), connectRaw(rig.address)])
  clients[0].write(requestText('/'))
  await until(() => backend.open === 1)
  clients[1].write(requestText('/'))
  await until(() => rig.proxy.stats.inFlight === 2)
  expect((await ask(rig.address, '/')).status).toBe(503)
  expect(rig.records[0]?.error).toMatchObject({ kind: 'upstream', phase: 'pool', cause: 'overloaded' })
  for (const client of clients) client.destroy()
})

test('those who are being dialled for do not count as the queue', async () => {
  const slow = slowDial()
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url), {
    runtime: slow.runtime,
    pool: { maxConnections: 2, maxWaiting: 1 },
  })
  const answers = [1, 2, 3].map(() => ask(rig.address, '/'))
  await until(() => rig.proxy.stats.inFlight === 3 && slow.waiting === 2)
  await slow.letThrough()
  await slow.letThrough()
  expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200])
})

test('nobody waits for a connection for ever', async () => {
  const timers = createManualTimers()
  await using backend = await startRawBackend(() => {})
  await using rig = await startProxy(toBackend(backend.url), {
    timers,
    pool: { maxConnections: 1, waitTimeoutMs: 10_000 },
  })
  const first = await connectRaw(rig.address)
  first.write(requestText('/'))
  await until(() => backend.open === 1)
  const second = ask(rig.address, '/')
  await until(() => rig.proxy.stats.inFlight === 2)
  timers.advance(10_050)
  expect((await second).status).toBe(503)
  first.destroy()
})

test('when a dial fails, the next in the queue has another one', async () => {
  const slow = slowDial()
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url), { runtime: slow.runtime, pool: { maxConnections: 1 } })
  const first = ask(rig.address, '/')
  await until(() => slow.waiting === 1)
  const second = ask(rig.address, '/')
  await until(() => rig.proxy.stats.inFlight === 2)
  slow.fail({ code: 'refused', message: 'refused' })
  expect((await first).status).toBe(503)
  await until(() => slow.waiting === 1)
  await slow.letThrough()
  expect((await second).status).toBe(200)
})

test('what has been idle for the idle timeout has been closed, what is used stays', async () => {
  const timers = createManualTimers()
  await using backend = await startRawBackend(serveForEver)
  await using rig = await startProxy(toBackend(backend.url), { timers, pool: { idleTimeoutMs: 60_000 } })
  await Promise.all(Array.from({ length: 5 }, () => ask(rig.address, '/')))
  const opened = backend.accepted
  expect(opened).toBeGreaterThan(1)
  expect(backend.open).toBe(opened)
  for (let i = 0; i < 6; i++) {
    timers.advance(10_000)
    await ask(rig.address, '/')
  }
  await until(() => backend.open === 1)
  expect(backend.accepted).toBe(opened)
  timers.advance(60_100)
  await until(() => backend.open === 0)
  expect((await ask(rig.address, '/')).status).toBe(200)
})

test.each(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])(
  'a %s on a kept connection that was dead already is sent again, once, on a new one',
  async (method) => {
    await using backend = await startRawBackend(async (peer, number) => {
      await readHead(peer)
      peer.write(ok)
      if (number > 1) return
      await readHead(peer)
      peer.destroy() // as if the FIN had been under way when the request was written
    })
    await using rig = await startProxy(toBackend(backend.url))
    expect((await ask(rig.address, '/')).status).toBe(200)
    expect((await ask(rig.address, '/', { method })).status).toBe(200)
    expect(backend.accepted).toBe(2)
    expect((await rig.recorded(2))[1]).toMatchObject({ attempts: 2, flags: ['R'], status: 200 })
  },
)

test.each([
  ['a POST', 'POST', undefined],
  ['a POST with a body', 'POST', 'body'],
  ['a PATCH', 'PATCH', 'body'],
  ['a PUT whose body has been sent', 'PUT', 'body'],
])('%s on a kept connection that was dead already is not sent again', async (_, method, body) => {
  await using backend = await startRawBackend(async (peer) => {
    await readHead(peer)
    peer.write(ok)
    await readHead(peer)
    peer.destroy()
  })
  await using rig = await startProxy(toBackend(backend.url))
  expect((await ask(rig.address, '/')).status).toBe(200)
  expect((await ask(rig.address, '/', { method, ...(body === undefined ? {} : { body }) })).status).toBe(503)
  expect(backend.accepted).toBe(1)
  expect((await rig.recorded(2))[1]).toMatchObject({ attempts: 1, flags: ['U'], status: 503 })
})

test('a backend that always leaves is tried twice and no more', async () => {
  await using backend = await startRawBackend(async (peer, number) => {
    await readHead(peer)
    if (number === 1) {
      peer.write(ok)
      await readHead(peer)
    }
    peer.destroy()
  })
  await using rig = await startProxy(toBackend(backend.url))
  expect((await ask(rig.address, '/')).status).toBe(200)
  expect((await ask(rig.address, '/')).status).toBe(503)
  expect(backend.accepted).toBe(2)
})

test('a GET on a fresh connection that breaks is not sent again: the backend may have acted', async () => {
  await using backend = await startRawBackend(async (peer) => {
    await readHead(peer)
    peer.destroy()
  })
  await using rig = await startProxy(toBackend(backend.url))
  expect((await ask(rig.address, '/')).status).toBe(503)
  expect(backend.accepted).toBe(1)
})

test('a connection that a backend closes while it is idle is used by nobody', async () => {
  await using backend = await startRawBackend(async (peer) => {
    await readHead(peer)
    peer.write(ok)
    peer.finish()
  })
  await using rig = await startProxy(toBackend(backend.url))
  for (let i = 1; i <= 3; i++) {
    expect((await ask(rig.address, '/', { method: 'POST', body: 'x' })).status).toBe(200)
    await until(() => backend.open === 0)
  }
  expect(backend.accepted).toBe(3)
})

test('a connection on which a backend speaks unasked is used by nobody', async () => {
  await using backend = await startRawBackend(async (peer) => {
    await readHead(peer)
    peer.write(`${ok}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged`)
    await peer.ended
  })
  await using rig = await startProxy(toBackend(backend.url))
  for (let i = 1; i <= 3; i++) expect((await ask(rig.address, '/')).text).toBe('ok')
})

test.each([
  ['leaves at once', (peer: RawClient): void => peer.destroy()],
  ['speaks first', (peer: RawClient): void => peer.write('220 mail.example ESMTP\r\n\r\n')],
])('a backend that accepts and %s: an error for each request, and nothing is lost count of', async (_, serve) => {
  await using backend = await startRawBackend(serve)
  await using rig = await startProxy(toBackend(backend.url), { pool: { maxConnections: 1, maxWaiting: 1 } })
  for (let i = 0; i < 4; i++) expect([502, 503]).toContain((await ask(rig.address, '/')).status)
})

test('a connection that is dead before anybody has used it is no connection', async () => {
  await using backend = await startRawBackend((peer) => peer.destroy())
  const late: typeof runtime = {
    ...runtime,
    async connect(to, options) {
      const socket = await runtime.connect(to, options)
      await until(() => backend.accepted > 0)
      await new Promise((resolve) => setTimeout(resolve, 20)) // its FIN is here
      return socket
    },
  }
  await using rig = await startProxy(toBackend(backend.url), { runtime: late, pool: { maxConnections: 1 } })
  for (let i = 0; i < 3; i++) expect((await ask(rig.address, '/')).status).toBe(503)
})

test('an endpoint that cannot be reached: the other one is tried', async () => {
  const dead = await closedAddress()
  await using backend = await startBackend(echo())
  const endpoints = [dead, backend.address].map(({ host, port }) => ({ address: host, port }))
  const draws = [0, 0, 0, 0]
  await using rig = await startProxy([{ backends: [{ url: 'http://svc.example', weight: 1, endpoints }] }], {
    random: () => draws.shift() ?? 0,
  })
  const body = 'a body is unspent when nobody was reached'
  expect((await ask(rig.address, '/', { method: 'POST', body })).status).toBe(200)
  expect((await rig.recorded(1))[0]).toMatchObject({ attempts: 2, endpoint: `127.0.0.1:${backend.port}` })
  // And is passed by for a while.
  expect((await ask(rig.address, '/')).status).toBe(200)
  expect((await rig.recorded(2))[1]).toMatchObject({ attempts: 1 })
})

test('two endpoints that cannot be reached: 503 after one try each', async () => {
  const endpoints = [await closedAddress(), await closedAddress()].map(({ host, port }) => ({ address: host, port }))
  await using rig = await startProxy([{ backends: [{ url: 'http://svc.example', weight: 1, endpoints }] }])
  expect((await ask(rig.address, '/')).status).toBe(503)
  expect((await rig.recorded(1))[0]?.attempts).toBe(2)
})

test('of two endpoints the less busy one gets the request', async () => {
  await using one = await startRawBackend(() => {})
  await using other = await startBackend(echo('other'))
  const endpoints = [one, other].map(({ address, port }) => ({ address: address.host, port }))
  await using rig = await startProxy([{ backends: [{ url: 'http://svc.example', weight: 1, endpoints }] }], {
    random: () => 0,
  })
  const stuck = await connectRaw(rig.address)
  stuck.write(requestText('/'))
  await until(() => one.open === 1)
  for (let i = 0; i < 3; i++) expect((await ask(rig.address, '/')).header('x-backend')).toBe('other')
  stuck.destroy()
})

test('a config that does not name an endpoint any more closes its idle connections at once, busy ones after their answer', async () => {
  let finish = (): void => {}
  await using old = await startRawBackend(async (peer, number) => {
    await readHead(peer)
    if (number === 1) await new Promise<void>((resolve) => (finish = resolve))
    peer.write(ok)
  })
  await using next = await startBackend(echo('next'))
  await using rig = await startProxy(toBackend(old.url))
  const slow = ask(rig.address, '/')
  await until(() => old.open === 1)
  expect((await ask(rig.address, '/')).status).toBe(200)
  expect(old.open).toBe(2)
  rig.apply(toBackend(next.url))
  await until(() => old.open === 1)
  expect((await ask(rig.address, '/')).header('x-backend')).toBe('next')
  finish()
  expect((await slow).text).toBe('ok')
  await until(() => old.open === 0)
})

test('a config that still names an endpoint keeps its connections', async () => {
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url))
  for (let i = 0; i < 5; i++) {
    await ask(rig.address, '/')
    rig.apply([{ name: `config ${i}`, ...toBackend(`${backend.url}/base`)[0] }])
  }
  expect(backend.accepted).toBe(1)
})

test('rules that name the same endpoint share its connections; other TLS options do not', async () => {
  await using backend = await startBackend(echo())
  await using rig = await startProxy([
    { matches: [{ path: { type: 'Exact', value: '/a' } }], backends: [{ url: backend.url, weight: 1, name: 'a' }] },
    { matches: [{ path: { type: 'Exact', value: '/b' } }], backends: [{ url: backend.url, weight: 1, name: 'b' }] },
    {
      matches: [{ path: { type: 'Exact', value: '/tls' } }],
      backends: [{ url: backend.url, weight: 1, tls: { serverName: 'x.example' } }],
    },
  ])
  for (const path of ['/a', '/b', '/a']) expect((await ask(rig.address, path)).status).toBe(200)
  expect(backend.accepted).toBe(1)
  expect((await ask(rig.address, '/tls')).status).toBe(502)
  expect(backend.accepted).toBe(2)
})
