import { describe, expect, test } from 'vitest'
import type { RequestRedirect } from '../../src/config/proxy-config.ts'
import type { RouteContext } from '../../src/filters/filter.ts'
import { engine } from '../http/messages.ts'
import { answered, compiled, contextOf } from './run.ts'

async function locationOf(
  requestRedirect: RequestRedirect,
  url: string,
  change: Partial<RouteContext> = {},
): Promise<string | null> {
  const received = engine.request({ url })
  const filters = compiled({ type: 'RequestRedirect', requestRedirect })
  return (await answered(filters, received, contextOf(received, change))).headers.get('location')
}

describe('scheme and port come from filter and Gateway listener (HTTPRequestRedirectFilter.port, .scheme)', () => {
  const none = undefined
  test.each([
    ['HTTP', 80, none, none, 'http://example.org'],
    ['HTTP', 80, none, 80, 'http://example.org'],
    ['HTTP', 80, none, 8080, 'http://example.org:8080'],
    ['HTTP', 80, 'https', none, 'https://example.org'],
    ['HTTP', 80, 'https', 443, 'https://example.org'],
    ['HTTP', 80, 'https', 8443, 'https://example.org:8443'],
    ['HTTP', 8080, none, none, 'http://example.org:8080'],
    ['HTTP', 8080, none, 80, 'http://example.org'],
    ['HTTP', 8080, 'https', none, 'https://example.org'],
    ['HTTPS', 443, none, none, 'https://example.org'],
    ['HTTPS', 443, none, 443, 'https://example.org'],
    ['HTTPS', 443, none, 8443, 'https://example.org:8443'],
    ['HTTPS', 443, 'http', none, 'http://example.org'],
    ['HTTPS', 443, 'http', 80, 'http://example.org'],
    ['HTTPS', 443, 'http', 8080, 'http://example.org:8080'],
    ['HTTPS', 443, none, 80, 'https://example.org:80'],
    ['HTTP', 80, 'http', 443, 'http://example.org:443'],
  ] as const)('%s listener on %i, scheme %s, port %s: %s', async (protocol, port, scheme, filterPort, expected) => {
    const redirect = { scheme, hostname: 'example.org', port: filterPort }
    // The bound socket and the client's Host have other ports, behind NAT or a tunnel.
    const location = await locationOf(redirect, 'http://a.example:3128/x', { listener: { protocol, port } })
    expect(location).toBe(`${expected}/x`)
  })

  test.each([
    ['the client used http on its own port', {}, 'http', 'http://a.example/', 'http://a.example/'],
    ['the client used https', {}, 'https', 'http://a.example/', 'https://a.example/'],
    ['the client named a port and the host stays', {}, 'http', 'http://a.example:8080/', 'http://a.example:8080/'],
    ['the client named the port of its scheme', {}, 'https', 'http://a.example:443/', 'https://a.example/'],
    ['another host has its own port', { hostname: 'b.example' }, 'http', 'http://a.example:8080/', 'http://b.example/'],
    ['another scheme has its own port', { scheme: 'https' }, 'http', 'http://a.example:8080/', 'https://a.example/'],
    ['the filter has a port', { port: 8443 }, 'https', 'http://a.example:8080/', 'https://a.example:8443/'],
  ] as const)('without listeners in the config: %s', async (_, redirect, clientScheme, url, expected) => {
    expect(await locationOf(redirect, url, { clientScheme })).toBe(expected)
  })
})

describe('host and path that the filter does not give are the request’s', () => {
  test.each([
    ['the host keeps its letter case', {}, 'http://A.Example/', 'http://A.Example/'],
    ['an IPv6 host keeps its brackets', { port: 81 }, 'http://[::1]:8080/', 'http://[::1]:81/'],
    ['an IPv6 host without port', { scheme: 'https' }, 'http://[::1]/', 'https://[::1]/'],
    ['an IPv6 host of the filter', { hostname: '[2001:db8::1]', port: 81 }, 'http://a/', 'http://[2001:db8::1]:81/'],
    ['an empty port is none', {}, 'http://a.example:/', 'http://a.example/'],
    ['path and query stay', {}, 'http://a/b%2Fc/../d?e=f&g', 'http://a/b%2Fc/../d?e=f&g'],
    ['a query alone', {}, 'http://a/?', 'http://a/?'],
    ['ReplaceFullPath', { path: { type: 'ReplaceFullPath', value: '/x' } }, 'http://a/b?c', 'http://a/x?c'],
    ['ReplacePrefixMatch', { path: { type: 'ReplacePrefixMatch', value: '/x' } }, 'http://a/b/c?d', 'http://a/x/c?d'],
    ['an empty replacement', { path: { type: 'ReplacePrefixMatch', value: '' } }, 'http://a/b', 'http://a/'],
  ])('%s', async (_, redirect, url, expected) =>
    expect(await locationOf(redirect, url, { pathPrefix: '/b' })).toBe(expected),
  )

  test('a prefix replacement where no prefix matched is the whole path', async () => {
    const redirect = { path: { type: 'ReplacePrefixMatch', value: '/x' } }
    expect(await locationOf(redirect, 'http://a/b/c?d', { pathPrefix: undefined })).toBe('http://a/x?d')
  })

  test('the path is the one that was matched, after normalisation', async () => {
    const redirect = { path: { type: 'ReplacePrefixMatch', value: '/x' } }
    const change = { target: '/foo/c?d', pathPrefix: '/foo' }
    expect(await locationOf(redirect, 'http://a/b/../foo/c?d', change)).toBe('http://a/x/c?d')
  })

  test('the asterisk leads to the root', async () => {
    expect(await locationOf({ scheme: 'https' }, 'http://a/', { target: '*' })).toBe('https://a/')
  })
})

describe('no request can lead a client astray', () => {
  const stripped = { path: { type: 'ReplacePrefixMatch', value: '/' } }

  test.each([
    ['a path that begins with two slashes', '/foo//evil.example/x', 'http://a//evil.example/x'],
    ['a backslash, which browsers take for a slash', '/foo/\\evil.example', 'http://a/%5Cevil.example'],
    ['an @', '/foo/@evil.example', 'http://a/@evil.example'],
    ['quotes and angles', '/foo/"><script>', 'http://a/%22%3E%3Cscript%3E'],
    ['obs-text', '/foo/caf\u00e9?\u00e9', 'http://a/caf%E9?%E9'],
    ['percent-encoded line breaks stay encoded', '/foo/%0d%0aSet-Cookie:%20a', 'http://a/%0d%0aSet-Cookie:%20a'],
  ])('%s', async (_, target, expected) => {
    expect(await locationOf(stripped, `http://a${target}`, { pathPrefix: '/foo' })).toBe(expected)
  })
})

describe('the answer', () => {
  test.each([
    ['302 unless told otherwise', undefined, 302],
    ['301', 301, 301],
    ['303', 303, 303],
    ['307', 307, 307],
    ['308', 308, 308],
  ])('has status %s', async (_, statusCode, expected) => {
    const filters = compiled({ type: 'RequestRedirect', requestRedirect: { statusCode } })
    const response = await answered(filters, engine.request({ url: 'http://a/' }))
    expect([response.status, response.body]).toEqual([expected, null])
  })

  test('has headers that later filters may change', async () => {
    const filters = compiled({ type: 'RequestRedirect', requestRedirect: {} })
    const response = await answered(filters, engine.request({ url: 'http://a/' }))
    response.headers.set('x-a', '1')
    expect([...response.headers.keys()]).toEqual(['location', 'x-a'])
  })
})
