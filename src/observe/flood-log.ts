/** Tells of connections that were closed because their peer asked too much of us, and makes no flood of its own of it. */
import type { Address } from '../runtime.ts'
import type { Log } from '../telemetry.ts'
import { createTimerEntry, type Timers } from '../timers.ts'

const pauseMs = 10_000

/** @returns takes one; what comes less than ten seconds after a line becomes one line together, which names the last */
export function createFloodLog(log: Log, timers: Timers): (reason: string, peer: Address) => void {
  let pausing = false
  let others = 0
  let last: (() => void) | undefined
  const pause = createTimerEntry(() => {
    pausing = false
    last?.()
  })

  function tell(reason: string, peer: Address): void {
    log.warn('connection closed: its peer asked too much of us', {
      reason,
      peer: peer.host,
      others: others === 0 ? undefined : others,
    })
    others = 0
    last = undefined
    pausing = true
    timers.arm(pause, pauseMs)
  }

  return (reason, peer) => {
    if (!pausing) {
      tell(reason, peer)
      return
    }
    if (last) others++
    last = () => tell(reason, peer)
  }
}
