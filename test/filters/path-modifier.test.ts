import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { replaceFullPath, replacePrefix } from '../../src/filters/path-modifier.ts'

describe('ReplacePrefixMatch (Gateway API HTTPPathModifier)', () => {
  test.each([
    ['/foo/bar', '/foo', '/xyz', '/xyz/bar'],
    ['/foo/bar', '/foo', '/xyz/', '/xyz/bar'],
    ['/foo/bar', '/foo/', '/xyz', '/xyz/bar'],
    ['/foo/bar', '/foo/', '/xyz/', '/xyz/bar'],
    ['/foo', '/foo', '/xyz', '/xyz'],
    ['/foo/', '/foo', '/xyz', '/xyz/'],
    ['/foo/bar', '/foo', '', '/bar'],
    ['/foo/', '/foo', '', '/'],
    ['/foo', '/foo', '', '/'],
    ['/foo/', '/foo', '/', '/'],
    ['/foo', '/foo', '/', '/'],
  ])('the table of the API: %s, prefix %s, replaced by %j, is %s', (path, prefix, replacement, expected) =>
    expect(replacePrefix(path, prefix, replacement)).toBe(expected),
  )

  test.each([
    ['a trailing slash of the path stays', '/foo/bar/', '/foo', '/xyz', '/xyz/bar/'],
    ['an empty segment stays', '/foo//bar', '/foo', '/xyz', '/xyz//bar'],
    ['the root is a prefix', '/foo', '/', '/xyz', '/xyz/foo'],
    ['the root, as the router has it, is a prefix', '/foo', '', '/xyz', '/xyz/foo'],
    ['the root alone becomes the replacement', '/', '/', '/xyz', '/xyz'],
    ['the root alone becomes the replacement, slash included', '/?x', '', '/xyz/', '/xyz/?x'],
    ['the prefix alone becomes the replacement, slash included', '/foo', '/foo', '/xyz/', '/xyz/'],
    ['the root replaced by the root changes nothing', '/foo/', '', '/', '/foo/'],
    ['percent-encoding stays as it came', '/foo/a%2Fb%2e%7e', '/foo', '/xyz', '/xyz/a%2Fb%2e%7e'],
    ['the query stays', '/foo/bar?x=/foo&y', '/foo', '/xyz', '/xyz/bar?x=/foo&y'],
    ['the query of the prefix itself stays', '/foo?x=1', '/foo', '/xyz', '/xyz?x=1'],
    ['a removed prefix leaves the root before the query', '/foo?x=1', '/foo', '', '/?x=1'],
    ['a dollar sign means nothing', '/foo/bar', '/foo', '/$1$&', '/$1$&/bar'],
    ['part of a segment is no prefix', '/foobar', '/foo', '/xyz', '/foobar'],
    ['another path has no such prefix', '/bar', '/foo', '/xyz', '/bar'],
    ['the asterisk has no path', '*', '', '/xyz', '*'],
  ])('%s', (_, path, prefix, replacement, expected) => expect(replacePrefix(path, prefix, replacement)).toBe(expected))

  test('is a replacement of whole segments, whatever they are', () => {
    const segments = fc.array(fc.constantFrom('a', 'b', 'foo', '%2F', '~'), { maxLength: 4 })
    fc.assert(
      fc.property(
        segments,
        segments,
        segments,
        fc.constantFrom('', '?q', '?/a/b'),
        (prefix, rest, replacement, query) => {
          const path = (...parts: string[][]): string => `/${parts.flat().join('/')}`
          expect(replacePrefix(path(prefix, rest) + query, path(prefix), path(replacement))).toBe(
            path(replacement, rest) + query,
          )
        },
      ),
    )
  })
})

describe('ReplaceFullPath (Gateway API HTTPPathModifier)', () => {
  test.each([
    ['the whole path is replaced', '/foo/bar', '/xyz', '/xyz'],
    ['the query stays', '/foo?x=1?y', '/xyz', '/xyz?x=1?y'],
    ['an empty query stays', '/foo?', '/xyz', '/xyz?'],
    ['no path at all is the root', '/foo?x', '', '/?x'],
    ['a trailing slash of the value stays', '/foo', '/xyz/', '/xyz/'],
    ['the asterisk has no path', '*', '/xyz', '*'],
  ])('%s', (_, target, value, expected) => expect(replaceFullPath(target, value)).toBe(expected))
})
