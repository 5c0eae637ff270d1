import { describe, expect, test } from 'vitest'
import {
  parseProxyConfig,
  type Listener,
  type ProxyConfig,
  type Rule,
  type WireConfig,
} from '../../src/config/proxy-config.ts'
import { compile, match, type Entrance, type RouteMatch } from '../../src/routing/table.ts'
import { engineRequestOf, plainRequestOf, type Asked } from './requests.ts'

type WireRule = NonNullable<WireConfig['rules']>[number]

const backends = [{ url: 'http://10.0.0.1:8080', weight: 1 }]

function configOf(rules: readonly WireRule[], listeners?: readonly Listener[]): ProxyConfig {
  const wire = { version: 1, rules: rules.map((rule) => ({ backends, ...rule })), listeners }
  const { config, issues } = parseProxyConfig(JSON.parse(JSON.stringify(wire)))
  expect(issues).toBeUndefined()
  return config!
}

function tableOf(rules: readonly WireRule[], listeners?: readonly Listener[]) {
  const { table, diagnostics } = compile(configOf(rules, listeners), (rule) => rule.name)
  expect(diagnostics).toEqual([])
  return table
}

const path = (type: string, value: string, anchored?: boolean) => ({ path: { type, value, anchored } })
const prefix = (value: string) => path('PathPrefix', value)
const exact = (value: string) => path('Exact', value)
const expression = (value: string, anchored = true) => path('RegularExpression', value, anchored)

describe.each([
  ['the engine', engineRequestOf],
  ['Fetch', plainRequestOf],
])('matching a request of %s', (_, make) => {
  const table = tableOf([
    { name: 'other host', hostnames: ['other.example.com'] },
    { name: 'v2', hostnames: ['shop.example.com'], matches: [prefix('/v2')] },
    { name: 'v2 users', hostnames: ['shop.example.com'], matches: [prefix('/v2/users/')] },
    { name: 'exact', hostnames: ['shop.example.com'], matches: [exact('/v2/users')] },
    { name: 'post', hostnames: ['shop.example.com'], matches: [{ ...prefix('/v2'), method: 'POST' }] },
    {
      name: 'canary',
      hostnames: ['shop.example.com'],
      matches: [{ ...prefix('/v2'), headers: [{ type: 'Exact', name: 'X-Canary', value: 'yes' }] }],
    },
    {
      name: 'page',
      hostnames: ['shop.example.com'],
      matches: [{ ...prefix('/v2'), queryParams: [{ type: 'Exact', name: 'page', value: '2' }] }],
    },
    { name: 'images', hostnames: ['shop.example.com'], matches: [expression('/.*\\.png')] },
    { name: 'any shop', hostnames: ['*.example.com'], matches: [prefix('/')] },
    { name: 'eu', hostnames: ['*.eu.example.com'], matches: [prefix('/')] },
    { name: 'every host', matches: [exact('/healthz')] },
  ])
  const found = (asked: Asked): RouteMatch<string | undefined> | undefined => match(table, make(asked))

  test.each<[string, Asked, string | undefined]>([
    ['/v2 matches itself', { url: 'http://shop.example.com/v2' }, 'v2'],
    ['/v2 matches /v2/', { url: 'http://shop.example.com/v2/' }, 'v2'],
    ['/v2 matches what is below it', { url: 'http://shop.example.com/v2/carts/1' }, 'v2'],
    ['/v2 does not match /v2x', { url: 'http://shop.example.com/v2x' }, 'any shop'],
    ['paths are case-sensitive', { url: 'http://shop.example.com/V2' }, 'any shop'],
    ['a longer prefix beats a shorter', { url: 'http://shop.example.com/v2/users/7' }, 'v2 users'],
    ["a prefix's trailing slash does not count", { url: 'http://shop.example.com/v2/users/' }, 'v2 users'],
    ['an exact path beats a prefix', { url: 'http://shop.example.com/v2/users' }, 'exact'],
    ['an exact path has no query', { url: 'http://shop.example.com/v2/users?page=2' }, 'exact'],
    ['a method beats none', { method: 'POST', url: 'http://shop.example.com/v2/carts' }, 'post'],
    ['a longer prefix beats a method', { method: 'POST', url: 'http://shop.example.com/v2/users/7' }, 'v2 users'],
    ['a header beats none', { url: 'http://shop.example.com/v2/carts', headers: [['x-canary', 'yes']] }, 'canary'],
    [
      'a header beats a parameter',
      { url: 'http://shop.example.com/v2/carts?page=2', headers: [['x-canary', 'yes']] },
      'canary',
    ],
    [
      'a method beats a header',
      { method: 'POST', url: 'http://shop.example.com/v2', headers: [['x-canary', 'yes']] },
      'post',
    ],
    ['a parameter beats none', { url: 'http://shop.example.com/v2/carts?page=2' }, 'page'],
    ['an expression beats a prefix', { url: 'http://shop.example.com/v2/users/7.png' }, 'images'],
    ['an anchored expression matches the whole path', { url: 'http://shop.example.com/v2/7.png/x' }, 'v2'],
    ['an expression does not see the query', { url: 'http://shop.example.com/v2?x=/7.png' }, 'v2'],
    ['a host without a matching rule falls to a wildcard', { url: 'http://shop.example.com/v1' }, 'any shop'],
    ['and from the wildcard to rules for every host', { url: 'http://localhost/healthz' }, 'every host'],
    ['a matching wildcard shadows rules for every host', { url: 'http://blog.example.com/healthz' }, 'any shop'],
    ['a longer wildcard beats a shorter', { url: 'http://a.b.eu.example.com/' }, 'eu'],
    ['the host is compared in lower case, without port', { url: 'http://SHOP.Example.com:8080/v2' }, 'v2'],
    ['a rule without matches takes every path', { url: 'http://other.example.com/any/thing' }, 'other host'],
    ['what nothing matches has no rule', { url: 'http://example.com/v2' }, undefined],
  ])('%s', (_, asked, name) => expect(found(asked)?.rule.name).toBe(name))

  test('says what matched', () => {
    expect(found({ url: 'http://shop.example.com/v2/users/7' })).toMatchObject({
      target: 'v2 users',
      ruleIndex: 2,
      matchIndex: 0,
      hostname: 'shop.example.com',
      pathPrefix: '/v2/users',
      listener: undefined,
      failed: undefined,
    })
    expect(found({ url: 'http://a.example.com/x' })).toMatchObject({ hostname: '*.example.com', pathPrefix: '' })
    expect(found({ url: 'http://other.example.com/x' })).toMatchObject({ pathPrefix: '' })
    expect(found({ url: 'http://localhost/healthz' })).toMatchObject({ hostname: '', pathPrefix: undefined })
  })
})

describe('precedence is decided per match, not per rule', () => {
  const table = tableOf([
    { name: 'A', matches: [exact('/admin'), prefix('/')] },
    { name: 'B', matches: [prefix('/foo/bar')] },
  ])
  test.each([
    ['/admin', 'A', 0],
    ['/foo/bar/x', 'B', 0],
    ['/x', 'A', 1],
  ])('%s', (target, name, matchIndex) =>
    expect(match(table, engineRequestOf({ url: `http://h${target}` }))).toMatchObject({ rule: { name }, matchIndex }),
  )

  test('and eleven headers do not beat a method', () => {
    const headers = Array.from({ length: 11 }, (_, i) => ({ type: 'Exact', name: `h${i}`, value: '1' }))
    const table = tableOf([
      { name: 'headers', matches: [{ headers }] },
      { name: 'method', matches: [{ method: 'GET' }] },
    ])
    const sent = headers.map(({ name, value }) => [name, value] as const)
    expect(match(table, engineRequestOf({ url: 'http://h/', headers: sent }))?.rule.name).toBe('method')
  })

  test('matches of equal rank go by the order of the config', () => {
    const table = tableOf([
      { name: 'first', matches: [prefix('/a/')] },
      { name: 'second', matches: [prefix('/a')] },
    ])
    expect(match(table, engineRequestOf({ url: 'http://h/a/b' }))?.rule.name).toBe('first')
  })
})

describe('regular expressions', () => {
  test('without anchoring are searched for in the path, as the predecessor did', () => {
    const table = tableOf([{ name: 'found', matches: [expression('b[0-9]', false)] }])
    expect(match(table, engineRequestOf({ url: 'http://h/a/b1/c' }))?.rule.name).toBe('found')
    expect(match(table, engineRequestOf({ url: 'http://h/a/bb/c' }))).toBeUndefined()
  })

  test('anchored and not, longer ones come first', () => {
    const table = tableOf([
      { name: 'short', matches: [expression('/a/.*')] },
      { name: 'long', matches: [expression('^/a/(b|c)/.*$', false)] },
      {
        name: 'longest, with a header',
        matches: [{ ...expression('/a/(?:b|c)/.*/?'), headers: [{ type: 'Exact', name: 'x', value: '1' }] }],
      },
    ])
    const nameOf = (asked: Asked) => match(table, engineRequestOf(asked))?.rule.name
    expect(nameOf({ url: 'http://h/a/b/c' })).toBe('long')
    expect(nameOf({ url: 'http://h/a/x/c' })).toBe('short')
    expect(nameOf({ url: 'http://h/a/b/c', headers: [['x', '1']] })).toBe('longest, with a header')
  })

  test('take linear time, whatever they are', () => {
    const table = tableOf([{ matches: [expression('(a+)+$')] }, { matches: [expression('/(a|aa)+$', false)] }])
    expect(match(table, engineRequestOf({ url: `http://h/${'a'.repeat(5000)}!` }))).toBeUndefined()
  })
})

describe('one bad rule never blocks a good one', () => {
  const bad = expression('(?=look-ahead)')

  function compiled(rules: readonly WireRule[], listeners?: readonly Listener[]) {
    const built: Rule[] = []
    const { table, diagnostics } = compile(configOf(rules, listeners), (rule) => built.push(rule) && rule)
    return { table, built, paths: diagnostics.map(({ path }) => path), diagnostics }
  }

  test('a match that cannot be compiled matches nothing; its siblings answer 500', () => {
    const { table, paths, diagnostics } = compiled([
      { name: 'bad', matches: [bad, prefix('/bad')] },
      { name: 'good', matches: [prefix('/')] },
    ])
    const ofBad = match(table, engineRequestOf({ url: 'http://h/bad' }))
    expect(ofBad).toMatchObject({ failed: true, rule: { name: 'bad', unavailableStatus: 500, backends: [] } })
    expect(match(table, engineRequestOf({ url: 'http://h/look-ahead' }))).toMatchObject({ rule: { name: 'good' } })
    expect(paths).toEqual(['rules[0].matches[0].path.value'])
    expect(diagnostics[0]).toMatchObject({
      message: expect.stringContaining('(?='),
      fix: expect.stringContaining('RE2'),
    })
  })

  test.each([
    ['an unknown type of path', { path: { type: 'Glob', value: '/*' } }, 'path.type'],
    ['a path without a slash', prefix('v2'), 'path.value'],
    ['no path', exact(''), 'path.value'],
    ['a query in a path', exact('/a?b'), 'path.value'],
    ['a path with a dot segment', prefix('/a/../b'), 'path.value'],
    ['an unknown type of header match', { headers: [{ type: 'Present', name: 'a' }] }, 'headers[0].type'],
    ['no header name', { headers: [{ type: 'Exact', name: '', value: 'a' }] }, 'headers[0].name'],
    ['a bad header name', { headers: [{ type: 'Exact', name: 'a b', value: 'a' }] }, 'headers[0].name'],
    ['a bad header value', { headers: [{ type: 'Exact', name: 'a', value: 'a\r\nb' }] }, 'headers[0].value'],
    [
      'a bad expression on a header',
      { headers: [{ type: 'RegularExpression', name: 'a', value: '(' }] },
      'headers[0].value',
    ],
    [
      'a bad expression on a parameter',
      { queryParams: [{ type: 'RegularExpression', name: 'a', value: '[' }] },
      'queryParams[0].value',
    ],
    ['no parameter name', { queryParams: [{ type: 'Exact', name: '', value: '' }] }, 'queryParams[0].name'],
    ['a bad method', { method: 'GET /' }, 'method'],
  ])('%s is named', (_, match, at) => {
    const { paths, built } = compiled([{ matches: [match] }, {}])
    expect(paths).toEqual([`rules[0].matches[0].${at}`])
    expect(built).toMatchObject([{ unavailableStatus: 500 }, { backends }])
  })

  test('what is no hostname covers no host, and certainly not every host', () => {
    const { table, paths } = compiled([
      { name: 'bad', hostnames: ['*', 'a.*', 'http://a', 'a:80', ''] },
      { name: 'half bad', hostnames: ['good.example.com', '*.*.com'] },
    ])
    expect(paths).toEqual([0, 1, 2, 3, 4].map((at) => `rules[0].hostnames[${at}]`).concat('rules[1].hostnames[1]'))
    expect(match(table, engineRequestOf({ url: 'http://a/' }))).toBeUndefined()
    expect(match(table, engineRequestOf({ url: 'http://good.example.com/' }))?.rule.name).toBe('half bad')
  })

  test('a rule that can be matched but not served comes out failing closed', () => {
    const { table, paths } = compiled([{ name: 'unknown filter', filters: [{ type: 'Teleport' }] }])
    expect(match(table, engineRequestOf({ url: 'http://h/' }))).toMatchObject({
      rule: { name: 'unknown filter', unavailableStatus: 500, filters: [], backends: [] },
      failed: undefined,
    })
    expect(paths).toEqual(['rules[0].filters[0].type'])
  })

  test('a rule of an unknown listener is served by none', () => {
    const listeners: Listener[] = [{ name: 'a', port: 80, protocol: 'HTTP' }]
    const { table, paths } = compiled([{ name: 'lost', listeners: ['b'] }], listeners)
    expect(paths).toEqual(['rules[0].listeners[0]'])
    expect(match(table, engineRequestOf({ url: 'http://h/' }))).toBeUndefined()
  })

  test('rules are built once each, in order', () => {
    const { built } = compiled([
      { name: 'a', hostnames: ['a.b', 'c.d'], matches: [prefix('/1'), prefix('/2')] },
      { name: 'b' },
    ])
    expect(built.map(({ name }) => name)).toEqual(['a', 'b'])
  })
})

describe('listeners (Gateway API GatewaySpec.listeners)', () => {
  const http = (name: string, port: number, hostname?: string, gateway?: string): Listener => ({
    name,
    port,
    protocol: 'HTTP',
    hostname,
    gateway,
  })

  /** The listeners and paths of the conformance test GatewayHTTPListenerIsolation. */
  const isolation = [
    http('empty-hostname', 80),
    http('wildcard-example-com', 80, '*.example.com'),
    http('wildcard-foo-example-com', 80, '*.foo.example.com'),
    http('abc-foo-example-com', 80, 'abc.foo.example.com'),
  ]
  const isolated = tableOf(
    isolation.map(({ name }) => ({ name, listeners: [name], matches: [prefix(`/${name}`)] })),
    isolation,
  )
  const hosts = [
    ['bar.com', 'empty-hostname'],
    ['bar.example.com', 'wildcard-example-com'],
    ['bar.foo.example.com', 'wildcard-foo-example-com'],
    ['abc.foo.example.com', 'abc-foo-example-com'],
  ] as const
  test.each(hosts.flatMap(([host, serving]) => isolation.map(({ name }) => [host, name, serving] as const)))(
    'only the most specific listener serves %s: /%s',
    (host, name, serving) => {
      const found = match(isolated, engineRequestOf({ url: `http://${host}/${name}` }))
      expect(found?.rule.name).toBe(name === serving ? name : undefined)
      expect(found?.listener?.name).toBe(name === serving ? name : undefined)
    },
  )

  test('a host that no listener covers gets nothing, even from rules of every listener', () => {
    const table = tableOf([{ name: 'all' }], [http('a', 80, '*.example.com')])
    expect(match(table, engineRequestOf({ url: 'http://a.example.com/' }))?.rule.name).toBe('all')
    expect(match(table, engineRequestOf({ url: 'http://example.com/' }))).toBeUndefined()
  })

  test('inside a listener a host without a matching rule falls to less specific hostnames', () => {
    const table = tableOf(
      [
        { name: 'exact', hostnames: ['a.example.com'], listeners: ['l'], matches: [prefix('/exact')] },
        { name: 'wildcard', hostnames: ['*.example.com'], listeners: ['l'] },
      ],
      [http('l', 80, '*.example.com')],
    )
    expect(match(table, engineRequestOf({ url: 'http://a.example.com/x' }))?.rule.name).toBe('wildcard')
    expect(match(table, engineRequestOf({ url: 'http://a.example.com/exact' }))?.rule.name).toBe('exact')
  })

  describe('which ones an entrance stands for', () => {
    const listeners: Listener[] = [
      http('one/80', 80, undefined, 'infra/one'),
      http('one/8080', 8080, undefined, 'infra/one'),
      http('two/80', 80, undefined, 'infra/two'),
      http('two/8080', 8080, 'special.example.com', 'infra/two'),
      { ...http('two/443', 443, undefined, 'infra/two'), protocol: 'HTTPS' },
    ]
    const table = tableOf(
      [
        ...listeners.map(({ name }) => ({ name, listeners: [name], matches: [prefix(`/${name}`)] })),
        { name: 'both gateways', listeners: ['one/80', 'two/80'], matches: [prefix('/both')] },
      ],
      listeners,
    )
    const ask = (host: string, path: string, entrance?: Entrance) =>
      match(table, engineRequestOf({ url: `http://${host}/${path}` }), entrance)

    test.each<[string, Entrance | undefined, string, string[]]>([
      ['a Gateway’s port', { gateway: 'infra/one', port: 8080 }, 'h', ['one/8080']],
      ['the same port of the other Gateway', { gateway: 'infra/two', port: 80 }, 'h', ['two/80', 'both']],
      ['an HTTPS port, when it is named', { gateway: 'infra/two', port: 443 }, 'h', ['two/443']],
      ['a port of every Gateway: equal listeners are one', { port: 80 }, 'h', ['one/80', 'two/80', 'both']],
      [
        'a port of every Gateway: the most specific hostname decides',
        { port: 8080 },
        'special.example.com',
        ['two/8080'],
      ],
      ['a Gateway: HTTP only, and the lowest port', { gateway: 'infra/two' }, 'h', ['two/80', 'both']],
      [
        'a Gateway: a more specific hostname before the lowest port',
        { gateway: 'infra/two' },
        'special.example.com',
        ['two/8080'],
      ],
      ['nothing named: HTTP only, the lowest port of all', undefined, 'h', ['one/80', 'two/80', 'both']],
      ['nothing named: the most specific hostname decides', undefined, 'special.example.com', ['two/8080']],
      ['a Gateway that does not exist', { gateway: 'infra/three' }, 'h', []],
      ['a port that does not exist', { gateway: 'infra/one', port: 443 }, 'h', []],
    ])('%s', (_, entrance, host, served) => {
      const paths = [...listeners.map(({ name }) => name), 'both']
      expect(paths.filter((path) => ask(host, path, entrance) !== undefined)).toEqual(served)
    })

    test('a rule of several Gateways is served once, by the first of its listeners there', () => {
      expect(ask('h', 'both')?.listener?.name).toBe('one/80')
      expect(ask('h', 'both', { gateway: 'infra/two', port: 80 })?.listener?.name).toBe('two/80')
    })

    test('an entrance compiled beforehand and one met later are the same', () => {
      const config = configOf([{ name: 'r', listeners: ['one/8080'] }], listeners)
      const entrance: Entrance = { gateway: 'infra/one', port: 8080 }
      const early = compile(config, (rule) => rule.name, [entrance]).table
      const late = compile(config, (rule) => rule.name).table
      for (const table of [early, late]) {
        expect(match(table, engineRequestOf({ url: 'http://h/' }), entrance)?.target).toBe('r')
        expect(match(table, engineRequestOf({ url: 'http://h/' }), { ...entrance })?.target).toBe('r')
        expect(match(table, engineRequestOf({ url: 'http://h/' }), { ...entrance, port: 80 })).toBeUndefined()
      }
    })

    test('a config with HTTPS listeners alone serves them: TLS ends before us', () => {
      const secure: Listener = { name: 's', port: 443, protocol: 'HTTPS' }
      const table = tableOf([{ name: 'r', listeners: ['s'] }], [secure])
      expect(match(table, engineRequestOf({ url: 'http://h/' }))).toMatchObject({ target: 'r', listener: secure })
    })

    test('a config without listeners serves every entrance', () => {
      const table = tableOf([{ name: 'r' }])
      expect(match(table, engineRequestOf({ url: 'http://h/' }), { gateway: 'a/b', port: 1 })?.target).toBe('r')
    })

    test('a config with no listener at all serves nothing', () => {
      expect(match(tableOf([{ name: 'r' }], []), engineRequestOf({ url: 'http://h/' }))).toBeUndefined()
    })
  })
})

test('OPTIONS * belongs to a rule for every path', () => {
  const table = tableOf([{ name: 'a', matches: [prefix('/a')] }, { name: 'root' }])
  expect(match(table, engineRequestOf({ method: 'OPTIONS', url: 'http://h*' }))?.rule.name).toBe('root')
})
