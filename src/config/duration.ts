/**
 * Gateway API durations: one to four components, each 1 to 5 digits and a unit; the value is their sum. No fractions,
 * no signs, nothing below a millisecond, nothing above an hour.
 *
 * @see GEP-2257
 */
const DURATION = /^(?:\d{1,5}(?:h|m|s|ms)){1,4}$/
const COMPONENT = /(\d{1,5})(h|ms|m|s)/g

const UNITS_MS = [
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
] as const

const MS_PER_UNIT: Readonly<Record<string, number>> = Object.fromEntries(UNITS_MS)

/**
 * Reads a Gateway API duration.
 *
 * @returns whole milliseconds; `undefined` when the text breaks GEP-2257's grammar
 */
export function parseDuration(text: string): number | undefined {
  if (!DURATION.test(text)) return undefined
  let totalMs = 0
  for (const [, amount, unit] of text.matchAll(COMPONENT)) totalMs += Number(amount) * MS_PER_UNIT[unit!]!
  return totalMs
}

/**
 * Writes milliseconds as GEP-2257 prints them: descending units, each once and as large as possible; zero is `0s`.
 *
 * @param durationMs whole milliseconds, 0 or more
 */
export function formatDuration(durationMs: number): string {
  let text = ''
  let restMs = durationMs
  for (const [unit, unitMs] of UNITS_MS) {
    const amount = Math.floor(restMs / unitMs)
    restMs -= amount * unitMs
    if (amount > 0) text += `${amount}${unit}`
  }
  return text === '' ? '0s' : text
}
