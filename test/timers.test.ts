import { describe, expect, test } from 'vitest'
import type { Clock } from '../src/runtime.ts'
import { createTimerEntry, createTimers, tickMs, type TimerEntry, type Timers } from '../src/timers.ts'

interface FakeClock extends Clock {
  /** Lets time pass, tick by tick. */
  pass(ms: number): void
  /** Lets time pass at once, as when the process was suspended. */
  leap(ms: number): void
  readonly running: number
}

function fakeClock(startMs = 1_000_000): FakeClock {
  let nowMs = startMs
  const beats = new Set<() => void>()
  const beat = (): void => {
    for (const each of beats) each()
  }
  return {
    now: () => nowMs,
    wallNow: () => nowMs,
    every(_, f) {
      beats.add(f)
      return () => void beats.delete(f)
    },
    pass(ms) {
      const end = nowMs + ms
      while (nowMs < end) {
        nowMs = Math.min(nowMs + tickMs, end)
        beat()
      }
    },
    leap(ms) {
      nowMs += ms
      beat()
    },
    get running() {
      return beats.size
    },
  }
}

function setUp(startMs?: number): {
  clock: FakeClock
  timers: Timers
  expired: string[]
  entry(name: string): TimerEntry
} {
  const clock = fakeClock(startMs)
  const expired: string[] = []
  return {
    clock,
    timers: createTimers(clock),
    expired,
    entry: (name) => createTimerEntry(() => expired.push(name)),
  }
}

describe('a deadline', () => {
  test.each([0, 1, tickMs - 1, tickMs, tickMs + 1, 1_000, 12_775, 12_800, 12_825, 60_000, 3_600_000])(
    'of %i ms passes not before its time, and soon after',
    (delayMs) => {
      for (const start of [0, 1, 1_000_000, 1_000_012.5]) {
        const { clock, timers, entry, expired } = setUp(start)
        timers.arm(entry('a'), delayMs)
        for (let passed = 0; passed + 5 < delayMs; passed += 5) {
          clock.leap(5)
          if (expired.length > 0) break
        }
        expect(expired).toEqual([])
        clock.pass(2 * tickMs + 10)
        expect(expired).toEqual(['a'])
      }
    },
  )

  test('passes once', () => {
    const { clock, timers, entry, expired } = setUp()
    timers.arm(entry('a'), 100)
    clock.pass(100_000)
    expect(expired).toEqual(['a'])
  })

  test('in the past passes at the next tick', () => {
    const { clock, timers, entry, expired } = setUp()
    timers.arm(entry('a'), -5_000)
    timers.armAt(entry('b'), 1)
    expect(expired).toEqual([])
    clock.pass(2 * tickMs)
    expect(expired.sort()).toEqual(['a', 'b'])
  })

  test('of infinity never passes, and disarms', () => {
    const { clock, timers, entry, expired } = setUp()
    const a = entry('a')
    timers.arm(a, 100)
    timers.arm(a, Infinity)
    clock.pass(100_000)
    expect(expired).toEqual([])
  })

  test.each<[string, (timers: Timers, entry: TimerEntry) => void]>([
    ['disarmed', (timers, entry) => timers.disarm(entry)],
    ['removed', (timers, entry) => timers.remove(entry)],
  ])('of an entry that was %s does not pass, and the entry can be armed again', (_, undo) => {
    const { clock, timers, entry, expired } = setUp()
    const a = entry('a')
    timers.arm(a, 100)
    undo(timers, a)
    clock.pass(1_000)
    expect(expired).toEqual([])
    timers.arm(a, 100)
    undo(timers, a)
    timers.arm(a, 100)
    clock.pass(200)
    expect(expired).toEqual(['a'])
  })

  test.each([
    [100, 10_000],
    [10_000, 100],
    [12_000, 11_000],
    [20_000, 1_000],
    [1_000, 30_000],
  ])('moved from %i ms to %i ms passes at the second time alone', (first, second) => {
    const { clock, timers, entry, expired } = setUp()
    const a = entry('a')
    timers.arm(a, first)
    clock.pass(50)
    timers.arm(a, second)
    clock.pass(second - tickMs)
    expect(expired).toEqual([])
    clock.pass(3 * tickMs)
    expect(expired).toEqual(['a'])
  })

  test('after a long sleep, whatever is due passes', () => {
    const { clock, timers, entry, expired } = setUp()
    for (let i = 0; i < 2_000; i++) timers.arm(entry(String(i)), i * 10)
    const late = entry('late')
    timers.arm(late, 100_000_000)
    clock.leap(1_000_000)
    expect(expired).toHaveLength(2_000)
    expect(late.deadlineMs).not.toBe(Infinity)
  })

  test('of each of many entries passes once and in time, whatever is done to the others', () => {
    const clock = fakeClock()
    const timers = createTimers(clock)
    let seed = 1
    const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below
    const due = new Map<TimerEntry, number>()
    const wrong: string[] = []
    const entries = Array.from({ length: 300 }, () => {
      const entry: TimerEntry = createTimerEntry(() => {
        const at = due.get(entry)
        due.delete(entry)
        if (at === undefined) wrong.push('expired without a deadline')
        else if (clock.now() < at) wrong.push('early')
        else if (clock.now() > at + 2 * tickMs) wrong.push('late')
        if (random(3) === 0) arm(entry, random(20_000))
        if (random(5) === 0) drop(entries[random(entries.length)]!, random(2) === 0)
      })
      return entry
    })
    function arm(entry: TimerEntry, delayMs: number): void {
      timers.arm(entry, delayMs)
      due.set(entry, clock.now() + delayMs)
    }
    function drop(entry: TimerEntry, remove: boolean): void {
      if (remove) timers.remove(entry)
      else timers.disarm(entry)
      due.delete(entry)
    }
    for (let step = 0; step < 4_000; step++) {
      for (let i = 0; i < 5; i++) {
        const entry = entries[random(entries.length)]!
        const what = random(4)
        if (what === 0) drop(entry, random(2) === 0)
        else arm(entry, random(what === 1 ? 50_000 : 500))
      }
      clock.pass(random(60))
    }
    expect(wrong).toEqual([])
    clock.pass(100_000)
    expect([...due.values()].filter((at) => at < clock.now() - 2 * tickMs)).toEqual([])
  })
})

describe('what expires may', () => {
  test('arm itself again', () => {
    const { clock, timers } = setUp()
    let count = 0
    const entry = createTimerEntry(() => {
      if (++count < 5) timers.arm(entry, 100)
    })
    timers.arm(entry, 100)
    clock.pass(2_000)
    expect(count).toBe(5)
  })

  test('take out its neighbours of the same slot', () => {
    const { clock, timers, entry, expired } = setUp()
    const others = Array.from({ length: 5 }, (_, i) => entry(String(i)))
    const killer = createTimerEntry(() => {
      for (const other of others) timers.remove(other)
    })
    timers.arm(others[0]!, 100)
    timers.arm(others[1]!, 100)
    timers.arm(killer, 100)
    timers.arm(others[2]!, 100)
    timers.arm(others[3]!, 100)
    clock.pass(1_000)
    expect(expired).toHaveLength(2) // those on one side of it had passed already
    expect(clock.running).toBe(0)
  })
})

test('the clock runs only while something is armed', () => {
  const { clock, timers, entry } = setUp()
  expect(clock.running).toBe(0)
  const a = entry('a')
  timers.arm(a, 1_000)
  timers.arm(entry('b'), 500)
  expect(clock.running).toBe(1)
  clock.pass(2_000)
  expect(clock.running).toBe(0)
  timers.arm(a, 100)
  expect(clock.running).toBe(1)
  timers.disarm(a)
  clock.pass(20_000)
  expect(clock.running).toBe(0)
})

test('nothing refers to an entry that was removed', () => {
  const { timers, entry } = setUp()
  const [a, b, c] = [entry('a'), entry('b'), entry('c')]
  for (const each of [a, b, c]) timers.arm(each, 100)
  timers.remove(b)
  expect(b).toMatchObject({ slot: -1, previous: undefined, next: undefined })
  expect([a.previous, a.next, c.previous, c.next]).not.toContain(b)
})

test('after a pause without timers, deadlines count from now', () => {
  const { clock, timers, entry, expired } = setUp()
  timers.arm(entry('a'), 100)
  clock.pass(1_000)
  clock.leap(10_000_000)
  timers.arm(entry('b'), 100)
  clock.pass(75)
  expect(expired).toEqual(['a'])
  clock.pass(75)
  expect(expired).toEqual(['a', 'b'])
})
