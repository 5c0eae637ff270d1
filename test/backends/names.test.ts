import { expect, test } from 'vitest'
import { createNames } from '../../src/backends/names.ts'
import type { Resolution, Resolver, SocketError } from '../../src/runtime.ts'
import { echo, startBackend } from '../support/test-backend.ts'
import { startProxy, toBackend } from '../support/proxy.ts'
import { ask } from '../support/raw-client.ts'
import { runtime } from '../support/runtime.ts'
import { until } from '../support/until.ts'
import { createManualTimers } from '../tunnel/manual-timers.ts'

const notFound: SocketError = { code: 'not-found', message: 'no such name' }

interface FakeDns {
  readonly resolver: Resolver
  readonly asked: string[]
  /** Addresses by name; a name without any cannot be resolved. */
  readonly zone: Map<string, readonly string[]>
  ttlMs: number | undefined
}

function fakeDns(zone: Record<string, readonly string[]>, ttlMs?: number): FakeDns {
  const dns: FakeDns = {
    asked: [],
    zone: new Map(Object.entries(zone)),
    ttlMs,
    resolver: {
      ...runtime.resolver,
      async lookup(hostname): Promise<Resolution> {
        dns.asked.push(hostname)
        const found = dns.zone.get(hostname)
        // oxlint-disable-next-line typescript/only-throw-error -- what a Resolver rejects with
        if (!found) throw notFound
        const addresses = found.map((address) => ({ address, family: 4 as const }))
        return dns.ttlMs === undefined ? { addresses } : { addresses, ttlMs: dns.ttlMs }
      },
    },
  }
  return dns
}

/** Lets what is under way settle. */
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0))

function setup(zone: Record<string, readonly string[]>, ttlMs?: number) {
  const dns = fakeDns(zone, ttlMs)
  const clock = { nowMs: 0 }
  return { dns, clock, names: createNames(dns.resolver, () => clock.nowMs) }
}

test('an answer is used for as long as it says', async () => {
  const { dns, clock, names } = setup({ 'a.example': ['10.0.0.1'] }, 5_000)
  expect(names.known('a.example')).toBeUndefined()
  expect(await names.lookup('a.example')).toEqual(['10.0.0.1'])
  clock.nowMs = 4_999
  expect(names.known('a.example')).toEqual(['10.0.0.1'])
  await settled()
  expect(dns.asked.length).toBe(1)
})

test.each([
  ['nothing of its lifetime: 30 s', undefined, 29_999, 30_000],
  ['a lifetime of 0: 1 s', 0, 999, 1_000],
])('an answer that says %s', async (_, ttlMs, before, after) => {
  const { dns, clock, names } = setup({ 'a.example': ['10.0.0.1'] }, ttlMs)
  await names.lookup('a.example')
  clock.nowMs = before
  names.known('a.example')
  expect(dns.asked.length).toBe(1)
  clock.nowMs = after
  names.known('a.example')
  expect(dns.asked.length).toBe(2)
})

test('when it has run out, the old answer serves while one new one is asked for', async () => {
  const { dns, clock, names } = setup({ 'a.example': ['10.0.0.1'] }, 5_000)
  await names.lookup('a.example')
  dns.zone.set('a.example', ['10.0.0.2'])
  clock.nowMs = 5_000
  for (let i = 0; i < 10; i++) expect(names.known('a.example')).toEqual(['10.0.0.1'])
  expect(dns.asked.length).toBe(2)
  await settled()
  expect(names.known('a.example')).toEqual(['10.0.0.2'])
})

test('the same addresses in another order are the same answer', async () => {
  const { dns, clock, names } = setup({ 'a.example': ['10.0.0.1', '10.0.0.2'] }, 5_000)
  const first = await names.lookup('a.example')
  dns.zone.set('a.example', ['10.0.0.2', '10.0.0.1', '10.0.0.2'])
  clock.nowMs = 5_000
  names.known('a.example')
  await settled()
  expect(names.known('a.example')).toBe(first)
})

test('a broken DNS does not break what works, for five minutes', async () => {
  const { dns, clock, names } = setup({ 'a.example': ['10.0.0.1'] }, 5_000)
  await names.lookup('a.example')
  dns.zone.clear()
  for (clock.nowMs = 5_000; clock.nowMs < 305_000; clock.nowMs += 1_000) {
    expect(names.known('a.example')).toEqual(['10.0.0.1'])
    await settled()
  }
  expect(dns.asked.length).toBeLessThanOrEqual(62) // not with each request
  clock.nowMs = 305_001
  expect(names.known('a.example')).toBeUndefined()
  await expect(names.lookup('a.example')).rejects.toEqual(notFound)
})

test('many who ask at once cause one question', async () => {
  const { dns, names } = setup({ 'a.example': ['10.0.0.1'] })
  await Promise.all(Array.from({ length: 100 }, () => names.lookup('a.example')))
  expect(dns.asked.length).toBe(1)
})

test('a name that nobody uses any more is forgotten', async () => {
  const { names } = setup({ 'a.example': ['10.0.0.1'], 'b.example': ['10.0.0.2'] })
  await Promise.all([names.lookup('a.example'), names.lookup('b.example')])
  names.retain(new Set(['b.example']))
  expect([names.known('a.example'), names.known('b.example')]).toEqual([undefined, ['10.0.0.2']])
})

test('a name that cannot be resolved is 503, and is asked for again', async () => {
  const dns = fakeDns({})
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(`http://svc.example:${backend.port}`), {
    runtime: { ...runtime, resolver: dns.resolver },
  })
  expect((await ask(rig.address, '/')).status).toBe(503)
  expect(rig.records[0]?.error).toMatchObject({ kind: 'upstream', phase: 'dns', cause: 'refused' })
  dns.zone.set('svc.example', [])
  expect((await ask(rig.address, '/')).status).toBe(503)
  dns.zone.set('svc.example', ['127.0.0.1'])
  expect((await ask(rig.address, '/')).status).toBe(200)
})

test('a DNS that never answers is 503 where the route sets no limit', async () => {
  const timers = createManualTimers()
  const resolver = { ...runtime.resolver, lookup: () => new Promise<never>(() => {}) }
  await using rig = await startProxy(toBackend('http://svc.example'), { timers, runtime: { ...runtime, resolver } })
  const answer = ask(rig.address, '/')
  await until(() => rig.proxy.stats.inFlight === 1)
  timers.advance(10_050)
  expect((await answer).status).toBe(503)
})

test('requests follow a name to its new address, and the old connections are closed', async () => {
  const timers = createManualTimers()
  const dns = fakeDns({ 'svc.example': ['127.0.0.1'] }, 5_000)
  await using old = await startBackend(echo('old'))
  await using next = await startBackend(echo('next'), { host: '127.0.0.2', port: old.port })
  await using rig = await startProxy(toBackend(`http://svc.example:${old.port}`), {
    timers,
    runtime: { ...runtime, resolver: dns.resolver },
  })
  expect((await ask(rig.address, '/')).header('x-backend')).toBe('old')
  dns.zone.set('svc.example', ['127.0.0.2'])
  timers.advance(5_000)
  expect((await ask(rig.address, '/')).header('x-backend')).toBe('old') // has caused the question
  expect((await ask(rig.address, '/')).header('x-backend')).toBe('next')
  await until(() => old.open === 0)
  expect(next.open).toBe(1)
})

test('a new config keeps the connections to a name that it still names', async () => {
  const dns = fakeDns({ 'svc.example': ['127.0.0.1'] })
  await using backend = await startBackend(echo())
  const rules = toBackend(`http://svc.example:${backend.port}`)
  await using rig = await startProxy(rules, { runtime: { ...runtime, resolver: dns.resolver } })
  for (let i = 0; i < 4; i++) {
    expect((await ask(rig.address, '/')).status).toBe(200)
    rig.apply([{ name: `config ${i}`, ...rules[0] }])
  }
  expect([backend.accepted, dns.asked.length]).toEqual([1, 1])
})

test('endpoints may be names too, beside addresses', async () => {
  const dns = fakeDns({ 'one.example': ['127.0.0.1'] })
  await using backend = await startBackend(echo())
  const { port } = backend
  const endpoints = [
    { address: 'one.example', port },
    { address: 'gone.example', port },
  ]
  await using rig = await startProxy([{ backends: [{ url: 'http://svc.example', weight: 1, endpoints }] }], {
    runtime: { ...runtime, resolver: dns.resolver },
  })
  for (let i = 0; i < 4; i++) expect((await ask(rig.address, '/')).status).toBe(200)
  expect(dns.asked).not.toContain('svc.example')
})
