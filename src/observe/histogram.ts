/** A Prometheus histogram in one typed array. */
import type { MetricSample } from '../telemetry.ts'

/** Upper bounds of the buckets in seconds; the predecessor's. */
export const boundsSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const

const boundsMs = Float64Array.from(boundsSeconds, (bound) => bound * 1000)
const last = boundsMs.length

export interface Histogram {
  /** How many fell into each bucket alone; the last is above all bounds. */
  readonly counts: Float64Array
  sumMs: number
}

export function createHistogram(): Histogram {
  return { counts: new Float64Array(last + 1), sumMs: 0 }
}

export function observe(histogram: Histogram, durationMs: number): void {
  let bucket = 0
  while (bucket < last && durationMs > boundsMs[bucket]!) bucket++
  histogram.counts[bucket]!++
  histogram.sumMs += durationMs
}

/** In seconds, cumulative, as the exposition format has it. */
export function* samplesOf({ counts, sumMs }: Histogram, labels: MetricSample['labels']): Generator<MetricSample> {
  let total = 0
  for (const [bucket, bound] of boundsSeconds.entries()) {
    total += counts[bucket]!
    yield { suffix: '_bucket', labels: { ...labels, le: bound }, value: total }
  }
  total += counts[last]!
  yield { suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: total }
  yield { suffix: '_sum', labels, value: sumMs / 1000 }
  yield { suffix: '_count', labels, value: total }
}
