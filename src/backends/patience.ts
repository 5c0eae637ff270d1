/** How long somebody waits for something that may never come, and who tells them to stop. */
import { ProxyFailure, type ProxyError } from '../errors.ts'
import { createTimerEntry, type Timers } from '../timers.ts'

export interface Patience {
  /** Clock milliseconds; `Infinity` where the route sets no limit. */
  readonly deadlineMs: number
  /** What to say after the deadline. */
  readonly late: ProxyError | undefined
  /** Calls `leave` when the client has left; at once if it has left already. */
  onLeave(leave: () => void): void
}

/** The limit that ends the wait: the route's or ours, whichever comes first. */
export function limitOf(
  patience: Patience,
  nowMs: number,
  waitTimeoutMs: number,
  ours: ProxyError,
): { readonly deadlineMs: number; readonly late: ProxyError } {
  const { deadlineMs, late } = patience
  return late !== undefined && deadlineMs <= nowMs + waitTimeoutMs
    ? { deadlineMs, late }
    : { deadlineMs: nowMs + waitTimeoutMs, late: ours }
}

/**
 * Waits for a promise, but not for longer than that. What it settles to afterwards is nobody's business here.
 *
 * @returns rejects with a {@link ProxyFailure} when the wait is over, otherwise as the promise does
 */
export function withPatience<T>(
  awaited: Promise<T>,
  patience: Patience,
  timers: Timers,
  limit: { readonly deadlineMs: number; readonly late: ProxyError },
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = createTimerEntry(() => reject(new ProxyFailure(limit.late)))
    timers.armAt(timer, limit.deadlineMs)
    patience.onLeave(() => {
      timers.remove(timer)
      reject(new ProxyFailure({ kind: 'downstream-gone' }))
    })
    awaited.then(
      (value) => {
        timers.remove(timer)
        resolve(value)
      },
      (error: unknown) => {
        timers.remove(timer)
        // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- handed on as it came
        reject(error)
      },
    )
  })
}
