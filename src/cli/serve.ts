/** Serving until a signal comes; shared by the commands that serve. */
import type { Service } from '../start.ts'
import { exitCodes, type Io } from './io.ts'

/** @returns the exit code: 0 after a drain, 1 when a second signal cut it short */
export function serveUntilStopped(service: Service, io: Io): Promise<number> {
  return new Promise((resolve) => {
    let signals = 0
    io.onStopSignal(() => {
      signals++
      if (signals === 1) void service.stop().then(() => resolve(signals > 1 ? exitCodes.failed : exitCodes.ok))
      else service.abort()
    })
  })
}

/** Each a line of its own, on the error output. */
export function complain(io: Io, reasons: readonly string[]): void {
  for (const reason of reasons) io.err(`headgate: ${reason}\n`)
}
