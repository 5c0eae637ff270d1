/** What the admin API asks of the program behind it. */
import type { WireConfig } from '../config/proxy-config.ts'
import type { PushOutcome } from '../config/push-outcome.ts'

export interface Readiness {
  readonly ready: boolean
  /** Why it is not. */
  readonly reason?: string
}

/** The connector of a tunnel, as `/ready` tells of it. */
export interface ConnectorReadiness {
  /** Connections that are registered, and alive. */
  readonly readyConnections: number
  /** UUID as text. */
  readonly connectorId: string
}

export interface AdminControl {
  readonly readiness: () => Readiness
  /** Absent where there is no tunnel. */
  readonly connector?: (() => ConnectorReadiness) | undefined
  /** Everything about the config, its source and the program's state that an operator may ask. Holds no secrets. */
  readonly describe: () => Readonly<Record<string, unknown>>
  /** 0 while there is none. */
  readonly version: () => number
  /** The config in its wire form, secrets redacted; absent while there is none. */
  readonly config: () => WireConfig | undefined
  /** Why pushed configs are not taken, or undefined where they are. */
  readonly refusesPushes: string | undefined
  /** @param force also an older version, or none */
  readonly push: (json: unknown, force: boolean) => Promise<PushOutcome>
}

/** What `/metrics` answers. */
export interface RenderedMetrics {
  readonly contentType: string
  readonly text: string
}
