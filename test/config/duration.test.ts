import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatDuration, parseDuration } from '../../src/config/duration.ts'

describe('Gateway API durations (GEP-2257)', () => {
  test.each([
    ['0h', 0, '0s'],
    ['0h0m0s', 0, '0s'],
    ['1h', 3_600_000, '1h'],
    ['30m', 1_800_000, '30m'],
    ['10s', 10_000, '10s'],
    ['500ms', 500, '500ms'],
    ['150m', 9_000_000, '2h30m'],
    ['7230s', 7_230_000, '2h30s'],
    ['10s30m1h', 5_410_000, '1h30m10s'],
    ['100ms200ms300ms', 600, '600ms'],
    ['2h30m', 9_000_000, '2h30m'],
    ['00010s', 10_000, '10s'],
    ['99999h', 359_996_400_000, '99999h'],
  ])('%s is %d ms, printed as %s', (text, durationMs, canonical) => {
    expect(parseDuration(text)).toBe(durationMs)
    expect(formatDuration(durationMs)).toBe(canonical)
  })

  test.each(['', '0', '1', '1m1', '1d', '1h30m10s20ms50h', '999999h', '1.5h', '-15m', '+1s', '1 s', '1us', '1S', 's'])(
    '%j is none',
    (text) => expect(parseDuration(text)).toBeUndefined(),
  )

  test('what is printed is read back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 99_999 * 3_600_000 }), (durationMs) => {
        expect(parseDuration(formatDuration(durationMs))).toBe(durationMs)
      }),
    )
  })
})
