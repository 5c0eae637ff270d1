/** The floors that Headgate promises not to fall below: a peer's CPU per request divided by ours. */
import type { Row } from './summary.ts'

export interface Floor {
  scenario: string
  lane: string
  against: string
  atLeast: number
}

export interface FloorResult extends Floor {
  measured: number
  holds: boolean
}

const perScenario: readonly [scenario: string, against: string, net: number, fast: number][] = [
  ['get-1k-browser', 'caddy', 2.5, 2.5],
  ['get-1k-browser', 'go', 1.8, 1.8],
  ['get-1k-browser', 'haproxy', 0.75, 0.85],
  ['get-1k-browser', 'nginx', 0.72, 0.8],
  ['post-10k', 'caddy', 2.5, 2.5],
  ['post-10k', 'haproxy', 0.6, 0.7],
  ['get-64k', 'caddy', 1.5, 1.8],
  ['get-1m', 'nginx', 0.55, 0.9],
]

/** At most 5 % more per request with 10,000 rules than with 10, whether they are spread over hosts or share one. */
const flat = 1 / 1.05

export const floors: readonly Floor[] = [
  ...perScenario.flatMap(([scenario, against, net, fast]) => [
    { scenario, against, lane: 'headgate', atLeast: fast },
    { scenario, against, lane: 'headgate-net', atLeast: net },
  ]),
  ...[
    { against: 'caddy', atLeast: 4.5 },
    { against: 'nginx', atLeast: 1.2 },
    { against: 'haproxy', atLeast: 0.65 },
  ].map((floor) => ({ scenario: 'h2c-get-1k', lane: 'headgate', ...floor })),
  // A tunnel costs at most a quarter more than our own listener with the same encryption.
  { scenario: 'tunnel-get-1k', lane: 'tunnel', against: 'own-h2-tls', atLeast: 1 / 1.25 },
  ...['headgate', 'headgate-net'].flatMap((variant) =>
    ['hosts', 'paths'].map((spread) => ({
      scenario: 'rules',
      lane: `${variant}, 10000 ${spread}`,
      against: `${variant}, 10 ${spread}`,
      atLeast: flat,
    })),
  ),
]

/** An idle client connection costs at most this. */
export const idleKibAtMost = 12

/** Of the floors for this scenario, those that both of their lanes were measured for. */
export function judge(scenario: string, rows: readonly Row[]): FloorResult[] {
  return rows.flatMap((row): FloorResult[] => {
    if (row.kind === 'idle') {
      if (!row.lane.startsWith('headgate')) return []
      const measured = idleKibAtMost / row.kibPerConnection.median
      return [{ scenario, lane: row.lane, against: `${idleKibAtMost} KiB`, atLeast: 1, measured, holds: measured >= 1 }]
    }
    return floors.flatMap((floor) => {
      const measured = row.ratios[floor.against]
      if (floor.scenario !== scenario || floor.lane !== row.lane || measured === undefined) return []
      return [{ ...floor, measured, holds: measured >= floor.atLeast }]
    })
  })
}
