import fc from 'fast-check'
import { expect, test } from 'vitest'
import { pickEndpoint } from '../../src/backends/balance.ts'
import { chooseIndex, sumWeights } from '../../src/backends/choose.ts'
import { joinTarget, targetOfBackend } from '../../src/backends/target.ts'

test.each([
  ['one', [1], 0.99, 0],
  ['the first of equals', [1, 1], 0.49, 0],
  ['the second of equals', [1, 1], 0.5, 1],
  ['a weight of 0 gets nothing, first', [0, 1], 0, 1],
  ['a weight of 0 gets nothing, last', [1, 0], 0.999_999, 0],
  ['a weight of 0 gets nothing, between', [1, 0, 1], 0.5, 2],
  ['90 to 10', [90, 10], 0.899, 0],
  ['90 to 10', [90, 10], 0.9, 1],
  ['all 0: none', [0, 0], 0.5, -1],
  ['none at all', [], 0.5, -1],
])('%s', (_, weights, random, index) => expect(chooseIndex(sumWeights(weights), random)).toBe(index))

test('every draw falls on a backend with a weight (property)', () => {
  const weights = fc.array(fc.integer({ min: 0, max: 1_000_000 }), { minLength: 1, maxLength: 16 })
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
  fc.assert(
    fc.property(weights, random, (given, drawn) => {
      const index = chooseIndex(sumWeights(given), drawn)
      const total = given.reduce((sum, weight) => sum + weight, 0)
      expect(total === 0 ? index : given[index]! > 0).toBe(total === 0 ? -1 : true)
    }),
  )
})

const endpoint = (inFlight: number, suspect = false) => ({ pool: { inFlight, suspect } })

test('an endpoint to pass by is passed by, and so are suspects, where there is another (property)', () => {
  const endpoints = fc.array(fc.record({ inFlight: fc.nat(5), suspect: fc.boolean() }), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(
      endpoints,
      fc.nat(6),
      fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })),
      (given, at, draws) => {
        const all = given.map(({ inFlight, suspect }) => endpoint(inFlight, suspect))
        const not = all[at]
        const picked = pickEndpoint(all, () => draws.next().value as number, not)
        const others = all.filter((each) => each !== not)
        expect(all).toContain(picked)
        expect(picked === not && others.length > 0).toBe(false)
        expect(picked!.pool.suspect && others.some(({ pool }) => !pool.suspect)).toBe(false)
      },
    ),
  )
})

test('no endpoint: none', () => expect(pickEndpoint([], () => 0)).toBeUndefined())

test.each([
  ['http://svc', '/a?x=1', '/a?x=1'],
  ['http://svc/', '/a', '/a'],
  ['http://svc/base', '/a?x=1', '/base/a?x=1'],
  ['http://svc/base/', '/a', '/base/a'],
  ['http://svc/base', '/', '/base/'],
  ['http://svc/base', '/a%2Fb//c', '/base/a%2Fb//c'],
  ['http://svc/base', '*', '*'],
  ['http://svc/?k=1', '*', '*'],
  ['http://svc/?k=1', '/a', '/a?k=1'],
  ['http://svc/?k=1&l=2', '/a?k=3', '/a?k=3&l=2'],
  ['http://svc/?k=1', '/a?k=3', '/a?k=3'],
  ['http://svc', '/a?', '/a?'],
])('a backend at %s is asked for %s by %s', (url, target, joined) => {
  expect(joinTarget(targetOfBackend({ url, weight: 1 }), target)).toBe(joined)
})

test.each([
  ['http://svc.example', 'svc.example', 80, undefined],
  ['https://svc.example', 'svc.example', 443, 'svc.example'],
  ['http://svc.example:8080', 'svc.example', 8080, undefined],
  ['http://[2001:db8::1]:8080', '2001:db8::1', 8080, undefined],
])('%s', (url, hostname, port, servername) => {
  const target = targetOfBackend({ url, weight: 1 })
  expect([target.hostname, target.port, target.tls?.servername]).toEqual([hostname, port, servername])
})
