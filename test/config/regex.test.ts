import fc from 'fast-check'
import { RE2JS } from 're2js'
import { describe, expect, test } from 'vitest'
import { compilePatterns, findPatternFault } from '../../src/config/regex.ts'

describe('patterns in RE2 syntax', () => {
  test.each(['', 'a', '^/v[0-9]+/.*$', '(?i)abc', '(?P<id>[[:alpha:]]+)\\z', '\\pL+', '[^/]{1,64}', '.*?'])(
    '%j is usable',
    (pattern) => expect(findPatternFault(pattern)).toBeUndefined(),
  )

  test.each([
    ['look-ahead', 'a(?=b)'],
    ['look-behind', '(?<=a)b'],
    ['a back-reference', '(a)\\1'],
    ['an open group', '(a'],
    ['an open class', '[a'],
    ['nothing to repeat', '*a'],
    ['a repetition over a thousand', 'a{1001}'],
    ['nested repetitions over a thousand', '((a{30}){30}){30}'],
    ['too large a program', '[^a]{999}[^b]{999}[^c]{9}'],
    ['too long a pattern', 'a'.repeat(4097)],
    ['too deep a pattern', `${'('.repeat(2000)}a${')'.repeat(2000)}`],
  ])('%s is refused, with a reason of one line', (_, pattern) => {
    expect(findPatternFault(pattern)).toMatch(/^.+$/)
    expect(findPatternFault(pattern)).toBe(findPatternFault(pattern))
  })
})

describe('a set of patterns', () => {
  test.each([
    [true, '/a/b', [1, 3]],
    [true, '/a', [0]],
    [false, '/a/b', [0, 1, 2, 3]],
    [false, 'b', [2]],
    [false, '', []],
  ])('anchored %s, %j: all that match, ascending', (anchored, text, expected) =>
    expect(compilePatterns(['/a', '/a/.', 'b', '/[a-z]/b'], anchored).match(text)).toEqual(expected),
  )

  test('finds what each of its patterns would find alone', () => {
    const pattern = fc
      .array(fc.constantFrom('a', 'b', '/', '.', '[ab]', '(a|b)', 'a*', 'b+', '/?', '^', '$', '(?i)A', '\\bb'), {
        maxLength: 5,
      })
      .map((parts) => parts.join(''))
    const text = fc
      .array(fc.constantFrom('a', 'b', '/', 'A', '\u00e4'), { maxLength: 8 })
      .map((parts) => parts.join(''))
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 6 }), fc.boolean(), fc.array(text), (patterns, anchored, texts) => {
        const set = compilePatterns(patterns, anchored)
        for (const text of texts) {
          const alone = patterns.map((source) => {
            const compiled = RE2JS.compile(source)
            return anchored ? compiled.matches(text) : compiled.matcher(text).find()
          })
          expect(set.match(text)).toEqual(alone.flatMap((found, index) => (found ? [index] : [])))
        }
      }),
      { numRuns: 300 },
    )
  })

  test('is compiled once for all configs that have it', () => {
    const set = compilePatterns(['a', 'b'], true)
    expect(compilePatterns(['a', 'b'], true)).toBe(set)
    expect(compilePatterns(['a', 'b'], false)).not.toBe(set)
    expect(compilePatterns(['b', 'a'], true)).not.toBe(set)
    expect(compilePatterns(['a,b'], true)).not.toBe(set)
  })

  test('may be larger than one state machine', () => {
    const patterns = Array.from({ length: 1000 }, (_, i) => `/${i}/[a-z]{900}`)
    expect(patterns.map(findPatternFault).filter(Boolean)).toEqual([])
    const set = compilePatterns(patterns, true)
    for (const i of [0, 499, 500, 999]) expect(set.match(`/${i}/${'a'.repeat(900)}`)).toEqual([i])
    expect(set.match('/1000/a')).toEqual([])
  })

  test('takes time in proportion to the text, also when its states do not fit', () => {
    const set = compilePatterns(['(a|b)*a(a|b){12}$', '(x+x+)+y'], false)
    let seed = 1
    const text = Array.from({ length: 8000 }, () =>
      (seed = (seed * 16_807) % 2_147_483_647) % 2 === 0 ? 'a' : 'b',
    ).join('')
    expect(set.match(`${text}a${'b'.repeat(12)}`)).toEqual([0])
    expect(set.match(`${text}${'b'.repeat(13)}`)).toEqual([])
    expect(set.match('x'.repeat(8000))).toEqual([])
  })
})
