/**
 * Go's duration strings, the wire form of every duration in a ProxyConfig.
 *
 *     duration = [ "+" | "-" ] ( "0" | 1*( number unit ) )
 *     number   = 1*DIGIT [ "." *DIGIT ] | "." 1*DIGIT
 *     unit     = "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h"
 *
 * @see https://pkg.go.dev/time#ParseDuration
 */
const DURATION = /^[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+)$/
const COMPONENT = /(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/g

const MS_PER_UNIT: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  '\u00b5s': 1e-3,
  '\u03bcs': 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}

/** Go counts nanoseconds in 64 signed bits, about 292 years. */
const MAX_MS = 2 ** 63 / 1e6

/**
 * Reads a Go duration string.
 *
 * A positive duration below the timer's resolution becomes 1 ms, and other fractions round up, so that no limit comes
 * out as 0, which would switch it off.
 *
 * @returns whole milliseconds, negative for a negative duration; `undefined` when the text is no Go duration
 */
export function parseGoDuration(text: string): number | undefined {
  if (text.length > 128 || !DURATION.test(text)) return undefined
  let totalMs = 0
  for (const [, amount, unit] of text.matchAll(COMPONENT)) totalMs += Number(amount) * MS_PER_UNIT[unit!]!
  if (totalMs >= MAX_MS) return undefined
  // Binary fractions must not push 0.3s over to 301 ms: forget what is below a hundredth of a nanosecond.
  const wholeMs = Math.ceil(Number(totalMs.toFixed(8)))
  return text.startsWith('-') && wholeMs !== 0 ? -wholeMs : wholeMs
}

/**
 * Writes milliseconds as Go prints a Duration: `1h0m0s`, `1m30s`, `1.5s`, `250ms`, `0s`.
 *
 * @param durationMs whole milliseconds
 */
export function formatGoDuration(durationMs: number): string {
  if (durationMs === 0) return '0s'
  const sign = durationMs < 0 ? '-' : ''
  let restMs = Math.abs(durationMs)
  if (restMs < 1000) return `${sign}${restMs}ms`
  const hours = Math.floor(restMs / 3_600_000)
  restMs -= hours * 3_600_000
  const minutes = Math.floor(restMs / 60_000)
  restMs -= minutes * 60_000
  const seconds = `${restMs / 1000}s`
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}`
  return minutes > 0 ? `${sign}${minutes}m${seconds}` : `${sign}${seconds}`
}
