import { expect, test } from 'vitest'
import { compareMatches, type Ranked } from '../../src/routing/precedence.ts'

const base: Ranked = {
  type: 'PathPrefix',
  path: '/a',
  hasMethod: false,
  headerCount: 0,
  queryCount: 0,
  ruleIndex: 5,
  matchIndex: 5,
}

/** Gateway API HTTPRouteRule.matches; each line also says that the lower rungs cannot outweigh the higher. */
test.each<[string, Partial<Ranked>, Partial<Ranked>]>([
  [
    'an Exact path beats any prefix',
    { type: 'Exact', path: '/' },
    { path: '/a/very/long/prefix', hasMethod: true, headerCount: 16, queryCount: 16 },
  ],
  ['an Exact path beats any expression', { type: 'Exact', path: '/' }, { type: 'RegularExpression', path: '/a.*' }],
  ['an expression beats any prefix', { type: 'RegularExpression', path: '.' }, { path: '/a/b/c', hasMethod: true }],
  [
    'a longer expression beats a shorter',
    { type: 'RegularExpression', path: '/a/.*' },
    { type: 'RegularExpression', path: '/.*', hasMethod: true },
  ],
  ['a longer prefix beats a shorter', { path: '/a/b' }, { hasMethod: true, headerCount: 16, queryCount: 16 }],
  ['a method beats any number of headers', { hasMethod: true }, { headerCount: 16, queryCount: 16 }],
  ['more headers beat any number of parameters', { headerCount: 1 }, { queryCount: 16 }],
  ['more headers beat fewer', { headerCount: 2 }, { headerCount: 1, queryCount: 16 }],
  ['more parameters beat fewer', { queryCount: 2 }, { queryCount: 1, ruleIndex: 0 }],
  ['the earlier rule beats the later', { ruleIndex: 4, matchIndex: 9 }, { matchIndex: 0 }],
  ['the earlier match beats the later', { matchIndex: 4 }, {}],
])('%s', (_, winner, loser) => {
  expect(compareMatches({ ...base, ...winner }, { ...base, ...loser })).toBeLessThan(0)
  expect(compareMatches({ ...base, ...loser }, { ...base, ...winner })).toBeGreaterThan(0)
})

test('a match ranks like itself', () => expect(compareMatches(base, { ...base })).toBe(0))
