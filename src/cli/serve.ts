/** Serving until a signal comes; shared by the commands that serve. */
import { exitCodes, type Io } from './io.ts'

/** The wish to end, from the moment on that somebody listens for it. */
export interface StopSignals {
  /** How often it was said. */
  readonly count: number
  readonly first: Promise<void>
  readonly second: Promise<void>
}

/** To be called before anything is opened: a signal in the middle of a start must not be lost. */
export function watchSignals(io: Io): StopSignals {
  let count = 0
  const tell: (() => void)[] = []
  const next = (): Promise<void> => new Promise((resolve) => tell.push(resolve))
  const [first, second] = [next(), next()]
  io.onStopSignal(() => tell[count++]?.())
  return {
    get count() {
      return count
    },
    first,
    second,
  }
}

/** What can be ended in order, or at once. */
export interface Stoppable {
  /** Resolves once everything is closed. */
  stop(): Promise<unknown>
  /** Ends what is in flight at once; a `stop()` under way then returns. */
  abort(): void
}

/** @returns the exit code: 0 after a drain, 1 when a second signal cut it short */
export async function serveUntilStopped(service: Stoppable, signals: StopSignals): Promise<number> {
  await signals.first
  void signals.second.then(() => service.abort())
  await service.stop()
  return signals.count > 1 ? exitCodes.failed : exitCodes.ok
}

/**
 * Waits for a start, unless somebody wants the end before.
 *
 * @returns undefined when the end came first; what comes up later all the same is ended by itself
 */
export async function unlessStopped<S extends Stoppable>(
  starting: Promise<S>,
  signals: StopSignals,
): Promise<S | undefined> {
  const service = await Promise.race([starting, signals.first.then(() => undefined)])
  if (service === undefined) void starting.then((late) => late.stop()).catch(() => {})
  return service
}

/** Each a line of its own, on the error output. */
export function complain(io: Io, reasons: readonly string[]): void {
  for (const reason of reasons) io.err(`headgate: ${reason}\n`)
}
