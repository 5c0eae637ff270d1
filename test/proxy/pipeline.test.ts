import { expect, test } from 'vitest'
import { createProxy } from '../../src/proxy/proxy.ts'
import { echo, sent, startBackend, type Echoed } from '../support/test-backend.ts'
import { configOf, startProxy, toBackend, type WireRule } from '../support/proxy.ts'
import { ask, type AskOptions } from '../support/raw-client.ts'
import { runtime } from '../support/runtime.ts'

type WireFilter = NonNullable<WireRule['filters']>[number]

const set = (name: string, value: string): WireFilter => ({
  type: 'RequestHeaderModifier',
  requestHeaderModifier: { set: [{ name, value }] },
})
const add = (name: string, value: string): WireFilter => ({
  type: 'RequestHeaderModifier',
  requestHeaderModifier: { add: [{ name, value }] },
})
const addToResponse = (name: string, value: string): WireFilter => ({
  type: 'ResponseHeaderModifier',
  responseHeaderModifier: { add: [{ name, value }] },
})
const rewritePrefix = (replacePrefixMatch: string): WireFilter => ({
  type: 'URLRewrite',
  urlRewrite: { path: { type: 'ReplacePrefixMatch', replacePrefixMatch } },
})
const rewriteHost = (hostname: string): WireFilter => ({ type: 'URLRewrite', urlRewrite: { hostname } })
const redirect = (hostname: string): WireFilter => ({ type: 'RequestRedirect', requestRedirect: { hostname } })
const cors = (allowOrigins: string[]): WireFilter => ({ type: 'CORS', cors: { allowOrigins, allowMethods: ['PUT'] } })

interface Outcome {
  readonly status: number
  header(name: string): string | undefined
  readonly echoed: Echoed | undefined
}

/** The same through a door, and as a plain Request: whatever a rule does, it does to both. */
async function both(
  rule: (url: string) => WireRule,
  target: string,
  options: AskOptions,
  judge: (outcome: Outcome) => void,
): Promise<void> {
  await using backend = await startBackend(echo())
  const rules = [rule(backend.url)]
  await using rig = await startProxy(rules)
  const answer = await ask(rig.address, target, options)
  judge({ ...answer, echoed: answer.status === 200 ? (JSON.parse(answer.text) as Echoed) : undefined })

  const proxy = createProxy({ runtime, allowLoopbackBackends: true })
  proxy.apply(configOf(rules))
  const { method = 'GET', host = 'a.example', headers = [], body } = options
  const init = { method, headers: headers.map(([name, value]): [string, string] => [name, value]), body: body ?? null }
  const response = await proxy.fetch(new Request(`http://${host}${target}`, init))
  const text = await response.text()
  judge({
    status: response.status,
    header: (name) => response.headers.get(name) ?? undefined,
    echoed: response.status === 200 ? (JSON.parse(text) as Echoed) : undefined,
  })
  proxy.close()
}

const prefix = (value: string): WireRule['matches'] => [{ path: { type: 'PathPrefix', value } }]

test("request filters run in listed order, the rule's before the backend's", () =>
  both(
    (url) => ({
      filters: [set('x-a', '1'), add('x-a', '2'), set('x-b', 'rule')],
      backends: [{ url, weight: 1, filters: [add('x-a', '3'), set('x-b', 'backend')] }],
    }),
    '/',
    { headers: [['X-A', '0']] },
    ({ echoed }) => {
      expect(sent(echoed!, 'x-a')).toEqual(['1', '2', '3'])
      expect(sent(echoed!, 'x-b')).toEqual(['backend'])
    },
  ))

test("response filters run in reverse, the backend's before the rule's", () =>
  both(
    (url) => ({
      filters: [addToResponse('x-a', 'rule 1'), addToResponse('x-a', 'rule 2')],
      backends: [{ url, weight: 1, filters: [addToResponse('x-a', 'backend')] }],
    }),
    '/',
    {},
    ({ header }) => expect(header('x-a')).toBe('backend, rule 2, rule 1'),
  ))

test.each([
  ['a redirect', { filters: [redirect('r.example')] }, 302],
  ['an error', { backends: [] }, 500],
])('response modifiers are not for answers of our own: %s', (_, rule: WireRule, expected) =>
  both(
    () => ({ ...rule, filters: [addToResponse('x-a', '1'), ...(rule.filters ?? [])] }),
    '/',
    {},
    ({ status, header }) => expect([status, header('x-a')]).toEqual([expected, undefined]),
  ),
)

test("response modifiers are for a backend's answer whatever its status", async () => {
  await using backend = await startBackend(() => new Response('broken', { status: 500 }))
  await using rig = await startProxy(toBackend(backend.url, { filters: [addToResponse('x-a', '1')] }))
  const answer = await ask(rig.address, '/')
  expect([answer.status, answer.header('x-a')]).toEqual([500, '1'])
})

test("filters of a backend are for that backend's share alone", async () => {
  await using one = await startBackend(echo('one'))
  await using two = await startBackend(echo('two'))
  let drawn = 0
  await using rig = await startProxy(
    [
      {
        backends: [
          { url: one.url, weight: 1, filters: [set('x-to', 'one')] },
          { url: two.url, weight: 1, filters: [set('x-to', 'two')] },
        ],
      },
    ],
    { random: () => drawn },
  )
  for (const [draw, name] of [
    [0, 'one'],
    [0.5, 'two'],
  ] as const) {
    drawn = draw
    const echoed = JSON.parse((await ask(rig.address, '/')).text) as Echoed
    expect([echoed.backend, sent(echoed, 'x-to')]).toEqual([name, [name]])
  }
})

test.each([
  ['the path of a rule is rewritten', [rewritePrefix('/new')], [], '/old/x?q=1', '/new/x?q=1'],
  [
    'a rewrite of the backend replaces that of the rule',
    [rewritePrefix('/rule')],
    [rewritePrefix('/backend')],
    '/old/x',
    '/backend/x',
  ],
  ['only the backend rewrites', [], [rewritePrefix('/')], '/old/x', '/x'],
  ['what is encoded stays so', [rewritePrefix('/new')], [], '/old/a%2Fb//c', '/new/a%2Fb//c'],
])('%s', (_, filters, ofBackend, target, forwarded) =>
  both(
    (url) => ({ matches: prefix('/old'), filters, backends: [{ url, weight: 1, filters: ofBackend }] }),
    target,
    {},
    ({ echoed }) => expect(echoed!.target).toBe(forwarded),
  ),
)

test('a rewritten Host is what the backend sees, and where we dial stays', () =>
  both(
    (url) => ({
      filters: [rewriteHost('rule.example')],
      backends: [{ url, weight: 1, filters: [rewriteHost('b.example')] }],
    }),
    '/',
    {},
    ({ echoed }) => {
      expect(echoed!.host).toBe('b.example')
      expect(sent(echoed!, 'x-forwarded-host')).toEqual(['a.example'])
    },
  ))

test('Host is kept where no filter changes it, port and all', () =>
  both(
    (url) => toBackend(url)[0]!,
    '/',
    { host: 'a.example:8080' },
    ({ echoed }) => expect(echoed!.host).toBe('a.example:8080'),
  ))

test('a redirect of a rule needs no backend', () =>
  both(
    () => ({ filters: [redirect('r.example')] }),
    '/x?y',
    {},
    ({ status, header }) => expect([status, header('location')]).toEqual([302, 'http://r.example/x?y']),
  ))

test.each([
  ['of a backend', {}],
  ['of a backend without endpoints', { endpoints: [] }],
  ['of an invalid backend', { unavailableStatus: 500 }],
])('a redirect %s answers its share without contacting it', (_, more) =>
  both(
    (url) => ({ backends: [{ url, weight: 1, filters: [redirect('r.example')], ...more }] }),
    '/x',
    { method: 'POST', body: 'unread' },
    ({ status, header }) => expect([status, header('location')]).toEqual([302, 'http://r.example/x']),
  ),
)

const origin = [['Origin', 'https://page.example']] as const
const preflight: AskOptions = {
  method: 'OPTIONS',
  headers: [...origin, ['Access-Control-Request-Method', 'PUT']],
}

test.each([
  ['of a rule', { filters: [cors(['https://page.example'])] }],
  ['of a backend', { backends: [{ url: 'http://192.0.2.1', weight: 1, filters: [cors(['https://page.example'])] }] }],
])('a preflight is answered by the CORS filter %s', (_, rule) =>
  both(
    () => rule,
    '/',
    preflight,
    ({ status, header }) =>
      expect([status, header('access-control-allow-origin'), header('access-control-allow-methods')]).toEqual([
        204,
        'https://page.example',
        'PUT',
      ]),
  ),
)

test.each([
  ["a backend's answer", (url: string): WireRule => toBackend(url)[0]!, 200],
  ['a redirect of the rule', (): WireRule => ({ filters: [redirect('r.example')] }), 302],
  [
    'a redirect of the backend',
    (url: string): WireRule => ({ backends: [{ url, weight: 1, filters: [redirect('r.example')] }] }),
    302,
  ],
  ['an error of ours', (): WireRule => ({ backends: [] }), 500],
  ['a backend that is not ready', (url: string): WireRule => ({ backends: [{ url, weight: 1, endpoints: [] }] }), 503],
])('a page may read %s where CORS says so', (_, rule, expected) =>
  both(
    (url) => {
      const made = rule(url)
      return { ...made, filters: [cors(['https://page.example']), ...(made.filters ?? [])] }
    },
    '/',
    { headers: origin },
    ({ status, header }) =>
      expect([status, header('access-control-allow-origin')]).toEqual([expected, 'https://page.example']),
  ),
)

test('an unknown filter fails its rule or its share closed, and nothing else', async () => {
  await using backend = await startBackend(echo())
  const unknown = { type: 'Teleport' }
  const config = configOf([
    { matches: prefix('/rule'), filters: [unknown], ...toBackend(backend.url)[0] },
    { matches: prefix('/share'), backends: [{ url: backend.url, weight: 1, filters: [unknown] }] },
    ...toBackend(backend.url),
  ])
  const proxy = createProxy({ runtime, allowLoopbackBackends: true })
  expect(proxy.apply(config).map(({ path }) => path)).toEqual([
    'rules[0].filters[0].type',
    'rules[1].backends[0].filters[0].type',
  ])
  const statusOf = async (path: string): Promise<number> =>
    (await proxy.fetch(new Request(`http://a.example${path}`))).status
  expect([await statusOf('/rule'), await statusOf('/share'), await statusOf('/else')]).toEqual([500, 500, 200])
  proxy.close()
})

test.each([
  ['a query of the backend', '/?k=1', '/a?x=1', '/a?x=1&k=1'],
  ['a base path of the backend', '/base', '/a', '/base/a'],
])('%s joins what is asked for', async (_, base, target, forwarded) => {
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url + base))
  expect(JSON.parse((await ask(rig.address, target)).text)).toMatchObject({ target: forwarded })
})

test('a body is forwarded, whichever kind of request it came with', () =>
  both(
    (url) => ({ filters: [set('x-a', '1')], ...toBackend(url)[0] }),
    '/',
    { method: 'POST', body: 'a body of some bytes' },
    ({ echoed }) => expect([echoed!.method, echoed!.body]).toEqual(['POST', 'a body of some bytes']),
  ))
