import { describe, expect, test } from 'vitest'
import {
  canonicalHostname,
  hasDotSegment,
  isDialAddress,
  isHostname,
  isPath,
  isPort,
  isPreciseHostname,
} from '../../src/config/syntax.ts'

test.each([
  ['example.com', true],
  ['localhost', true],
  ['a_b.example.com', true],
  ['xn--mnchen-3ya.de', true],
  ['10.0.0.1', true],
  ['[2001:db8::1]', true],
  ['', false],
  ['.', false],
  ['a..b', false],
  ['-a.com', false],
  ['a-.com', false],
  ['Example.com', false],
  ['example.com.', false],
  ['example.com:80', false],
  ['münchen.de', false],
  ['*.example.com', false],
  [`${'a'.repeat(64)}.com`, false],
  ['a.'.repeat(127), false],
])('%j is a precise hostname: %s', (text, expected) => expect(isPreciseHostname(text)).toBe(expected))

test.each([
  ['*.example.com', true],
  ['*.com', true],
  ['example.com', true],
  ['*', false],
  ['*.', false],
  ['a.*', false],
  ['*.*.com', false],
  ['*example.com', false],
])('%j is a hostname: %s', (text, expected) => expect(isHostname(text)).toBe(expected))

test('letter case and the dot of the root are no difference', () => {
  expect(canonicalHostname('*.Example.COM.')).toBe('*.example.com')
})

test.each([
  ['/', true],
  ['/a//b/', true],
  ["/-._~!$&'()*+,;=:@", true],
  ['/%2F%c3%A4', true],
  ['', false],
  ['a', false],
  ['/a?b', false],
  ['/a#b', false],
  ['/a b', false],
  ['/ä', false],
  ['/%', false],
  ['/%2', false],
  ['/%zz', false],
  ['/a\\b', false],
  ['/a"b', false],
])('%j is a path as requests carry it: %s', (text, expected) => expect(isPath(text)).toBe(expected))

test.each([
  ['/a/./b', true],
  ['/..', true],
  ['/%2e', true],
  ['/a/%2E./b', true],
  ['/.a', false],
  ['/a/...', false],
  ['/a/.%2ea', false],
])('%j has a dot segment: %s', (text, expected) => expect(hasDotSegment(text)).toBe(expected))

describe('where to dial', () => {
  test.each([
    ['10.0.0.1', true],
    ['2001:db8::1', true],
    ['svc.ns.svc.cluster.local', true],
    ['svc.ns.svc.', true],
    ['', false],
    ['[::1]', false],
    ['a b', false],
    ['http://a', false],
    ['a/b', false],
    ['-rf', false],
  ])('%j is an address: %s', (text, expected) => expect(isDialAddress(text)).toBe(expected))

  test.each([
    [1, true],
    [65_535, true],
    [0, false],
    [65_536, false],
    [80.5, false],
    [Number.NaN, false],
  ])('%d is a port: %s', (port, expected) => expect(isPort(port)).toBe(expected))
})
