import { describe, expect, test } from 'vitest'
import { parseProxyConfig, type Rule, type WireConfig } from '../../src/config/proxy-config.ts'
import { sealRule } from '../../src/config/seal.ts'

type WireRule = NonNullable<WireConfig['rules']>[number]
type WireFilter = NonNullable<WireRule['filters']>[number]
type WireBackend = NonNullable<WireRule['backends']>[number]

const good: WireBackend = { name: 'ns/good:80', url: 'http://good:8080', weight: 1 }
const pem = (label: string) => `-----BEGIN ${label}-----\nMIIB\n-----END ${label}-----\n`

function seal(wire: WireRule) {
  const { config, issues } = parseProxyConfig(JSON.parse(JSON.stringify({ rules: [wire] })))
  expect(issues).toBeUndefined()
  const rule = config!.rules[0]!
  const sealed = sealRule(rule, 'rules[0]')
  for (const { fix } of sealed.issues) expect(fix).toMatch(/^[a-z]/)
  return { given: rule, ...sealed }
}

const isFailed = (rule: Rule): boolean =>
  rule.unavailableStatus === 500 && rule.filters?.length === 0 && rule.backends?.length === 0

const setHeader = (name: string, value: string): WireFilter => ({
  type: 'RequestHeaderModifier',
  requestHeaderModifier: { set: [{ name, value }] },
})
const redirect = (requestRedirect: WireFilter['requestRedirect']): WireFilter => ({
  type: 'RequestRedirect',
  requestRedirect,
})
const rewrite = (urlRewrite: WireFilter['urlRewrite']): WireFilter => ({ type: 'URLRewrite', urlRewrite })
const mirror = (requestMirror: object): WireFilter => ({
  type: 'RequestMirror',
  requestMirror: { backendUrl: 'http://mirror', ...requestMirror },
})
const cors = (settings: WireFilter['cors']): WireFilter => ({ type: 'CORS', cors: settings })

describe('a filter that cannot be applied fails its rule, and its backend’s share when it is the backend’s', () => {
  test.each<[string, WireFilter, string]>([
    ['of an unknown type', { type: 'Teleport' }, 'type'],
    ['without a type', {}, 'type'],
    ['without its settings', { type: 'CORS' }, 'cors'],
    ['with another’s settings', { type: 'URLRewrite', cors: {} }, 'urlRewrite'],
    ['with a bad header name', setHeader('X Y', '1'), 'requestHeaderModifier.set[0].name'],
    ['with no header name', setHeader('', '1'), 'requestHeaderModifier.set[0].name'],
    ['with a line break in a value', setHeader('X', 'a\r\nSet-Cookie: b'), 'requestHeaderModifier.set[0].value'],
    ['with a NUL in a value', setHeader('X', 'a\u0000'), 'requestHeaderModifier.set[0].value'],
    [
      'with a value that would be truncated to a line break',
      setHeader('X', 'a\u010d\u010ab'),
      'requestHeaderModifier.set[0].value',
    ],
    ['that sets Host', setHeader('hOst', 'a'), 'requestHeaderModifier.set[0].name'],
    ['that sets Content-Length', setHeader('Content-Length', '0'), 'requestHeaderModifier.set[0].name'],
    ['that sets Transfer-Encoding', setHeader('Transfer-Encoding', 'chunked'), 'requestHeaderModifier.set[0].name'],
    [
      'that adds a bad name',
      {
        type: 'ResponseHeaderModifier',
        responseHeaderModifier: {
          add: [
            { name: 'a', value: '1' },
            { name: 'b:', value: '1' },
          ],
        },
      },
      'responseHeaderModifier.add[1].name',
    ],
    [
      'that removes a bad name',
      { type: 'ResponseHeaderModifier', responseHeaderModifier: { remove: ['Server', 'a,b'] } },
      'responseHeaderModifier.remove[1]',
    ],
    ['that redirects to another scheme', redirect({ scheme: 'javascript' }), 'requestRedirect.scheme'],
    ['that redirects to a wildcard', redirect({ hostname: '*.example.com' }), 'requestRedirect.hostname'],
    ['that redirects to a host with a port', redirect({ hostname: 'a.example.com:80' }), 'requestRedirect.hostname'],
    ['that redirects to a host with a path', redirect({ hostname: 'a.example.com/x' }), 'requestRedirect.hostname'],
    ['that redirects to port 0', redirect({ port: 0 }), 'requestRedirect.port'],
    ['that redirects to no port', redirect({ port: 65_536 }), 'requestRedirect.port'],
    ['that redirects with 200', redirect({ statusCode: 200 }), 'requestRedirect.statusCode'],
    ['that redirects with 304', redirect({ statusCode: 304 }), 'requestRedirect.statusCode'],
    [
      'that redirects to a relative path',
      redirect({ path: { type: 'ReplaceFullPath', value: 'evil.com' } }),
      'requestRedirect.path.value',
    ],
    [
      'that redirects to a path with a line break',
      redirect({ path: { type: 'ReplaceFullPath', value: '/\r\n' } }),
      'requestRedirect.path.value',
    ],
    [
      'that redirects to a path with a query',
      redirect({ path: { type: 'ReplaceFullPath', value: '/a?b' } }),
      'requestRedirect.path.value',
    ],
    [
      'that redirects in an unknown way',
      redirect({ path: { type: 'Replace', value: '/a' } }),
      'requestRedirect.path.type',
    ],
    ['that rewrites to a bad host', rewrite({ hostname: 'a b' }), 'urlRewrite.hostname'],
    [
      'that rewrites to a fragment',
      rewrite({ path: { type: 'ReplaceFullPath', replaceFullPath: '/a#b' } }),
      'urlRewrite.path.replaceFullPath',
    ],
    [
      'that rewrites to a dot segment',
      rewrite({ path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/a/%2e%2e/b' } }),
      'urlRewrite.path.replacePrefixMatch',
    ],
    [
      'that rewrites to a broken triple',
      rewrite({ path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/%zz' } }),
      'urlRewrite.path.replacePrefixMatch',
    ],
    ['that rewrites in an unknown way', rewrite({ path: { type: '' } }), 'urlRewrite.path.type'],
    ['that mirrors more than everything', mirror({ percent: 101 }), 'requestMirror.percent'],
    ['that mirrors less than nothing', mirror({ percent: -1 }), 'requestMirror.percent'],
    [
      'that mirrors a part of none',
      mirror({ fraction: { numerator: 1, denominator: 0 } }),
      'requestMirror.fraction.denominator',
    ],
    [
      'that mirrors more than one',
      mirror({ fraction: { numerator: 2, denominator: 1 } }),
      'requestMirror.fraction.numerator',
    ],
    ['that caches preflights for negative seconds', cors({ maxAge: -1 }), 'cors.maxAge'],
    [
      'that allows an origin list in one entry',
      cors({ allowOrigins: ['https://a, https://b'] }),
      'cors.allowOrigins[0]',
    ],
    ['that allows a bad method', cors({ allowMethods: ['GET', 'P T'] }), 'cors.allowMethods[1]'],
    ['that allows a bad header', cors({ allowHeaders: ['a\r\nb'] }), 'cors.allowHeaders[0]'],
    ['that exposes a bad header', cors({ exposeHeaders: [''] }), 'cors.exposeHeaders[0]'],
  ])('%s', (_, filter, at) => {
    const ofRule = seal({ filters: [filter], backends: [good] })
    expect(ofRule.issues.map(({ path }) => path)).toEqual([`rules[0].filters[0].${at}`])
    expect(ofRule.issues[0]!.message).toContain('every request of this rule is answered with 500')
    expect(isFailed(ofRule.rule)).toBe(true)

    const ofBackend = seal({ backends: [{ ...good, filters: [filter] }, good] })
    expect(ofBackend.issues.map(({ path }) => path)).toEqual([`rules[0].backends[0].filters[0].${at}`])
    expect(ofBackend.rule.unavailableStatus).toBeUndefined()
    expect(ofBackend.rule.backends).toEqual([{ name: good.name, url: '', weight: 1, unavailableStatus: 500 }, good])
  })
})

describe('filters that are fine stay as they are', () => {
  test.each<[string, WireFilter]>([
    ['an empty header modifier', { type: 'RequestHeaderModifier', requestHeaderModifier: {} }],
    ['an empty header value', setHeader('X-Empty', '')],
    ['a latin1 value', setHeader('X-Name', 'Jürgen')],
    ['a redirect that changes nothing but the status', redirect({ statusCode: 308 })],
    ['a redirect to https', redirect({ scheme: 'https', hostname: 'Example.COM', port: 8443 })],
    ['a prefix replaced by nothing', rewrite({ path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '' } })],
    ['a prefix replaced by what Go leaves out', rewrite({ path: { type: 'ReplacePrefixMatch' } })],
    ['a path with encoded characters', rewrite({ path: { type: 'ReplaceFullPath', replaceFullPath: '/a%20b/c;d=e' } })],
    ['a mirror of a thousandth', mirror({ fraction: { numerator: 1, denominator: 1000 } })],
    ['a mirror of nothing', mirror({ percent: 0 })],
    [
      'CORS for everybody',
      cors({ allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'], exposeHeaders: ['*'] }),
    ],
    ['CORS for odd origins', cors({ allowOrigins: ['null', 'capacitor://localhost', 'https://*.example.com:8443'] })],
  ])('%s', (_, filter) => {
    const { given, rule, issues } = seal({ filters: [filter], backends: [{ ...good, filters: [filter] }] })
    expect(issues).toEqual([])
    expect(rule).toBe(given)
  })
})

describe('a backend that cannot be dialled answers its share with 500', () => {
  const cert = pem('CERTIFICATE')
  test.each<[string, Partial<WireBackend>, string]>([
    ['without a URL', { url: '' }, 'url'],
    ['with a relative URL', { url: '/a' }, 'url'],
    ['with no scheme', { url: 'a:8080' }, 'url'],
    ['with another scheme', { url: 'ftp://a' }, 'url'],
    ['with a file', { url: 'file:///etc/passwd' }, 'url'],
    ['without a host', { url: 'http://' }, 'url'],
    ['with an empty host', { url: 'http:///a' }, 'url'],
    ['with a port that is none', { url: 'http://a:99999' }, 'url'],
    ['with port 0', { url: 'http://a:0' }, 'url'],
    ['with a password', { url: 'http://user:hunter2@a' }, 'url'],
    ['with a fragment', { url: 'http://a/#b' }, 'url'],
    ['with a line break', { url: 'http://a\n.b' }, 'url'],
    ['with a backslash', { url: 'http:\\\\a' }, 'url'],
    ['with an unknown protocol', { protocol: 'h3' }, 'protocol'],
    ['with an endpoint of no address', { endpoints: [{ address: '', port: 80 }] }, 'endpoints[0].address'],
    ['with an endpoint of a URL', { endpoints: [{ address: 'http://a', port: 80 }] }, 'endpoints[0].address'],
    ['with an endpoint of no port', { endpoints: [{ address: '10.0.0.1' }] }, 'endpoints[0].port'],
    ['with a CA that is no PEM', { tls: { caBundle: 'CA' } }, 'tls.caBundle'],
    [
      'with a client certificate that is no PEM',
      { tls: { clientCertPem: btoa('x'), clientKeyPem: btoa(pem('PRIVATE KEY')) } },
      'tls.clientCertPem',
    ],
    ['with a key that is no PEM', { tls: { clientCertPem: btoa(cert), clientKeyPem: btoa('x') } }, 'tls.clientKeyPem'],
    ['with a client certificate without its key', { tls: { clientCertPem: btoa(cert) } }, 'tls.clientKeyPem'],
    ['with a key without its certificate', { tls: { clientKeyPem: btoa(pem('EC PRIVATE KEY')) } }, 'tls.clientCertPem'],
    ['with a status that is none', { unavailableStatus: 42 }, 'unavailableStatus'],
    ['with a status that is no answer', { unavailableStatus: 101 }, 'unavailableStatus'],
  ])('%s', (_, backend, at) => {
    const { rule, issues } = seal({ backends: [{ ...good, ...backend }, good] })
    expect(issues.map(({ path }) => path)).toEqual([`rules[0].backends[0].${at}`])
    expect(rule.backends).toEqual([{ name: good.name, url: '', weight: 1, unavailableStatus: 500 }, good])
    expect(JSON.stringify(issues)).not.toContain('hunter2')
  })

  test.each<[string, Partial<WireBackend>]>([
    ['a base path and a query', { url: 'https://a.b:8443/base?x=1' }],
    ['an IPv6 address', { url: 'http://[2001:db8::1]:80' }],
    [
      'endpoints',
      {
        endpoints: [
          { address: '10.0.0.1', port: 80 },
          { address: '2001:db8::1', port: 8080 },
          { address: 'pod.svc', port: 1 },
        ],
      },
    ],
    ['no endpoints', { endpoints: [] }],
    ['TLS', { tls: { caBundle: cert, clientCertPem: btoa(cert), clientKeyPem: btoa(pem('RSA PRIVATE KEY')) } }],
    ['a status, and therefore no URL that would matter', { url: 'external://unresolved', unavailableStatus: 503 }],
    ['no traffic', { weight: 0 }],
  ])('%s is fine', (_, backend) => {
    const { given, rule, issues } = seal({ backends: [{ ...good, ...backend }] })
    expect(issues).toEqual([])
    expect(rule).toBe(given)
  })
})

describe('the rule itself', () => {
  test('with a negative weight fails, since nobody knows the shares', () => {
    const { rule, issues } = seal({ backends: [good, { ...good, weight: -1 }] })
    expect(issues.map(({ path }) => path)).toEqual(['rules[0].backends[1].weight'])
    expect(isFailed(rule)).toBe(true)
  })

  test.each([42, 101, 600, -1])('answers 500 instead of %i', (unavailableStatus) => {
    const { rule, issues } = seal({ unavailableStatus })
    expect(issues.map(({ path }) => path)).toEqual(['rules[0].unavailableStatus'])
    expect(isFailed(rule)).toBe(true)
  })

  test('keeps its name, its hosts and its matches when it fails: it has to be found', () => {
    const wire = { name: 'r', hostnames: ['a'], matches: [{ method: 'GET' }], filters: [{ type: '?' }] }
    expect(seal(wire).rule).toMatchObject({ name: 'r', hostnames: ['a'], matches: [{ method: 'GET' }] })
  })

  test.each([0, -1, 101])('retries nothing when it is to retry %i times', (attempts) => {
    const { rule, issues } = seal({ retry: { attempts, codes: [503] }, backends: [good] })
    expect(issues.map(({ path }) => path)).toEqual(['rules[0].retry.attempts'])
    expect(rule).toMatchObject({ retry: undefined, backends: [good] })
  })

  test('ignores retry codes that are no errors', () => {
    const { rule, issues } = seal({ retry: { codes: [200, 503, 999] }, backends: [good] })
    expect(issues.map(({ path }) => path)).toEqual(['rules[0].retry.codes'])
    expect(rule.retry?.codes).toEqual([503])
  })
})

test('a mirror that cannot be dialled is left out, and its rule is served (Gateway API HTTPRequestMirrorFilter)', () => {
  const { rule, issues } = seal({
    filters: [mirror({ backendUrl: '' }), mirror({}), setHeader('a', 'b')],
    backends: [good],
  })
  expect(issues).toEqual([
    expect.objectContaining({
      path: 'rules[0].filters[0].requestMirror.backendUrl',
      message: expect.stringContaining('nothing is mirrored'),
    }),
  ])
  expect(rule.filters).toEqual([mirror({}), setHeader('a', 'b')])
  expect(rule.backends).toEqual([good])
})
