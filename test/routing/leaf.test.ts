import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Condition, Subject } from '../../src/routing/condition.ts'
import { buildLeaf, chooseCandidate, holdsAll } from '../../src/routing/leaf.ts'
import { headerConditions } from '../../src/routing/header.ts'
import { methodCondition } from '../../src/routing/method.ts'
import { queryConditions } from '../../src/routing/query.ts'
import { engineRequestOf } from './requests.ts'

const names = ['a', 'b']
const values = ['1', '2', '3']

const conditions = fc
  .record({
    method: fc.option(fc.constantFrom('GET', 'POST'), { nil: undefined }),
    headers: fc.array(
      fc.record({ name: fc.constantFrom(...names), value: fc.constantFrom(...values), regex: fc.boolean() }),
      {
        maxLength: 2,
      },
    ),
    query: fc.array(fc.record({ name: fc.constantFrom(...names), value: fc.constantFrom(...values) }), {
      maxLength: 2,
    }),
  })
  .map(({ method, headers, query }): Condition[] => [
    ...(method === undefined ? [] : [methodCondition(method)]),
    ...headerConditions(
      headers.map(({ regex, ...rest }) => ({ type: regex ? 'RegularExpression' : 'Exact', ...rest })),
    ),
    ...queryConditions(query.map((entry) => ({ type: 'Exact', ...entry }))),
  ])

const subjects = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'PUT'),
    headers: fc.array(fc.tuple(fc.constantFrom(...names), fc.constantFrom(...values)), { maxLength: 4 }),
    query: fc.array(fc.tuple(fc.constantFrom(...names), fc.constantFrom(...values)), { maxLength: 4 }),
  })
  .map(({ method, headers, query }): Subject => {
    const target = `/?${query.map(([name, value]) => `${name}=${value}`).join('&')}`
    const request = engineRequestOf({ method, url: `http://example.com${target}`, headers })
    return { request, target, pathEnd: 1, parameters: undefined }
  })

describe('a leaf', () => {
  test('hands out the first of its candidates whose conditions all hold', () => {
    fc.assert(
      fc.property(fc.array(conditions, { minLength: 1, maxLength: 60 }), fc.array(subjects), (all, asked) => {
        const candidates = all.map((conditions, place) => ({ conditions, place }))
        const leaf = buildLeaf(candidates)
        for (const subject of asked) {
          const first = candidates.find(({ conditions }) => holdsAll(conditions, { ...subject, parameters: undefined }))
          expect(chooseCandidate(leaf, subject)?.place).toBe(first?.place)
        }
      }),
      { numRuns: 200 },
    )
  })

  test('of a thousand candidates that differ by a header asks a few', () => {
    let asked = 0
    const counted = (value: string): Condition => {
      const [condition] = headerConditions([{ type: 'Exact', name: 'x-tenant', value }])
      return {
        ...condition!,
        holds: (subject) => {
          asked++
          return condition!.holds(subject)
        },
      }
    }
    const candidates = Array.from({ length: 1000 }, (_, place) => ({ conditions: [counted(`t${place}`)], place }))
    const request = engineRequestOf({ url: 'http://example.com/', headers: [['X-Tenant', 't900']] })
    const found = chooseCandidate(buildLeaf(candidates), { request, target: '/', pathEnd: 1, parameters: undefined })
    expect(found?.place).toBe(900)
    expect(asked).toBe(1)
  })
})
