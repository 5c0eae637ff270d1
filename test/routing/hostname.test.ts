import { describe, expect, test } from 'vitest'
import { coveringPatterns, findMostSpecific, hostOf, indexPatterns } from '../../src/routing/hostname.ts'

describe('the host to match on (RFC 9110 section 7.2)', () => {
  test.each([
    ['is compared in lower case', 'Shop.EXAMPLE.com', 'shop.example.com'],
    ['has no port', 'shop.example.com:8080', 'shop.example.com'],
    ['has no port, even an empty one', 'shop.example.com:', 'shop.example.com'],
    ["has no trailing dot, which is the root's", 'shop.example.com.', 'shop.example.com'],
    ['has neither dot nor port', 'shop.example.com.:443', 'shop.example.com'],
    ['keeps the brackets of an IPv6 address', '[2001:DB8::1]', '[2001:db8::1]'],
    ['loses the port behind the brackets', '[2001:db8::1]:8443', '[2001:db8::1]'],
    ['is nothing when the brackets never close', '[2001:db8', ''],
    ['may be an IPv4 address', '10.0.0.1:80', '10.0.0.1'],
    ['may be missing', '', ''],
    ['is nothing when it is longer than any name', `${'a.'.repeat(127)}com`, ''],
  ])('%s', (_, authority, host) => expect(hostOf(authority)).toBe(host))
})

describe('hostname patterns (Gateway API Hostname)', () => {
  const patterns = ['shop.example.com', '*.example.com', '*.eu.example.com', '*.com', '']
  const index = indexPatterns(patterns.map((pattern) => [pattern, pattern] as const))
  test.each([
    ['an exact name beats every wildcard', 'shop.example.com', 'shop.example.com'],
    ['a wildcard stands for one label', 'blog.example.com', '*.example.com'],
    ['a wildcard stands for several labels', 'a.b.example.com', '*.example.com'],
    ['a longer wildcard beats a shorter one', 'a.eu.example.com', '*.eu.example.com'],
    ['a longer wildcard stands for several labels, too', 'a.b.eu.example.com', '*.eu.example.com'],
    ['a wildcard does not cover the bare domain', 'eu.example.com', '*.example.com'],
    ['nor the bare domain of the shorter one', 'example.com', '*.com'],
    ['a wildcard ends at a label', 'badexample.org', ''],
    ['a wildcard needs a label, not just a dot', '.com', ''],
    ['what no name covers is covered by none', 'localhost', ''],
    ['no host at all is covered by none alone', '', ''],
  ])('%s', (_, host, pattern) => expect(findMostSpecific(index, host)).toBe(pattern))

  test('without a pattern for every host, the others cover nothing', () => {
    const exact = indexPatterns([['a.example.com', 1]])
    expect(findMostSpecific(exact, 'b.example.com')).toBeUndefined()
  })

  test.each([
    ['a.b.c', ['a.b.c', '*.b.c', '*.c', '']],
    ['*.b.c', ['*.b.c', '*.c', '']],
    ['localhost', ['localhost', '']],
    ['', ['']],
  ])('all that covers %j, most specific first', (pattern, covering) =>
    expect(coveringPatterns(pattern)).toEqual(covering),
  )
})
