/** A Prometheus histogram as a stretch of a typed array: how many fell into each bucket alone, then the sum. */
import type { MetricSample } from '../telemetry.ts'

/** Upper bounds of the buckets in seconds; the predecessor's. */
export const boundsSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const

const boundsMs = Float64Array.from(boundsSeconds, (bound) => bound * 1000)
/** The bucket above all bounds. */
const last = boundsMs.length
const sumMs = last + 1

/** Numbers that a histogram takes. */
export const histogramWidth: number = sumMs + 1

/** @param at where the histogram begins */
export function observe(values: Float64Array, at: number, durationMs: number): void {
  let bucket = 0
  while (bucket < last && durationMs > boundsMs[bucket]!) bucket++
  values[at + bucket]!++
  values[at + sumMs]! += durationMs
}

/** In seconds, cumulative, as the exposition format has it. */
export function* samplesOf(values: Float64Array, at: number, labels: MetricSample['labels']): Generator<MetricSample> {
  let total = 0
  for (const [bucket, bound] of boundsSeconds.entries()) {
    total += values[at + bucket]!
    yield { suffix: '_bucket', labels: { ...labels, le: bound }, value: total }
  }
  total += values[at + last]!
  yield { suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: total }
  yield { suffix: '_sum', labels, value: values[at + sumMs]! / 1000 }
  yield { suffix: '_count', labels, value: total }
}
