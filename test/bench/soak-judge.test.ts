import { expect, test } from 'vitest'

import { judgeGrowth, judgeQuiet } from '../../bench/soak/judge.ts'
import type { Reading } from '../../bench/soak/watch.ts'

const reading = (over: Partial<Reading> = {}): Reading => ({
  seconds: 0,
  residentMib: 80,
  heapMib: 20,
  files: 60,
  downstream: 30,
  upstream: 20,
  ...over,
})

const run = (at: (i: number) => Partial<Reading>): Reading[] => Array.from({ length: 40 }, (_, i) => reading(at(i)))

const grown = (readings: readonly Reading[]): string[] =>
  judgeGrowth(readings)
    .filter((each) => !each.holds)
    .map((each) => each.what)

test.each<[string, (i: number) => Partial<Reading>, string[]]>([
  ['what stays as it is, holds', () => ({}), []],
  ['what swings between two collections, holds', (i) => ({ heapMib: 20 + (i % 5) * 10 }), []],
  ['what grows while warming up only, holds', (i) => ({ residentMib: Math.min(120, 60 + i * 10) }), []],
  ['half a MiB of heap per reading is a leak', (i) => ({ heapMib: 20 + i / 2 }), ['heap MiB, at least']],
  ['a MiB of memory outside of the heap per reading, too', (i) => ({ residentMib: 80 + i }), ['resident MiB, at most']],
  ['pages that one third gave back and the other did not, hold', (i) => ({ residentMib: i === 12 ? 40 : 80 }), []],
  ['a file per reading is a leak', (i) => ({ files: 60 + i }), ['open files']],
  ['a kept client connection per reading is one', (i) => ({ downstream: 30 + i }), ['client connections']],
  ['a kept backend connection per reading is one', (i) => ({ upstream: 20 + i }), ['backend connections']],
])('%s', (_, at, expected) => expect(grown(run(at))).toEqual(expected))

test('a heap that nobody tells is not judged', () => {
  const untold = run(() => ({})).map(({ heapMib: _, ...rest }): Reading => rest)
  expect(judgeGrowth(untold).map((each) => each.what)).not.toContain('heap MiB, at least')
})

test('too few readings are no verdict', () => expect(() => judgeGrowth([reading(), reading()])).toThrow(/too short/))

test.each([
  ['all clients gone, kept backend connections stay', { downstream: 0, upstream: 25, files: 45 }, []],
  ['one client connection stays', { downstream: 1, upstream: 0, files: 21 }, ['client connections, afterwards']],
  ['files stay that are no connection', { downstream: 0, upstream: 0, files: 40 }, ['open files, afterwards']],
])('afterwards: %s', (_, after, expected) => {
  const before = reading({ downstream: 1, upstream: 0, files: 20 })
  const failed = judgeQuiet(before, reading(after)).filter((each) => !each.holds)
  expect(failed.map((each) => each.what)).toEqual(expected)
})
