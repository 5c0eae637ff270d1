/** Many rounds to one row: medians, and ratios that are formed within a round before their median is taken. */
import type { IdleSample, LoadSample, Sample } from './sample.ts'

/** One round's samples by lane; a lane whose measurement failed is absent. */
export type Round = ReadonlyMap<string, Sample>

export interface LoadRow {
  kind: 'load'
  lane: string
  rounds: number
  cpuUs?: { median: number; min: number; max: number }
  kernelShare?: number
  coreShare?: number
  idleMib?: number
  loadedMib?: number
  bestRequestsPerSecond: number
  p50Ms?: number
  p99Ms?: number
  disturbance?: number
  /** The other lane's CPU per request divided by this one's: above 1, this one is cheaper. */
  ratios: Record<string, number>
}

export interface IdleRow {
  kind: 'idle'
  lane: string
  rounds: number
  kibPerConnection: { median: number; min: number; max: number }
  beforeMib: number
  afterMib: number
}

export type Row = LoadRow | IdleRow

/** Middle value, or the mean of the middle two; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2
}

function spread(values: readonly number[]): { median: number; min: number; max: number } {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) }
}

function cpuUs(sample: Sample | undefined): number | undefined {
  return sample?.kind === 'load' ? sample.proxy?.cpuUs : undefined
}

function ratios(lane: string, others: readonly string[], rounds: readonly Round[]): Record<string, number> {
  const found: Record<string, number> = {}
  for (const other of others) {
    const within = rounds.flatMap((round) => {
      const [theirs, ours] = [cpuUs(round.get(other)), cpuUs(round.get(lane))]
      return theirs === undefined || ours === undefined ? [] : [theirs / ours]
    })
    if (within.length > 0) found[other] = median(within)
  }
  return found
}

function loadRow(lane: string, samples: readonly LoadSample[]): Omit<LoadRow, 'ratios'> {
  const proxies = samples.flatMap((sample) => sample.proxy ?? [])
  return {
    kind: 'load',
    lane,
    rounds: samples.length,
    ...(proxies.length > 0 && {
      cpuUs: spread(proxies.map((proxy) => proxy.cpuUs)),
      kernelShare: median(proxies.map((proxy) => proxy.kernelShare)),
      coreShare: median(proxies.map((proxy) => proxy.coreShare)),
      disturbance: median(proxies.map((proxy) => proxy.disturbance)),
      idleMib: median(proxies.map((proxy) => proxy.idleMib)),
      loadedMib: median(proxies.map((proxy) => proxy.loadedMib)),
    }),
    bestRequestsPerSecond: Math.max(...samples.map((sample) => sample.requestsPerSecond)),
    ...latency('p50Ms', samples),
    ...latency('p99Ms', samples),
  }
}

function latency(name: 'p50Ms' | 'p99Ms', samples: readonly LoadSample[]): Partial<LoadRow> {
  const told = samples.flatMap((sample) => sample[name] ?? [])
  return told.length > 0 ? { [name]: median(told) } : {}
}

function idleRow(lane: string, samples: readonly IdleSample[]): IdleRow {
  return {
    kind: 'idle',
    lane,
    rounds: samples.length,
    kibPerConnection: spread(samples.map((sample) => sample.kibPerConnection)),
    beforeMib: median(samples.map((sample) => sample.beforeMib)),
    afterMib: median(samples.map((sample) => sample.afterMib)),
  }
}

/** @param references lanes that the others are compared with; one that was not measured gives no ratio */
export function summarise(lanes: readonly string[], references: readonly string[], rounds: readonly Round[]): Row[] {
  return lanes.flatMap((lane): Row[] => {
    const samples = rounds.flatMap((round) => round.get(lane) ?? [])
    const loads = samples.filter((sample) => sample.kind === 'load')
    const idles = samples.filter((sample) => sample.kind === 'idle')
    if (loads.length > 0) return [{ ...loadRow(lane, loads), ratios: ratios(lane, references, rounds) }]
    return idles.length > 0 ? [idleRow(lane, idles)] : []
  })
}
