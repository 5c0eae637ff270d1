/** A token bucket whose clock is read only when it runs dry. */
import type { Timers } from '../timers.ts'

export class Budget {
  private readonly timers: Timers
  private readonly burst: number
  private readonly perSecond: number
  private left: number
  private filledAtMs: number

  constructor(timers: Timers, burst: number, perSecond: number) {
    this.timers = timers
    this.burst = this.left = burst
    this.perSecond = perSecond
    this.filledAtMs = timers.now()
  }

  /** @returns false when there is nothing left to spend */
  spend(): boolean {
    if (this.left < 1) {
      const nowMs = this.timers.now()
      this.left = Math.min(this.burst, this.left + ((nowMs - this.filledAtMs) / 1000) * this.perSecond)
      this.filledAtMs = nowMs
      if (this.left < 1) return false
    }
    this.left--
    return true
  }

  /** Work that was worth something makes up for some that was not. */
  earn(tokens: number): void {
    this.left = Math.min(this.burst, this.left + tokens)
  }
}
