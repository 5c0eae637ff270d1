/** The command line of `npm run bench`. */
import { parseArgs } from 'node:util'

import { type Scenario, scenarios } from './scenarios.ts'
import type { Variant } from './variant.ts'
import { variants } from './variants.ts'

export interface Options {
  scenarios: readonly Scenario[]
  variants: readonly Variant[]
  rounds: number
  turns: number
  seconds: number
  warmupSeconds: number
  proxyCore: number
  loadCore: number
  json?: string
  check: boolean
  list: boolean
  help: boolean
}

export const usage = `Measures CPU per request of Headgate and of its peers, on loopback.

Usage: npm run bench -- [options]

  --scenario NAME,…   which tables (default: all; --list names them)
  --variants NAME,…   which rows (default: every one that this machine has)
  --rounds N          how often everything is started afresh (default 2)
  --turns N           measurements of each row in a round, forward and backward in turn (default 6)
  --seconds N         of each measurement, whole seconds (default 1)
  --warmup N          seconds of load before the first measurement of a round (default 5)
  --proxy-core N      core of the proxy (default 0)
  --load-core N       core of client and backend (default 1)
  --json FILE         where the result goes (default bench/results/<time>.json)
  --check             also fail when a floor of bench/floors.ts does not hold
  --list              name scenarios and variants, and what this machine lacks
  --help
`

/** @throws with a sentence for the user when a name or a number is not one */
export function readOptions(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      scenario: { type: 'string' },
      variants: { type: 'string' },
      rounds: { type: 'string', default: '2' },
      turns: { type: 'string', default: '6' },
      seconds: { type: 'string', default: '1' },
      warmup: { type: 'string', default: '5' },
      'proxy-core': { type: 'string', default: '0' },
      'load-core': { type: 'string', default: '1' },
      json: { type: 'string' },
      check: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  return {
    scenarios: chosen('--scenario', values.scenario, scenarios),
    variants: chosen('--variants', values.variants, variants),
    rounds: whole('--rounds', values.rounds, 1),
    turns: whole('--turns', values.turns, 1),
    seconds: whole('--seconds', values.seconds, 1),
    warmupSeconds: whole('--warmup', values.warmup, 1),
    proxyCore: whole('--proxy-core', values['proxy-core'], 0),
    loadCore: whole('--load-core', values['load-core'], 0),
    ...(values.json !== undefined && { json: values.json }),
    check: values.check,
    list: values.list,
    help: values.help,
  }
}

function whole(option: string, text: string, least: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least)
    throw new Error(`${option} wants a whole number of at least ${least}, not "${text}"`)
  return value
}

function chosen<T extends { name: string }>(option: string, text: string | undefined, all: readonly T[]): readonly T[] {
  if (text === undefined) return all
  const names = text.split(',').map((name) => name.trim())
  const unknown = names.filter((name) => !all.some((each) => each.name === name))
  if (unknown.length > 0) {
    throw new Error(`${option} knows no ${unknown.join(', ')}; it knows ${all.map((each) => each.name).join(', ')}`)
  }
  return all.filter((each) => names.includes(each.name))
}
