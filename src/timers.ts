/**
 * One coarse timer wheel for every deadline of the process.
 *
 * Arming and disarming are a few stores: an entry that moves to a later deadline stays in its slot and is moved when
 * the hand gets there. The clock runs only while something is linked.
 */
import type { Clock } from './runtime.ts'

/** Granularity of every deadline. Timers never fire early. */
export const tickMs = 25

const slots = 512

/** Something with one deadline. Create it once, arm it often. */
export interface TimerEntry {
  /** Monotonic milliseconds; `Infinity` when disarmed. Owned by the wheel. */
  deadlineMs: number
  /** Slot number while linked, otherwise -1. Owned by the wheel. */
  slot: number
  previous: TimerEntry | undefined
  next: TimerEntry | undefined
  expire(): void
}

export interface Timers {
  /** Milliseconds of the clock below. */
  now(): number
  /** `delayMs` may be `Infinity`, which disarms. */
  arm(entry: TimerEntry, delayMs: number): void
  /** The same with a point in time, for those who have just asked the clock. */
  armAt(entry: TimerEntry, deadlineMs: number): void
  /** Cheap; the entry stays linked for a while. For entries that are armed again and again. */
  disarm(entry: TimerEntry): void
  /** Takes the entry out at once, so that nothing refers to it. For entries that are done. */
  remove(entry: TimerEntry): void
}

export function createTimerEntry(expire: () => void): TimerEntry {
  return { deadlineMs: Infinity, slot: -1, previous: undefined, next: undefined, expire }
}

export function createTimers(clock: Clock): Timers {
  const wheel: (TimerEntry | undefined)[] = Array.from({ length: slots }, () => undefined)
  let linked = 0
  let hand = 0 // number of the tick that has been worked through
  let stop: (() => void) | undefined

  function link(entry: TimerEntry, tick: number): void {
    const slot = tick % slots
    const first = wheel[slot]
    entry.slot = slot
    entry.previous = undefined
    entry.next = first
    if (first) first.previous = entry
    wheel[slot] = entry
    linked++
  }

  function unlink(entry: TimerEntry): void {
    if (entry.previous) entry.previous.next = entry.next
    else wheel[entry.slot] = entry.next
    if (entry.next) entry.next.previous = entry.previous
    entry.previous = entry.next = undefined
    entry.slot = -1
    linked--
  }

  /** The first tick that is not before the deadline, at most one turn of the wheel ahead. */
  function tickOf(deadlineMs: number): number {
    return Math.min(Math.max(Math.ceil(deadlineMs / tickMs), hand + 1), hand + slots - 1)
  }

  function turn(): void {
    const nowMs = clock.now()
    const until = Math.floor(nowMs / tickMs)
    if (until - hand > slots) hand = until - slots // a suspended process: every slot once is enough
    while (hand < until) {
      hand++
      let entry = wheel[hand % slots]
      while (entry) {
        const following: TimerEntry | undefined = entry.next
        if (entry.deadlineMs === Infinity) unlink(entry)
        else if (entry.deadlineMs <= nowMs) {
          unlink(entry)
          entry.deadlineMs = Infinity
          entry.expire()
          // What expired may have unlinked its neighbour: start over with this slot, whose expired entries are gone.
          entry = wheel[hand % slots]
          continue
        } else {
          unlink(entry)
          link(entry, tickOf(entry.deadlineMs))
        }
        entry = following
      }
    }
    if (linked === 0) {
      stop?.()
      stop = undefined
    }
  }

  function armAt(entry: TimerEntry, deadlineMs: number): void {
    entry.deadlineMs = deadlineMs
    if (deadlineMs === Infinity) return
    if (stop === undefined) {
      hand = Math.floor(clock.now() / tickMs)
      stop = clock.every(tickMs, turn)
    }
    const tick = tickOf(deadlineMs)
    if (entry.slot === -1) link(entry, tick)
    else {
      const linkedTick = hand + 1 + ((entry.slot - ((hand + 1) % slots) + slots) % slots)
      if (tick < linkedTick) {
        unlink(entry)
        link(entry, tick)
      }
    }
  }

  return {
    now: () => clock.now(),
    arm: (entry, delayMs) => armAt(entry, delayMs === Infinity ? Infinity : clock.now() + Math.max(delayMs, 0)),
    armAt,
    disarm(entry) {
      entry.deadlineMs = Infinity
    },
    remove(entry) {
      entry.deadlineMs = Infinity
      if (entry.slot !== -1) unlink(entry)
    },
  }
}
