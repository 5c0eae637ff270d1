/** What one proxy's transactions share. */
import type { Backend } from '../backends/backends.ts'
import type { PathNormalization } from '../routing/path.ts'
import type { Timers } from '../timers.ts'
import type { ClientFacts, ClientPolicy } from './client-facts.ts'
import type { RequestRecord } from './record.ts'

export interface ProxyContext {
  readonly timers: Timers
  /** Milliseconds since 1970 of a point in time on the clock of `timers`. */
  wallMs(atMs: number): number
  readonly random: () => number
  readonly clients: ClientPolicy
  readonly pathNormalization: PathNormalization
  readonly onRecord: ((record: RequestRecord) => void) | undefined
  /** Sends a copy and forgets it. `backend` is undefined when the mirror's target is of no use. */
  mirror(request: Request, backend: Backend | undefined, client: ClientFacts): void
  readonly stats: { inFlight: number; upgraded: number }
}
