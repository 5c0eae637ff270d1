import { describe, expect, test } from 'vitest'
import { depthOf, normalizePath, normalizeTarget, trimPrefix } from '../../src/routing/path.ts'

describe('resolve (RFC 3986 section 5.2.4)', () => {
  test.each([
    ['a clean target stays', '/a/b?x=1', '/a/b?x=1'],
    ['a dot segment goes', '/a/./b', '/a/b'],
    ['two dots take the segment before them', '/a/b/../c', '/a/c'],
    ['encoded dots are dots', '/a/%2e%2E/c', '/c'],
    ['half-encoded dots are dots', '/a/.%2e/c', '/c'],
    ['half-encoded dots the other way round', '/a/%2E./c', '/c'],
    ['one encoded dot is a dot segment', '/a/%2e/b', '/a/b'],
    ['a last dot leaves a slash', '/a/.', '/a/'],
    ['two last dots leave a slash', '/a/b/..', '/a/'],
    ['above the root there is nothing', '/../../a', '/a'],
    ['the root of the root is the root', '/..', '/'],
    ['an empty segment is a segment', '/a//../b', '/a/b'],
    ['empty segments stay', '//a///b/', '//a///b/'],
    ['an encoded slash stays, and ends no segment', '/a%2F..%2Fb', '/a%2F..%2Fb'],
    ['an encoded letter stays', '/%61', '/%61'],
    ['a dot twice encoded is no dot', '/a/%252e%252e/b', '/a/%252e%252e/b'],
    ['a hidden file is no dot segment', '/.well-known/x', '/.well-known/x'],
    ['three dots are no dot segment', '/a/.../b', '/a/.../b'],
    ['a segment that only starts with encoded dots is none', '/a/%2e%2ex/b', '/a/%2e%2ex/b'],
    ['the query is left alone', '/a/../b?x=/../y', '/b?x=/../y'],
    ['a query needs no path behind the root', '/..?x', '/?x'],
    ['the asterisk of OPTIONS stays', '*', '*'],
    ['a backslash in the query is the query’s own', '/a?x=\\', '/a?x=\\'],
  ])('%s', (_, target, normalized) => expect(normalizeTarget(target, 'resolve')).toBe(normalized))

  test.each([
    ['a backslash, which some servers take for a slash', '/a\\..\\b'],
    ['a fragment, which is no part of a target', '/a#b'],
    ['a fragment in the query', '/a?b#c'],
    ['a blank', '/a b'],
    ['a control', '/a\u0001b'],
    ['a control in the query', '/a?b\u007f'],
    ['a line break', '/a\r\nb'],
    ['a relative path', 'a/b'],
    ['nothing', ''],
  ])('refuses %s', (_, target) => expect(normalizeTarget(target, 'resolve')).toBeUndefined())
})

test.each([
  ['/a/../b', undefined],
  ['/a/%2e', undefined],
  ['/a\\b', undefined],
  ['/a//b', '/a//b'],
  ['/a/..b?x=/../', '/a/..b?x=/../'],
])('reject refuses a dot segment and a backslash: %s', (target, normalized) =>
  expect(normalizeTarget(target, 'reject')).toBe(normalized),
)

test.each([
  ['/a/../b', '/a/../b'],
  ['/a\\b?x', '/a\\b?x'],
  ['/a b', undefined],
  ['/a#b', undefined],
])('off leaves the path as it came, within the grammar of a target: %s', (target, normalized) =>
  expect(normalizeTarget(target, 'off')).toBe(normalized),
)

test('a clean target comes back as the very same string, and normalising twice changes nothing', () => {
  for (const target of ['/a/../b/%2e', '/..', '/a/b/', '//', '/a/b/../../../c?d']) {
    const once = normalizeTarget(target, 'resolve')!
    expect(normalizeTarget(once, 'resolve')).toBe(once)
  }
})

test('a path that does not start with a slash is refused', () => {
  expect(normalizePath('a', 'resolve')).toBeUndefined()
  expect(normalizePath('*', 'off')).toBeUndefined()
})

test.each([
  ['/foo/', '/foo'],
  ['/foo', '/foo'],
  ['/', ''],
  ['/foo//', '/foo/'],
])('the trailing slash of the prefix %s does not count (Gateway API HTTPPathMatch)', (value, prefix) =>
  expect(trimPrefix(value)).toBe(prefix),
)

test.each([
  ['', 0],
  ['/', 1],
  ['/a', 1],
  ['/a/b', 2],
  ['/a//b/', 4],
])('%j has %i segments', (path, depth) => expect(depthOf(path)).toBe(depth))
