/** Did anything grow? */
import type { Reading } from './watch.ts'

export interface Judgement {
  what: string
  early: number
  late: number
  limit: number
  holds: boolean
}

const lowest = (values: readonly number[]): number => Math.min(...values)
const highest = (values: readonly number[]): number => Math.max(...values)
const middle = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN

/**
 * Compares the last third of the time under load with the first, once a fifth has passed for warming up. The heap by its
 * lows, since what lies between two collections is not a leak. Resident memory by its highs: it only falls when a full
 * collection gives pages back, and whether a third has one is chance; what leaks lifts the highs as well. Files and
 * connections by their medians.
 *
 * @throws when there are too few readings to say anything
 */
export function judgeGrowth(readings: readonly Reading[]): Judgement[] {
  const settled = readings.slice(Math.ceil(readings.length / 5))
  const third = Math.floor(settled.length / 3)
  if (third < 2) throw new Error('too short to judge: at least 8 readings are needed')
  const [first, last] = [settled.slice(0, third), settled.slice(-third)]
  const compare = (
    what: string,
    read: (reading: Reading) => number | undefined,
    of: (values: readonly number[]) => number,
    factor: number,
    slack: number,
  ): Judgement[] => {
    const [before, after] = [first, last].map((part) => part.flatMap((reading) => read(reading) ?? []))
    if (!before?.length || !after?.length) return []
    const [early, late] = [of(before), of(after)]
    const limit = early * factor + slack
    return [{ what, early, late, limit, holds: late <= limit }]
  }
  return [
    ...compare('resident MiB, at most', (each) => each.residentMib, highest, 1.1, 4),
    ...compare('heap MiB, at least', (each) => each.heapMib, lowest, 1.1, 2),
    ...compare('open files', (each) => each.files, middle, 1.1, 8),
    ...compare('client connections', (each) => each.downstream, middle, 1.1, 8),
    ...compare('backend connections', (each) => each.upstream, middle, 1.1, 8),
  ]
}

/** When the clients have left, no client connection stays, and no file but those from before and the kept backend connections. */
export function judgeQuiet(before: Reading, after: Reading): Judgement[] {
  const row = (what: string, early: number, late: number, limit: number): Judgement => ({
    what,
    early,
    late,
    limit,
    holds: late <= limit,
  })
  return [
    row('client connections, afterwards', before.downstream, after.downstream, 0),
    row('open files, afterwards', before.files, after.files, before.files - before.upstream + after.upstream + 4),
  ]
}
