/** What the command asks of the program around it. */
import type { Options } from '../options.ts'
import type { Runtime } from '../runtime.ts'
import type { Companions } from '../start.ts'

export interface Host {
  readonly runtime: Runtime
  readonly companions: Companions
}

export interface Io {
  /** Our own version. */
  readonly version: string
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  readonly readStdin: () => Promise<string>
  /** Calls `f` for each SIGINT and SIGTERM from now on. */
  readonly onStopSignal: (f: () => void) => void
  readonly openHost: (options: Pick<Options, 'logLevel' | 'fastSockets'>) => Promise<Host>
  /** The folder of the example manifests. */
  readonly examples: string
}

/** What the command ends with. */
export const exitCodes = {
  /** Done; or served, and stopped in order. */
  ok: 0,
  /** Refused or failed: an option, a file or an address that cannot be used; `convert --strict` with an error. */
  failed: 1,
  /** The command line is none of ours. */
  usage: 2,
} as const
