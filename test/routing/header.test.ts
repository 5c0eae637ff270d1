import { describe, expect, test } from 'vitest'
import { headerConditions } from '../../src/routing/header.ts'
import { engineRequestOf, plainRequestOf } from './requests.ts'

type Lines = readonly (readonly [string, string])[]

function holds(
  conditions: ReturnType<typeof headerConditions>,
  headers: Lines,
  make: typeof engineRequestOf = engineRequestOf,
): boolean {
  const request = make({ url: 'http://example.com/', headers })
  const subject = { request, target: '/', pathEnd: 1, parameters: undefined }
  return conditions.every((condition) => condition.holds(subject))
}

const exact = (name: string, value: string) => ({ type: 'Exact', name, value })
const expression = (name: string, value: string, anchored?: boolean) => ({
  type: 'RegularExpression',
  name,
  value,
  anchored,
})

describe.each([
  ['of the engine', engineRequestOf],
  ['of Fetch', plainRequestOf],
])('headers of a request %s (Gateway API HTTPHeaderMatch)', (_, make) => {
  test.each<[string, ReturnType<typeof expression> | ReturnType<typeof exact>, Lines, boolean]>([
    ['the name is case-insensitive', exact('X-Version', 'two'), [['x-vERSION', 'two']], true],
    ['the value is case-sensitive', exact('version', 'two'), [['version', 'Two']], false],
    ['the value is the whole value', exact('version', 'two'), [['version', 'two, three']], false],
    ['a value may hold a comma', exact('accept', 'a, b'), [['accept', 'a, b']], true],
    ['an absent header has no value', exact('version', ''), [], false],
    ['the empty value is a value', exact('version', ''), [['version', '']], true],
    [
      'values of one name are joined',
      exact('v', 'a, b'),
      [
        ['v', 'a'],
        ['v', 'b'],
      ],
      true,
    ],
    [
      'in the order in which they came',
      exact('v', 'b, a'),
      [
        ['v', 'a'],
        ['v', 'b'],
      ],
      false,
    ],
    ['an expression is searched for', expression('v', '[0-9]+'), [['v', 'abc12d']], true],
    ['an anchored one matches the whole value', expression('v', '[0-9]+', true), [['v', 'abc12d']], false],
    [
      'an expression sees joined values',
      expression('v', '^a, b$'),
      [
        ['v', 'a'],
        ['v', 'b'],
      ],
      true,
    ],
    ['an expression needs the header', expression('v', '.*'), [], false],
  ])('%s', (_, condition, headers, expected) =>
    expect(holds(headerConditions([condition]), headers, make)).toBe(expected),
  )
})

test.each<[string, ReturnType<typeof exact>, boolean]>([
  ['the first', exact('v', 'a'), true],
  ['the last', exact('v', 'b'), true],
  ['none', exact('v', 'c'), false],
  ['a part of none', exact('v', 'a,'), false],
])('any line of a header that came on several may hold the value: %s', (_, condition, expected) => {
  const lines: Lines = [
    ['v', 'a'],
    ['other', 'c'],
    ['V', 'b'],
  ]
  expect(holds(headerConditions([condition]), lines)).toBe(expected)
})

test('of several conditions with names that are equal in lower case the first counts', () => {
  const conditions = headerConditions([exact('X-Env', 'one'), exact('x-env', 'two'), exact('other', '1')])
  expect(conditions).toHaveLength(2)
  expect(
    holds(conditions, [
      ['x-env', 'one'],
      ['other', '1'],
    ]),
  ).toBe(true)
  expect(
    holds(conditions, [
      ['x-env', 'two'],
      ['other', '1'],
    ]),
  ).toBe(false)
})
