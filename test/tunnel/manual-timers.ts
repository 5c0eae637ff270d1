import { createTimers, type Timers } from '../../src/timers.ts'

/** Real timers on a clock that moves only when a test says so. */
export interface ManualTimers extends Timers {
  advance(ms: number): void
}

export function createManualTimers(): ManualTimers {
  let nowMs = 0
  let beats: { periodMs: number; f: () => void }[] = []
  const timers = createTimers({
    now: () => nowMs,
    wallNow: () => nowMs,
    every(periodMs, f) {
      const beat = { periodMs, f }
      beats.push(beat)
      return () => {
        beats = beats.filter((other) => other !== beat)
      }
    },
  })
  return {
    ...timers,
    advance(ms) {
      const end = nowMs + ms
      while (nowMs < end) {
        nowMs = Math.min(end, nowMs + (beats[0]?.periodMs ?? ms))
        for (const beat of beats) beat.f()
      }
    },
  }
}
