import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatGoDuration, parseGoDuration } from '../../src/config/go-duration.ts'

const hour = 3_600_000

describe('Go durations (time.ParseDuration)', () => {
  test.each([
    ['0', 0],
    ['0s', 0],
    ['+0s', 0],
    ['-0s', 0],
    ['10s', 10_000],
    ['500ms', 500],
    ['1m30s', 90_000],
    ['1h0m0s', hour],
    ['1.5h', 1.5 * hour],
    ['.5s', 500],
    ['5.s', 5000],
    ['+5s', 5000],
    ['-1s', -1000],
    ['1h15m30.918s', hour + 15 * 60_000 + 30_918],
    ['3000000us', 3000],
    ['3000000\u00b5s', 3000],
    ['3000000\u03bcs', 3000],
    ['5s5s', 10_000],
    ['0.3s', 300],
    ['1.1s', 1100],
  ])('%s is %d ms', (text, durationMs) => expect(parseGoDuration(text)).toBe(durationMs))

  test.each([
    ['100\u00b5s', 1],
    ['1ns', 1],
    ['1.2ms', 2],
    ['-1.2ms', -2],
  ])('%s rounds away from 0, which would switch a limit off', (text, durationMs) =>
    expect(parseGoDuration(text)).toBe(durationMs),
  )

  test.each([
    '',
    ' ',
    '1',
    '1.5',
    's',
    '.s',
    '-',
    '+',
    '1d',
    '1 s',
    '1S',
    '1m1',
    '--1s',
    '1e3s',
    '1,5s',
    '0x1s',
    ' 1s',
    '1s ',
  ])('%j is none', (text) => expect(parseGoDuration(text)).toBeUndefined())

  test.each(['2562048h', '9223372036855s', `${'9'.repeat(120)}h`, '1s'.repeat(100)])('%s is too long', (text) =>
    expect(parseGoDuration(text)).toBeUndefined(),
  )

  test.each([
    [0, '0s'],
    [1, '1ms'],
    [999, '999ms'],
    [1000, '1s'],
    [1500, '1.5s'],
    [90_000, '1m30s'],
    [60_000, '1m0s'],
    [hour, '1h0m0s'],
    [hour + 1, '1h0m0.001s'],
    [-1500, '-1.5s'],
    [100 * hour, '100h0m0s'],
  ])('%d ms is printed as Duration.String does: %s', (durationMs, text) =>
    expect(formatGoDuration(durationMs)).toBe(text),
  )

  test('what is printed is read back', () => {
    fc.assert(
      fc.property(fc.integer({ min: -(10 ** 12), max: 10 ** 12 }), (durationMs) => {
        expect(parseGoDuration(formatGoDuration(durationMs))).toBe(durationMs)
      }),
    )
  })
})
