/** Load by h2load (nghttp2): one thread, HTTP/2 with prior knowledge, several streams on each connection. */
import type { Load, LoadResult } from './load.ts'
import { output } from './processes.ts'
import { browserHead } from './scenarios.ts'

export async function h2loadVersion(): Promise<string | undefined> {
  const told = await output('h2load', ['--version']).catch(() => undefined)
  return told?.trim()
}

/**
 * How long it runs is told to it as a number of requests, since a run that its clock ends breaks streams off; only the
 * first, when nobody knows the rate yet, goes by the clock.
 */
function amount({ scenario, seconds, expectedPerSecond }: Load): string[] {
  if (expectedPerSecond === undefined) return [`-D${seconds}`]
  return [`-n${Math.max(scenario.connections * 100, Math.round(expectedPerSecond * seconds))}`]
}

/** @throws when h2load is missing or tells no result */
export async function runH2load(load: Load): Promise<LoadResult> {
  const { scenario, port, targets } = load
  const [target] = targets
  if (targets.length !== 1 || !target || scenario.method !== 'GET' || scenario.traced)
    throw new Error('h2load is only asked for equal GETs here')
  const head = { ':authority': target.host, ...(scenario.browserHead ? browserHead : {}) }
  const told = await output('taskset', [
    '-c',
    String(load.core),
    'h2load',
    '-t1',
    `-c${scenario.connections}`,
    `-m${scenario.streams ?? 1}`,
    ...amount(load),
    ...Object.entries(head).flatMap(([name, value]) => ['-H', `${name.toLowerCase()}: ${value}`]),
    `http://127.0.0.1:${port}${target.prefix}${scenario.path}`,
  ])
  return readH2load(told, load.expectedPerSecond !== undefined)
}

const units: Readonly<Record<string, number>> = {
  us: 1e-6,
  ms: 1e-3,
  s: 1,
  m: 60,
  '': 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
}

/**
 * @param whole false for a run that was ended by the clock: what was under way then is no error
 * @throws when it is not what h2load says at its end
 */
export function readH2load(told: string, whole: boolean): LoadResult {
  const time = /^finished in ([\d.]+)(us|ms|s|m),/m.exec(told)
  const counts =
    /^requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$/m.exec(
      told,
    )
  const statuses = /^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$/m.exec(told)
  const data = /\((\d+)\) data$/m.exec(told)
  if (!time || !counts || !statuses || !data) throw new Error(`h2load told no result:\n${told}`)
  const [succeeded = 0, failed = 0, errored = 0, timeout = 0] = counts.slice(1).map(Number)
  const [ok = 0] = statuses.slice(1).map(Number)
  const errors = { status: succeeded - ok, ...(whole && { failed, errored, timeout }) }
  return {
    requests: ok,
    seconds: Number(time[1]) * (units[time[2] ?? ''] ?? NaN),
    bytes: Number(data[1]),
    errors: Object.fromEntries(Object.entries(errors).filter(([, count]) => count > 0)),
  }
}
