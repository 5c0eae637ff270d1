import { expect, test } from 'vitest'

import { judge } from '../../bench/floors.ts'
import type { LoadSample } from '../../bench/sample.ts'
import { type Round, median, summarise } from '../../bench/summary.ts'

function sample(cpuUs?: number): LoadSample {
  return {
    kind: 'load',
    requests: 1_000,
    seconds: 1,
    requestsPerSecond: 1_000,
    p50Ms: 1,
    p99Ms: 2,
    ...(cpuUs !== undefined && {
      proxy: { cpuUs, kernelShare: 0.5, coreShare: 1, disturbance: 0, idleMib: 10, loadedMib: 20 },
    }),
    problems: [],
  }
}

const round = (cpu: Record<string, number | undefined>): Round =>
  new Map(Object.entries(cpu).map(([lane, us]) => [lane, sample(us)]))

const row = (lane: string, rounds: readonly Round[]) => summarise([lane], ['nginx', 'caddy'], rounds)[0]

test.each([
  [[3, 1, 2], 2],
  [[4, 1, 2, 3], 2.5],
  [[7], 7],
  [[], NaN],
])('the median of %j is %d', (values, expected) => expect(median(values)).toBe(expected))

test('a ratio is the peer divided by the row, so that above 1 the row is cheaper', () =>
  expect(row('headgate', [round({ headgate: 10, nginx: 15 })])).toMatchObject({ ratios: { nginx: 1.5 } }))

test('ratios are formed within a round, so that a slow round does not shift them', () => {
  const rounds = [
    round({ headgate: 10, nginx: 10 }),
    round({ headgate: 100, nginx: 100 }), // the neighbours were busy
    round({ headgate: 10, nginx: 10 }),
  ]
  expect(row('headgate', rounds)).toMatchObject({ cpuUs: { median: 10, max: 100 }, ratios: { nginx: 1 } })
})

test('a round in which either failed gives no ratio, and a peer that never ran has none', () => {
  const rounds = [round({ headgate: 10 }), round({ nginx: 99 }), round({ headgate: 10, nginx: 20 })]
  expect(row('headgate', rounds)).toMatchObject({ rounds: 2, ratios: { nginx: 2 } })
  expect(row('headgate', rounds)).not.toHaveProperty('ratios.caddy')
})

test('the control has no CPU per request', () =>
  expect(row('direct', [round({ direct: undefined, nginx: 10 })])).not.toHaveProperty('cpuUs'))

test.each([
  ['above the floor', 40, true],
  ['below it', 20, false],
])('a ratio %s', (_, caddyUs, holds) => {
  const rows = summarise(['headgate-net'], ['caddy'], [round({ 'headgate-net': 10, caddy: caddyUs })])
  expect(judge('get-1k-browser', rows)).toEqual([
    {
      scenario: 'get-1k-browser',
      lane: 'headgate-net',
      against: 'caddy',
      atLeast: 2.5,
      measured: caddyUs / 10,
      holds,
    },
  ])
})
