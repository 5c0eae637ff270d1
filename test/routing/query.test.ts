import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseQuery, queryConditions } from '../../src/routing/query.ts'
import { engineRequestOf } from './requests.ts'

const exact = (name: string, value: string) => ({ type: 'Exact', name, value })

function holds(conditions: ReturnType<typeof queryConditions>, target: string): boolean {
  const request = engineRequestOf({ url: `http://example.com${target}` })
  const queryAt = target.indexOf('?')
  const subject = { request, target, pathEnd: queryAt === -1 ? target.length : queryAt, parameters: undefined }
  return conditions.every((condition) => condition.holds(subject))
}

describe('query parameters (Gateway API HTTPQueryParamMatch)', () => {
  test.each([
    ['the value is compared exactly', exact('a', 'b'), '/?a=b', true],
    ['among others', exact('a', 'b'), '/?x=y&a=b&z', true],
    ['a longer value is another', exact('a', 'b'), '/?a=bc', false],
    ['a longer name is another', exact('a', 'b'), '/?xa=b', false],
    ['the name is case-sensitive', exact('a', 'b'), '/?A=b', false],
    ['the value is case-sensitive', exact('a', 'b'), '/?a=B', false],
    ['a plus sign is a blank', exact('a', 'b c'), '/?a=b+c', true],
    ['percent triples are decoded', exact('a', 'b c/ä'), '/?a=b%20c%2f%C3%A4', true],
    ['names are decoded, too', exact('a[0]', '1'), '/?a%5B0%5D=1', true],
    ['an encoded plus sign is one', exact('a', '+'), '/?a=%2B', true],
    ['a plain plus sign in the match is no blank', exact('a', 'b+c'), '/?a=b+c', false],
    ['a broken triple stays as it is', exact('a', '%zz'), '/?a=%zz', true],
    ['any value of a repeated parameter may match', exact('a', 'c'), '/?a=b&a=c', true],
    ['a value may hold an equals sign', exact('a', 'b=c'), '/?a=b=c', true],
    ['a name without equals sign has the empty value', exact('a', ''), '/?a', true],
    ['the empty value is a value', exact('a', ''), '/?a=', true],
    ['a missing parameter has no value', exact('a', ''), '/?b', false],
    ['without a query nothing holds', exact('a', 'b'), '/a=b', false],
    ['the path is not searched', exact('a', 'b'), '/?&c=/a=b', false],
    ['a question mark inside the query is a character', exact('?a', 'b'), '/??a=b', true],
    ['a semicolon separates nothing', exact('a', 'b;c=d'), '/?a=b;c=d', true],
    ['an encoded parameter is found beside a plain one', exact('a', 'b'), '/?x=%20&a=%62', true],
    ['an expression is searched for', { type: 'RegularExpression', name: 'a', value: 'b+' }, '/?a=xbbx', true],
    [
      'an anchored expression matches all of the value',
      { type: 'RegularExpression', name: 'a', value: 'b+', anchored: true },
      '/?a=xbb',
      false,
    ],
    ['an expression sees decoded values', { type: 'RegularExpression', name: 'a', value: '^b c$' }, '/?a=b+c', true],
    ['an expression needs the parameter', { type: 'RegularExpression', name: 'a', value: '.*' }, '/?b=c', false],
  ])('%s', (_, condition, target, expected) => expect(holds(queryConditions([condition]), target)).toBe(expected))

  test('of several conditions with one name the first counts', () => {
    const conditions = queryConditions([exact('a', '1'), exact('a', '2'), exact('A', '3')])
    expect(conditions).toHaveLength(2)
    expect(holds(conditions, '/?a=1&A=3')).toBe(true)
  })
})

test('a query is read as URLSearchParams reads it', () => {
  const piece = fc.oneof(fc.constantFrom('&', '=', '+', '%', '%20', '%C3%A4', '?', ';', 'a', 'b', 'ä'), fc.string())
  fc.assert(
    fc.property(
      fc.array(piece).map((pieces) => pieces.join('')),
      (query) => {
        const expected = new Map<string, string[]>()
        for (const [name, value] of new URLSearchParams(`?${query}`)) {
          expected.set(name, [...(expected.get(name) ?? []), value])
        }
        expect(parseQuery(query)).toEqual(expected)
      },
    ),
  )
})
