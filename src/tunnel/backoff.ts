/**
 * How long to wait before the next attempt: a random time below a bound that doubles with each failure up to a limit,
 * for as long as it takes.
 *
 * @see cloudflared, retry/backoffhandler.go
 */
export interface Backoff {
  /** Failures counted since the last success, at most `maxRetries`. */
  readonly retries: number
  /** Counts a failure and gives the wait, in [0, baseMs · 2^retries) milliseconds. */
  fail(): number
  /** A success: the next failure is the first again. */
  reset(): void
  /** A success that must last: the count starts again once a random time in [0, baseMs · 2^(retries+2)) is over. */
  resetAfterGrace(): void
}

export interface BackoffOptions {
  /** 1000 for one connection's attempts, 10000 for handing connections back to the connector as a whole. */
  readonly baseMs: number
  readonly maxRetries: number
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Returns a number in [0, 1). */
  readonly random: () => number
}

export const defaultMaxRetries = 5

export function createBackoff({ baseMs, maxRetries, now, random }: BackoffOptions): Backoff {
  let retries = 0
  let resetAtMs: number | undefined
  return {
    get retries() {
      return retries
    },
    fail() {
      if (resetAtMs !== undefined && now() >= resetAtMs) {
        retries = 0
        resetAtMs = undefined
      }
      if (retries < maxRetries) retries++
      return random() * baseMs * 2 ** retries
    },
    reset() {
      retries = 0
      resetAtMs = undefined
    },
    resetAfterGrace() {
      resetAtMs = now() + random() * baseMs * 2 ** (retries + 2)
    },
  }
}

/** The longest that an edge may tell us to stay away: its word is taken, but not for ever. */
const maxRetryAfterMs = 60 * 60_000

/** The wait that satisfies both our own backoff and what the edge asked for. */
export function waitAtLeast(backoffMs: number, retryAfterMs: number): number {
  return Math.max(backoffMs, Math.min(retryAfterMs, maxRetryAfterMs))
}
