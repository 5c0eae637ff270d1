import { expect, test } from 'vitest'
import {
  closedAddress,
  echo,
  readHead,
  sent,
  startBackend,
  startRawBackend,
  type Echoed,
  type TestBackend,
} from '../support/test-backend.ts'
import { configOf, startProxy, toBackend, type WireRule } from '../support/proxy.ts'
import { ask, connectRaw } from '../support/raw-client.ts'
import { until } from '../support/until.ts'

type WireFilter = NonNullable<WireRule['filters']>[number]
type WireMirror = NonNullable<WireFilter['requestMirror']>

const mirrorTo = (backendUrl: string, more: Partial<WireMirror> = {}): WireFilter => ({
  type: 'RequestMirror',
  requestMirror: { backendUrl, ...more },
})

/** A backend that keeps what it was sent. */
async function startKeeper(): Promise<TestBackend & { readonly kept: Echoed[] }> {
  const kept: Echoed[] = []
  const tell = echo('mirror')
  const backend = await startBackend(async (request, exchange) => {
    const answer = await tell(request, exchange)
    kept.push((await answer.clone().json()) as Echoed)
    return answer
  })
  return Object.assign(Object.create(backend) as TestBackend, { kept })
}

test('a mirror gets the request as it is at its place in the list, body and Host included', async () => {
  await using primary = await startBackend(echo('primary'))
  await using mirror = await startKeeper()
  const set = (value: string): WireFilter => ({
    type: 'RequestHeaderModifier',
    requestHeaderModifier: { set: [{ name: 'x-at', value }] },
  })
  await using rig = await startProxy(
    toBackend(primary.url, { filters: [set('before'), mirrorTo(mirror.url), set('after')] }),
  )
  const body = 'x'.repeat(100_000)
  const answer = await ask(rig.address, '/p?q', { method: 'POST', body, headers: [['X-Forwarded-For', '6.6.6.6']] })
  const echoed = JSON.parse(answer.text) as Echoed
  expect([echoed.backend, sent(echoed, 'x-at'), echoed.body === body]).toEqual(['primary', ['after'], true])
  await until(() => mirror.kept.length === 1)
  const copy = mirror.kept[0]!
  expect([copy.method, copy.target, copy.host, sent(copy, 'x-at')]).toEqual(['POST', '/p?q', 'a.example', ['before']])
  expect(copy.body === body).toBe(true)
  expect(sent(copy, 'x-forwarded-for')).toEqual(['127.0.0.1'])
  expect(rig.proxy.stats.mirrors).toEqual({ sent: 1, dropped: 0, failed: 0 })
})

test('each of several mirrors gets its copy', async () => {
  await using primary = await startBackend(echo('primary'))
  await using one = await startKeeper()
  await using two = await startKeeper()
  await using rig = await startProxy(toBackend(primary.url, { filters: [mirrorTo(one.url), mirrorTo(two.url)] }))
  expect((await ask(rig.address, '/', { method: 'POST', body: 'both' })).status).toBe(200)
  await until(() => one.kept.length === 1 && two.kept.length === 1)
  expect([one.kept[0]!.body, two.kept[0]!.body]).toEqual(['both', 'both'])
})

test.each([
  ['percent: 25', { percent: 25 }, 5],
  ['percent: 0', { percent: 0 }, 0],
  ['percent: 100', { percent: 100 }, 20],
  ['fraction: 1/2', { fraction: { numerator: 1, denominator: 2 } }, 10],
  ['fraction: 1/1000', { fraction: { numerator: 1, denominator: 1000 } }, 1],
  ['neither', {}, 20],
])('%s of the requests', async (_, share, copies) => {
  await using primary = await startBackend(echo('primary'))
  await using mirror = await startKeeper()
  let drawn = 0
  await using rig = await startProxy(toBackend(primary.url, { filters: [mirrorTo(mirror.url, share)] }), {
    random: () => drawn,
  })
  for (let i = 0; i < 20; i++) {
    drawn = i / 20
    await ask(rig.address, '/')
  }
  await until(() => mirror.kept.length === copies)
  expect(rig.proxy.stats.mirrors.sent).toBe(copies)
})

test.each([
  ['refuses', async () => ({ url: `http://127.0.0.1:${(await closedAddress()).port}`, end: async () => {} })],
  ['never answers', async () => ended(await startRawBackend(() => {}))],
  ['leaves at once', async () => ended(await startRawBackend((peer) => peer.destroy()))],
  [
    'reads nothing',
    async () =>
      ended(
        await startRawBackend((peer) => {
          peer.pause()
        }),
      ),
  ],
  [
    'answers at once and reads nothing',
    async () =>
      ended(
        await startRawBackend((peer) => {
          peer.write('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n')
          peer.pause()
        }),
      ),
  ],
  [
    'answers without end',
    async () =>
      ended(
        await startRawBackend(async (peer) => {
          await readHead(peer)
          peer.write('HTTP/1.1 200 OK\r\n\r\n')
          for (let i = 0; i < 100; i++) peer.write('x'.repeat(100_000))
        }),
      ),
  ],
])('a mirror that %s changes nothing for the primary', async (_, start) => {
  const mirror = await start()
  await using primary = await startBackend(echo('primary'))
  await using rig = await startProxy(toBackend(primary.url, { filters: [mirrorTo(mirror.url)] }))
  // More than the copy's buffer and the sockets' hold.
  const body = 'x'.repeat(8_000_000)
  const answers = await Promise.all([
    ask(rig.address, '/', { method: 'POST', body }),
    ask(rig.address, '/', { method: 'POST', body: 'small' }),
    ask(rig.address, '/'),
  ])
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
  expect((JSON.parse(answers[0].text) as Echoed).body === body).toBe(true)
  expect(rig.records.every(({ error }) => error === undefined)).toBe(true)
  await mirror.end()
})

async function ended(backend: TestBackend): Promise<{ url: string; end(): Promise<void> }> {
  return { url: backend.url, end: () => backend.close() }
}

test('copies under way are bounded, and more are dropped and counted', async () => {
  await using primary = await startBackend(echo('primary'))
  await using mirror = await startRawBackend(() => {})
  await using rig = await startProxy(toBackend(primary.url, { filters: [mirrorTo(mirror.url)] }), {
    mirror: { maxInFlight: 3, timeoutMs: 60_000 },
  })
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => ask(rig.address, '/', { method: 'POST', body: 'x' })),
  )
  expect(answers.every(({ status }) => status === 200)).toBe(true)
  expect(rig.proxy.stats.mirrors).toMatchObject({ sent: 3, dropped: 7 })
})

test('a copy that takes too long is given up', async () => {
  await using primary = await startBackend(echo('primary'))
  await using mirror = await startRawBackend(() => {})
  await using rig = await startProxy(toBackend(primary.url, { filters: [mirrorTo(mirror.url)] }), {
    mirror: { timeoutMs: 50 },
  })
  expect((await ask(rig.address, '/')).status).toBe(200)
  await until(() => rig.proxy.stats.mirrors.failed === 1)
  await until(() => mirror.open === 0)
})

test('redirects of a mirror are not followed', async () => {
  await using primary = await startBackend(echo('primary'))
  await using elsewhere = await startBackend(echo('elsewhere'))
  await using mirror = await startBackend(
    () => new Response(null, { status: 307, headers: { location: elsewhere.url } }),
  )
  await using rig = await startProxy(toBackend(primary.url, { filters: [mirrorTo(mirror.url)] }))
  await ask(rig.address, '/')
  await until(() => mirror.asked.length === 1)
  await ask(rig.address, '/')
  await until(() => mirror.asked.length === 2)
  expect(elsewhere.accepted).toBe(0)
})

test('a mirror that cannot be used is left out, and the rule is served', async () => {
  await using primary = await startBackend(echo('primary'))
  await using rig = await startProxy([])
  const issues = rig.proxy.apply(configOf(toBackend(primary.url, { filters: [mirrorTo('ftp://x')] })))
  expect(issues.map(({ path }) => path)).toEqual(['rules[0].filters[0].requestMirror.backendUrl'])
  expect((await ask(rig.address, '/')).status).toBe(200)
})

test('a copy is not sent twice when the request is', async () => {
  await using mirror = await startKeeper()
  await using primary = await startRawBackend(async (peer, number) => {
    await readHead(peer)
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    if (number > 1) return
    await readHead(peer)
    peer.destroy()
  })
  await using rig = await startProxy(toBackend(primary.url, { filters: [mirrorTo(mirror.url)] }))
  await ask(rig.address, '/1')
  await ask(rig.address, '/2')
  expect(rig.records[1]).toMatchObject({ attempts: 2 })
  await until(() => mirror.kept.length === 2)
  expect(rig.proxy.stats.mirrors.sent).toBe(2)
})

test("a mirror of a backend's list gets that backend's share", async () => {
  await using primary = await startBackend(echo('primary'))
  await using mirror = await startKeeper()
  let drawn = 0
  await using rig = await startProxy(
    [
      {
        backends: [
          { url: primary.url, weight: 1, filters: [mirrorTo(mirror.url)] },
          { url: primary.url, weight: 1 },
        ],
      },
    ],
    { random: () => drawn },
  )
  await ask(rig.address, '/copied')
  drawn = 0.5
  await ask(rig.address, '/not')
  await until(() => mirror.kept.length === 1)
  expect(mirror.kept.map(({ target }) => target)).toEqual(['/copied'])
})

test('a client that leaves inside its request breaks the copy too', async () => {
  await using primary = await startBackend(echo('primary'))
  let got = ''
  await using mirror = await startRawBackend(async (peer) => {
    for (;;) got += String.fromCharCode(...(await peer.bytes(1)))
  })
  await using rig = await startProxy(toBackend(primary.url, { filters: [mirrorTo(mirror.url)] }))
  const client = await connectRaw(rig.address)
  client.write('POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n')
  await until(() => got.includes('half'))
  client.destroy()
  await until(() => mirror.open === 0)
  expect(got).not.toContain('0\r\n\r\n')
})
