import { describe, expect, test } from 'vitest'
import { effectiveHostnames, intersectHostnames } from '../../src/gateway/hostnames.ts'

/* Gateway API HTTPRouteSpec.hostnames, and the conformance test HTTPRouteHostnameIntersection */
describe('intersectHostnames', () => {
  test.each([
    ['equal names', 'a.example.com', 'a.example.com', 'a.example.com'],
    ['an exact name under a wildcard', 'a.example.com', '*.example.com', 'a.example.com'],
    ['an exact name any number of labels under a wildcard', 'a.b.c.example.com', '*.example.com', 'a.b.c.example.com'],
    ['equal wildcards', '*.example.com', '*.example.com', '*.example.com'],
    ['a longer wildcard under a shorter', '*.example.com', '*.foo.example.com', '*.foo.example.com'],
    ['the bare domain of a wildcard', '*.example.com', 'example.com', undefined],
    ['a name that only ends like the domain', '*.example.com', 'badexample.com', undefined],
    ['different names', 'a.example.com', 'b.example.com', undefined],
    ['a wildcard under an exact name', 'example.com', '*.example.com', undefined],
    ['different wildcards', '*.example.com', '*.example.org', undefined],
    ['a wildcard and its own suffix as a name', '*.com', '.com', undefined],
  ])('%s', (_, one, other, both) => {
    expect(intersectHostnames(one, other)).toBe(both)
    expect(intersectHostnames(other, one)).toBe(both)
  })
})

describe('effectiveHostnames', () => {
  test.each([
    ['neither names hosts: every host', undefined, [], []],
    ['only the route does', undefined, ['a.example.com', '*.org'], ['a.example.com', '*.org']],
    ['only the listener does', '*.example.com', [], ['*.example.com']],
    [
      'both do: what fits both, the rest is ignored',
      '*.example.com',
      ['a.example.com', 'example.com', '*.b.example.com', 'x.org'],
      ['a.example.com', '*.b.example.com'],
    ],
    ['the same host twice', 'a.example.com', ['a.example.com', '*.example.com'], ['a.example.com']],
    ['nothing fits both', 'a.example.com', ['b.example.com'], undefined],
  ])('%s', (_, listener, route, hostnames) => {
    expect(effectiveHostnames(listener, route)).toEqual(hostnames)
  })
})
