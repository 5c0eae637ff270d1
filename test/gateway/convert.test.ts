import { describe, expect, test } from 'vitest'
import { convert, type ConvertOptions } from '../../src/gateway/convert.ts'
import { formatDiagnostic } from '../../src/gateway/diagnostics.ts'
import { parseManifests } from '../../src/gateway/manifest-files.ts'

const gatewayApi = 'gateway.networking.k8s.io/v1'
const gateway = {
  apiVersion: gatewayApi,
  kind: 'Gateway',
  metadata: { name: 'web' },
  spec: { gatewayClassName: 'headgate', listeners: [{ name: 'http', port: 80, protocol: 'HTTP' }] },
}
const route = (spec: object, metadata: object = {}) => ({
  apiVersion: gatewayApi,
  kind: 'HTTPRoute',
  metadata: { name: 'shop', ...metadata },
  spec: { parentRefs: [{ name: 'web' }], ...spec },
})
const redirect = { filters: [{ type: 'RequestRedirect', requestRedirect: {} }] }

function convertAll(objects: readonly unknown[], options?: ConvertOptions) {
  const { config, diagnostics } = convert(
    objects.map((value) => ({ value })),
    options,
  )
  return { ...config, findings: diagnostics.map((found) => `${found.level} ${formatDiagnostic(found)}`) }
}

describe('options', () => {
  test('version is the config’s, 1 if not given', () => {
    expect(convertAll([]).version).toBe(1)
    expect(convertAll([], { version: 7 }).version).toBe(7)
  })

  test('clusterDomain is where Services have their names', () => {
    const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'cart' }, spec: { ports: [{ port: 80 }] } }
    const objects = [gateway, service, route({ rules: [{ backendRefs: [{ name: 'cart', port: 80 }] }] })]
    const urlOf = (options?: ConvertOptions) => convertAll(objects, options).rules[0]?.backends?.[0]?.url
    expect(urlOf()).toBe('http://cart.default.svc.cluster.local:80')
    expect(urlOf({ clusterDomain: 'k8s.example.com' })).toBe('http://cart.default.svc.k8s.example.com:80')
  })

  test('every Gateway is served, unless a class is named', () => {
    const other = { ...gateway, metadata: { name: 'other' }, spec: { ...gateway.spec, gatewayClassName: 'other' } }
    const objects = [gateway, other, route({ parentRefs: [{ name: 'web' }, { name: 'other' }], rules: [redirect] })]
    const names = (options?: ConvertOptions) => convertAll(objects, options).listeners?.map(({ name }) => name)
    expect(names()).toEqual(['default/other/http', 'default/web/http'])
    expect(names({ gatewayClass: 'headgate' })).toEqual(['default/web/http'])
    expect(convertAll(objects, { gatewayClass: 'headgate' }).rules[0]?.listeners).toEqual(['default/web/http'])
    // A Gateway of somebody else is no mistake of the route's.
    expect(convertAll(objects, { gatewayClass: 'headgate' }).findings).toEqual([])
    expect(convertAll(objects, { gatewayClass: 'nobody' })).toMatchObject({
      rules: [],
      findings: ['warning No Gateway among the manifests is of class nobody, so nothing is served.'],
    })
  })
})

describe('manifests as the API server would see them', () => {
  test('a field that is null is absent', () => {
    const nulled = route({
      hostnames: null,
      rules: [{ ...redirect, matches: null, backendRefs: null, timeouts: null }],
    })
    const { rules, findings } = convertAll([gateway, nulled])
    expect(findings).toEqual([])
    expect(rules[0]?.matches).toEqual([{ path: { type: 'PathPrefix', value: '/' } }])
    expect(rules[0]?.hostnames).toBeUndefined()
  })

  test('metadata and status hold what they like', () => {
    const metadata = { uid: 'x', generation: 3, finalizers: [], ownerReferences: [{}] }
    const full = { ...route({ rules: [redirect] }, metadata), status: { parents: [] } }
    expect(convertAll([gateway, full]).findings).toEqual([])
  })

  test('no rules means one rule for everything; an empty list of them is refused', () => {
    expect(convertAll([gateway, route({})]).rules).toMatchObject([
      { matches: [{ path: { type: 'PathPrefix', value: '/' } }] },
    ])
    expect(convertAll([gateway, route({ rules: [] })]).rules).toEqual([])
  })

  test('manifests are not changed', () => {
    const objects = [
      gateway,
      route({ rules: [{ ...redirect, unknown: 1, matches: [{ path: { value: '/a', x: 1 } }] }] }),
    ]
    const before = structuredClone(objects)
    convertAll(objects)
    expect(objects).toEqual(before)
  })

  test('of an object that two files hold the last one counts, as with kubectl apply, and it is said', () => {
    const files = [
      route({ rules: [redirect], hostnames: ['a.org'] }),
      route({ rules: [redirect], hostnames: ['b.org'] }),
    ]
    const manifests = [gateway, ...files].map((value, i) => ({ value, file: `${i}.yaml`, line: 1 }))
    const { config, diagnostics } = convert(manifests)
    expect(config.rules.map(({ hostnames }) => hostnames)).toEqual([['b.org']])
    expect(diagnostics.map(formatDiagnostic)).toEqual([
      '2.yaml:1: HTTPRoute default/shop: It also stands in 1.yaml:1; the last one counts, as with kubectl apply. Keep one of them.',
    ])
  })

  test('the same manifests in another order make the same config', () => {
    const objects = [gateway, route({ rules: [redirect] }), route({ rules: [redirect] }, { name: 'a' })]
    expect(convertAll(objects.toReversed()).rules).toEqual(convertAll(objects).rules)
  })
})

describe('hostile manifests', () => {
  test('a circle of aliases is too deep', () => {
    const { objects, diagnostics } = parseManifests(
      `{ apiVersion: ${gatewayApi}, kind: HTTPRoute, metadata: { name: a }, spec: { rules: &a [*a] } }`,
      'a.yaml',
    )
    expect(diagnostics).toEqual([])
    const { findings, rules } = convertAll(objects.map(({ value }) => value))
    expect(rules).toEqual([])
    expect(findings).toEqual([
      'error HTTPRoute default/a: The HTTPRoute is too large or nested too deep, and is left out.',
    ])
  })

  test('an object that aliases make huge is left out', () => {
    const list = Array.from({ length: 1000 }, () => 'x')
    const huge = route({ rules: [{ name: Array.from({ length: 1000 }, () => list) }] })
    expect(convertAll([gateway, huge]).findings).toEqual([
      'error HTTPRoute default/shop: The HTTPRoute is too large or nested too deep, and is left out.',
    ])
  })

  test('a list that no config can hold fails its rule, and no other', () => {
    const matches = Array.from({ length: 513 }, () => ({ path: { value: '/a' } }))
    const backendRefs = Array.from({ length: 129 }, () => ({ name: 'cart', port: 80 }))
    const { rules, findings } = convertAll([gateway, route({ rules: [{ matches }, { backendRefs }, redirect] })])
    expect(rules.map(({ route, unavailableStatus }) => [route?.rule, unavailableStatus])).toEqual([
      [1, 500],
      [2, undefined],
    ])
    expect(findings).toEqual([
      expect.stringContaining('513 matches are too many; it matches nothing'),
      expect.stringContaining('129 backendRefs are too many; the rule answers 500'),
    ])
  })

  test('a million mistakes make a readable number of findings', () => {
    const labels = { 'kubernetes.io/service-name': 'cart' }
    const slice = {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'cart', labels },
      addressType: 'IPv4',
      ports: [{ port: 80 }],
      endpoints: Array.from({ length: 10_000 }, () => ({ addresses: ['nowhere'] })),
    }
    const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'cart' }, spec: { ports: [{ port: 80 }] } }
    const used = route({ rules: [{ backendRefs: [{ name: 'cart', port: 80 }] }] })
    const { findings } = convertAll([gateway, service, slice, used])
    expect(findings.length).toBeLessThan(110)
    expect(findings).toContain('error EndpointSlice default/cart: More like this is not listed.')
  })

  test('what objects inherit in JavaScript is neither field nor label nor kind', () => {
    const odd = [
      { apiVersion: 'v1', kind: 'constructor', metadata: { name: 'toString' } },
      route({ rules: [{ filters: [{ type: 'constructor' }] }] }),
      route(JSON.parse('{"rules": [{"__proto__": {"filters": []}, "constructor": 1}]}') as object, { name: 'b' }),
    ]
    const { rules } = convertAll([gateway, ...odd])
    expect(rules.map(({ unavailableStatus }) => unavailableStatus)).toEqual([undefined, 500])
    expect(({} as { filters?: unknown }).filters).toBeUndefined()
  })

  test('what a header is compared with is not repeated: it may be a credential', () => {
    const headers = [{ type: 'RegularExpression', name: 'Authorization', value: 'Bearer hunter2(' }]
    const queryParams = [{ type: 'RegularExpression', name: 'token', value: 'hunter2[' }]
    const spec = { rules: [{ matches: [{ headers }, { queryParams }] }] }
    const { findings } = convertAll([gateway, route(spec)])
    expect(findings).toHaveLength(2)
    expect(findings.join()).toContain('value is no usable regular expression: missing closing )')
    expect(findings.join()).not.toContain('hunter2')
  })

  test('names and keys cannot break out of a log line', () => {
    const bad = { apiVersion: gatewayApi, kind: 'HTTP\nRoute', metadata: { name: 'a\u001b[31m\r\n' } }
    const badKey = route({ ['x\ny']: 1, rules: [{ matches: [{ path: { value: '/a\nb' } }] }] })
    const badPort = { ...gateway, spec: { ...gateway.spec, listeners: [{ name: 'x', port: 80, protocol: 'a\nb' }] } }
    for (const finding of convertAll([bad, badKey, badPort]).findings) expect(finding).toMatch(/^[\x20-\x7e]+$/)
  })
})

describe('HTTPPathMatch.value', () => {
  const isServed = (type: string, value: unknown) => {
    const [rule] = convertAll([
      gateway,
      route({ rules: [{ ...redirect, matches: [{ path: { type, value } }] }] }),
    ]).rules
    return rule !== undefined && rule.unavailableStatus === undefined
  }

  test.each([
    ['the root', '/', true],
    ['a trailing slash', '/a/', true],
    ['everything that RFC 3986 allows in a segment', "/aZ0-._~!$&'()*+,;=:@%20", true],
    ['1024 characters', `/${'a'.repeat(1023)}`, true],
    ['1025 characters', `/${'a'.repeat(1024)}`, false],
    ['no slash in front', 'a', false],
    ['nothing', '', false],
    ['an empty segment', '/a//b', false],
    ['a dot segment', '/a/./b', false],
    ['a dot segment at the end', '/a/.', false],
    ['two dots', '/a/../b', false],
    ['two dots at the end', '/a/..', false],
    ['three dots, which are a name', '/a/.../b', true],
    ['an encoded slash', '/a%2fb', false],
    ['an encoded slash in upper case', '/a%2Fb', false],
    ['a fragment', '/a#b', false],
    ['a query', '/a?b', false],
    ['half a triple', '/a%2', false],
    ['a quotation mark', '/a"b', false],
    ['a backslash', '/a\\b', false],
    ['a letter beyond ASCII', '/ä', false],
    ['a control', '/a\u0000', false],
    ['a number', 1, false],
  ])('%s', (_, value, served) => {
    expect(isServed('PathPrefix', value)).toBe(served)
    expect(isServed('Exact', value)).toBe(served)
  })

  test('the rules are not for regular expressions', () => {
    expect(isServed('RegularExpression', 'a//b#?')).toBe(true)
    expect(isServed('RegularExpression', '/a(?!b)')).toBe(false)
  })
})
