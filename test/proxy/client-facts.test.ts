import { describe, expect, test } from 'vitest'
import { headOf } from '../../src/http/head.ts'
import type { RequestRecord } from '../../src/proxy/record.ts'
import type { Exchange } from '../../src/runtime.ts'
import { createProxy } from '../../src/proxy/proxy.ts'
import { echo, sent, startBackend, type Echoed } from '../support/test-backend.ts'
import { configOf, startProxy, toBackend, type RigOptions, type WireRule } from '../support/proxy.ts'
import { pushBody, requestFor, startHttp2 } from '../http2/rig.ts'
import { ask, connectRaw } from '../support/raw-client.ts'
import { runtime } from '../support/runtime.ts'
import { startWireServer } from '../support/wire.ts'

type Fields = readonly (readonly [string, string])[]

interface Seen {
  readonly echoed: Echoed
  readonly record: RequestRecord
}

/** What a backend sees of a request that a client of loopback sends with these fields. */
async function seen(headers: Fields, options: RigOptions = {}, more: Omit<WireRule, 'backends'> = {}): Promise<Seen> {
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url, more), options)
  const answer = await ask(rig.address, '/', { headers })
  expect(answer.status).toBe(200)
  const [record] = await rig.recorded(1)
  return { echoed: JSON.parse(answer.text) as Echoed, record: record! }
}

const trusting: RigOptions = { trustedProxies: ['127.0.0.0/8', '10.0.0.0/8', '2001:db8::/32'] }

/** An exchange with a given peer. */
const from =
  (host: string, more: Partial<Exchange> = {}) =>
  (exchange: Exchange): Exchange =>
    new Proxy(exchange, {
      get(target, name) {
        if (name in more) return more[name as keyof Exchange]
        if (name === 'peer') return { host, port: 1 }
        const value: unknown = Reflect.get(target, name, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })

test.each([
  ['Forwarded', 'for=9.9.9.9;host=evil;proto=https'],
  ['X-Forwarded-For', '9.9.9.9'],
  ['X-Forwarded-Proto', 'https'],
  ['X-Forwarded-Host', 'evil.example'],
  ['X-Forwarded-Port', '443'],
  ['X-Forwarded-Prefix', '/evil'],
  ['X-Real-IP', '9.9.9.9'],
  ['x-real-ip', '9.9.9.9'],
  ['X-Original-Host', 'evil.example'],
  ['CF-Connecting-IP', '9.9.9.9'],
  ['CF-Ray', '1'],
  ['cf-ipcountry', 'XX'],
  ['Cf-Access-Jwt-Assertion', 'evil'],
  ['Cf-Access-Authenticated-User-Email', 'root@example.com'],
  ['cf-cloudflared-proxy-connection-upgrade', 'websocket'],
])("a stranger's %s does not reach a backend", async (name, value) => {
  const { echoed } = await seen([[name, value]])
  expect(sent(echoed, name)).not.toContain(value)
  expect(JSON.stringify(echoed)).not.toContain('evil')
})

describe.each([
  ['a stranger', {}],
  ['a trusted proxy', trusting],
] as const)('trailers of %s', (_, options) => {
  const fields: Fields = [
    ['Forwarded', 'for=9.9.9.9'],
    ['X-Forwarded-For', '9.9.9.9'],
    ['x-forwarded-proto', 'https'],
    ['X-Forwarded-Client-Cert', 'Subject="CN=root"'],
    ['X-Real-IP', '9.9.9.9'],
    ['X-Original-Host', 'evil.example'],
    ['CF-Connecting-IP', '9.9.9.9'],
    ['Cf-Access-Jwt-Assertion', 'evil'],
    ['Cf-Access-Authenticated-User-Email', 'root@example.com'],
    ['Via', '1.1 evil'],
    ['X-Sum', '7'],
  ]

  /** Answers with the trailer section that it got. Our own server would have dropped the fields as well. */
  const startWitness = (): ReturnType<typeof startWireServer> =>
    startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      const trailers = (await wire.until('\r\n\r\n')).split('\r\n0\r\n')[1]!.trim()
      wire.send(`HTTP/1.1 200 OK\r\nContent-Length: ${trailers.length}\r\n\r\n${trailers}`)
    })

  test('over HTTP/1.1: what tells of a client or of the way does not reach a backend', async () => {
    await using backend = await startWitness()
    await using rig = await startProxy(toBackend(`http://127.0.0.1:${backend.address.port}`), options)
    const client = await connectRaw(rig.address)
    const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    client.write(`POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n${lines}\r\n`)
    expect((await client.answer()).text).toBe('X-Sum: 7')
    client.destroy()
  })

  test('over HTTP/2: what tells of a client or of the way does not reach a backend', async () => {
    await using backend = await startWitness()
    await using rig = await startProxy(toBackend(`http://127.0.0.1:${backend.address.port}`), options)
    await using front = await startHttp2(rig.proxy.fetch)
    const body = pushBody()
    body.push('a')
    body.finish(headOf(fields))
    const answer = await (await front.connect()).send(requestFor('/', { body }), {})
    expect(await answer.text()).toBe('x-sum: 7')
  })
})

test('a backend is told what we know of a stranger, in every way that backends read', async () => {
  const { echoed, record } = await seen([])
  expect(sent(echoed, 'x-forwarded-for')).toEqual(['127.0.0.1'])
  expect(sent(echoed, 'x-forwarded-proto')).toEqual(['http'])
  expect(sent(echoed, 'x-forwarded-host')).toEqual(['a.example'])
  expect(sent(echoed, 'forwarded')).toEqual(['for=127.0.0.1;host="a.example";proto=http'])
  expect(sent(echoed, 'via')[0]).toMatch(/^1\.1 headgate-[0-9a-f]{8}$/)
  expect(record.client).toBe('127.0.0.1')
})

test('a second request of one connection with another Host is told of with that Host', async () => {
  const peer = { host: '192.0.2.1', port: 1 }
  const exchange = (given: Exchange): Exchange => from('', { peer })(given)
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url), { exchange })
  for (const host of ['a.example', 'b.example', 'a.example']) {
    const echoed = JSON.parse((await ask(rig.address, '/', { host })).text) as Echoed
    expect(sent(echoed, 'x-forwarded-host')).toEqual([host])
  }
})

test.each([
  ['an IPv6 address', '2001:db9::1', '2001:db9::1', 'for="[2001:db9::1]";host="a.example";proto=http'],
  ['an IPv6 address with a zone', 'fe80::1%eth0', 'fe80::1', 'for="[fe80::1]";host="a.example";proto=http'],
])('a stranger with %s', async (_, host, address, forwarded) => {
  const { echoed } = await seen([], { exchange: from(host) })
  expect(sent(echoed, 'x-forwarded-for')).toEqual([address])
  expect(sent(echoed, 'forwarded')).toEqual([forwarded])
})

test('a stranger on a pipe has no address', async () => {
  const { echoed, record } = await seen([], { exchange: from('') })
  expect(sent(echoed, 'x-forwarded-for')).toEqual([])
  expect(sent(echoed, 'forwarded')).toEqual(['for=unknown;host="a.example";proto=http'])
  expect(record.client).toBe('')
})

test.each([
  ['nothing: the proxy is the client', [], '127.0.0.1', ['127.0.0.1']],
  ['one address', [['X-Forwarded-For', '192.0.2.7']], '192.0.2.7', ['192.0.2.7, 127.0.0.1']],
  [
    'a chain: the last that is no trusted proxy is the client',
    [['X-Forwarded-For', '6.6.6.6, 192.0.2.7, 10.1.1.1']],
    '192.0.2.7',
    ['6.6.6.6, 192.0.2.7, 10.1.1.1, 127.0.0.1'],
  ],
  [
    'a chain over several lines',
    [
      ['X-Forwarded-For', '192.0.2.7'],
      ['x-forwarded-for', '10.1.1.1'],
    ],
    '192.0.2.7',
    ['192.0.2.7, 10.1.1.1, 127.0.0.1'],
  ],
  [
    'only trusted ones: the first',
    [['X-Forwarded-For', '10.9.9.9, 10.1.1.1']],
    '10.9.9.9',
    ['10.9.9.9, 10.1.1.1, 127.0.0.1'],
  ],
  ['IPv6', [['X-Forwarded-For', '2001:db9::7, 2001:db8::1']], '2001:db9::7', ['2001:db9::7, 2001:db8::1, 127.0.0.1']],
  [
    'ports',
    [['X-Forwarded-For', '192.0.2.7:4711, [2001:db8::1]:80']],
    '192.0.2.7',
    ['192.0.2.7, 2001:db8::1, 127.0.0.1'],
  ],
  [
    'what is no address: nothing to its left is believed',
    [['X-Forwarded-For', '192.0.2.7, unknown, 10.1.1.1']],
    '10.1.1.1',
    ['10.1.1.1, 127.0.0.1'],
  ],
  ['nonsense alone', [['X-Forwarded-For', "<script>, ' OR 1=1"]], '127.0.0.1', ['127.0.0.1']],
  ['an octal address', [['X-Forwarded-For', '0177.0.0.1']], '127.0.0.1', ['127.0.0.1']],
  [
    'a Forwarded alone',
    [['Forwarded', 'for=192.0.2.7;proto=https, for="[2001:db8::1]:80"']],
    '192.0.2.7',
    ['192.0.2.7, 2001:db8::1, 127.0.0.1'],
  ],
  [
    'a Forwarded that hides somebody',
    [['Forwarded', 'for=6.6.6.6, for=_hidden, for=10.1.1.1']],
    '10.1.1.1',
    ['10.1.1.1, 127.0.0.1'],
  ],
  ['a malformed Forwarded', [['Forwarded', 'for=6.6.6.6, for="10.1.1.1']], '127.0.0.1', ['127.0.0.1']],
  [
    'both: X-Forwarded-For counts',
    [
      ['X-Forwarded-For', '192.0.2.7'],
      ['Forwarded', 'for=6.6.6.6'],
    ],
    '192.0.2.7',
    ['192.0.2.7, 127.0.0.1'],
  ],
] as const)('a trusted proxy says %s', async (_, headers, client, forwardedFor) => {
  const { echoed, record } = await seen(headers, trusting)
  expect(record.client).toBe(client)
  expect(sent(echoed, 'x-forwarded-for')).toEqual(forwardedFor)
  // The two never tell different things.
  const elements = sent(echoed, 'forwarded').join().split(', ')
  expect(elements.map((element) => /for="?\[?([^;"\]]+)/.exec(element)?.[1]).join(', ')).toBe(forwardedFor[0])
})

test("a trusted proxy's word on scheme and host is passed on, and what else it says", async () => {
  const { echoed } = await seen(
    [
      ['X-Forwarded-Proto', 'HTTPS'],
      ['X-Forwarded-Host', 'public.example'],
      ['X-Forwarded-Port', '8443'],
      ['X-Real-IP', '192.0.2.7'],
      ['X-Original-Host', 'evil.example'],
    ],
    trusting,
  )
  expect(sent(echoed, 'x-forwarded-proto')).toEqual(['https'])
  expect(sent(echoed, 'x-forwarded-host')).toEqual(['public.example'])
  expect(sent(echoed, 'x-forwarded-port')).toEqual(['8443'])
  expect(sent(echoed, 'x-real-ip')).toEqual(['192.0.2.7'])
  expect(sent(echoed, 'x-original-host')).toEqual([])
})

test.each([
  ['a scheme', 'X-Forwarded-Proto', 'gopher', 'http'],
  ['a host', 'X-Forwarded-Host', 'a"b', 'a.example'],
])('%s that a trusted proxy garbles is ours', async (_, name, value, ours) => {
  const { echoed } = await seen([[name, value]], trusting)
  expect(sent(echoed, name)).toEqual([ours])
})

test('the redirects of a trusted https door keep its scheme', async () => {
  await using rig = await startProxy(
    [{ filters: [{ type: 'RequestRedirect', requestRedirect: { hostname: 'b.example' } }] }],
    trusting,
  )
  const answer = await ask(rig.address, '/x', { headers: [['X-Forwarded-Proto', 'https']] })
  expect(answer.header('location')).toBe('https://b.example/x')
})

test('on an edge connection the client is CF-Connecting-IP, and the CF fields are passed on', async () => {
  const { echoed, record } = await seen(
    [
      ['CF-Connecting-IP', '2001:db9::7'],
      ['CF-Ray', 'abc-FRA'],
      ['X-Forwarded-For', '6.6.6.6, 2001:db9::7'],
    ],
    { exchange: from('198.51.100.1', { edge: true, scheme: 'https' }) },
  )
  expect(record.client).toBe('2001:db9::7')
  expect(sent(echoed, 'x-forwarded-for')).toEqual(['2001:db9::7'])
  expect(sent(echoed, 'x-forwarded-proto')).toEqual(['https'])
  expect(sent(echoed, 'cf-ray')).toEqual(['abc-FRA'])
  expect(sent(echoed, 'cf-connecting-ip')).toEqual(['2001:db9::7'])
})

test('Connection cannot name away what we say, what frames the message, or where it goes', async () => {
  const named = 'X-Forwarded-For, X-Forwarded-Proto, Forwarded, Via, Host, Content-Length, Cf-Ray, X-Mine'
  const { echoed } = await seen([
    ['Connection', named],
    ['X-Mine', 'gone'],
  ])
  expect(echoed.host).toBe('a.example')
  for (const name of ['x-forwarded-for', 'x-forwarded-proto', 'forwarded', 'via'])
    expect(sent(echoed, name).length).toBe(1)
  expect(sent(echoed, 'x-mine')).toEqual([])
})

test.each([
  ['Cf-Access-Authenticated-User-Email', 'root@example.com'],
  ['X-Forwarded-Proto', 'https'],
  ['X-Real-IP', '10.0.0.1'],
])("a stranger's %s takes no part in matching", async (name, value) => {
  const rules: WireRule[] = [
    { matches: [{ headers: [{ type: 'Exact', name, value }] }], unavailableStatus: 503 },
    { unavailableStatus: 502 },
  ]
  await using rig = await startProxy(rules)
  expect((await ask(rig.address, '/', { headers: [[name, value]] })).status).toBe(502)
  await using trusts = await startProxy(rules, trusting)
  expect((await ask(trusts.address, '/', { headers: [[name, value]] })).status).toBe(503)
})

test('what a filter sets or removes, the rule wants so', async () => {
  const { echoed } = await seen(
    [],
    {},
    {
      filters: [
        {
          type: 'RequestHeaderModifier',
          requestHeaderModifier: {
            set: [{ name: 'X-Forwarded-Proto', value: 'https' }],
            add: [{ name: 'X-Forwarded-Port', value: '443' }],
            remove: ['Forwarded', 'Via'],
          },
        },
      ],
    },
  )
  expect(sent(echoed, 'x-forwarded-proto')).toEqual(['https'])
  expect(sent(echoed, 'x-forwarded-port')).toEqual(['443'])
  expect(sent(echoed, 'forwarded')).toEqual([])
  expect(sent(echoed, 'x-forwarded-for')).toEqual(['127.0.0.1'])
  expect(sent(echoed, 'via').length).toBe(1) // loops must be found whatever a rule says
})

test('a proxy that is its own backend answers 508', async () => {
  await using rig = await startProxy([])
  rig.apply(toBackend(`http://127.0.0.1:${rig.port}`))
  expect((await ask(rig.address, '/')).status).toBe(508)
  expect((await rig.recorded(2))[0]?.flags).toEqual(['L'])
})

test.each([['1.1 other'], ['1.0 fred, 1.1 nginx'], ['HTTP/1.1 headgate']])('Via: %s is no loop', async (via) => {
  const { echoed } = await seen([['Via', via]])
  expect(sent(echoed, 'via')[0]).toBe(via)
})

test('a plain Request is a stranger without address', async () => {
  await using backend = await startBackend(echo())
  const proxy = createProxy({ runtime, allowLoopbackBackends: true })
  proxy.apply(configOf(toBackend(backend.url)))
  const headers = { 'x-forwarded-for': '6.6.6.6', 'cf-connecting-ip': '6.6.6.6' }
  const answer = await proxy.fetch(new Request('https://a.example/x', { headers }))
  const echoed = (await answer.json()) as Echoed
  proxy.close()
  expect(JSON.stringify(echoed)).not.toContain('6.6.6.6')
  expect(sent(echoed, 'x-forwarded-proto')).toEqual(['https'])
  expect(sent(echoed, 'via').length).toBe(1)
})

test('what is neither an address nor a range is refused at start', () => {
  expect(() => createProxy({ runtime, trustedProxies: ['10.0.0.0/33'] })).toThrow(TypeError)
})

test('a range of IPv4-mapped addresses is one of IPv4', async () => {
  const { record } = await seen([['X-Forwarded-For', '192.0.2.7']], { trustedProxies: ['::ffff:127.0.0.0/104'] })
  expect(record.client).toBe('192.0.2.7')
})
