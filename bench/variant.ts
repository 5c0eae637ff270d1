/** What is measured: something that stands between a client and the backend, or nothing at all. */

export interface Availability {
  version?: string
  /** Why it cannot be measured on this machine; absent when it can. */
  missing?: string
}

/** What a variant has to serve. */
export interface Setup {
  /** The one host it routes; other hosts are none of its business. */
  host: string
  backendPort: number
  /** Core it is pinned to. */
  core: number
  /** Bytes in the bodies that will pass, so that a peer can be given the buffers its operator would give it. */
  bodyBytes: number
  /** Number of routing rules; peers are only ever asked for 1. */
  rules: RuleSet
  /** A directory of its own, for configs and logs. */
  directory: string
}

export interface RuleSet {
  count: number
  /** Whether the rules are spread over as many hosts, or are all paths of the one host. */
  spread: 'hosts' | 'paths'
}

export interface Running {
  port: number
  /** Root of the process tree that is charged; absent for the control, which has no proxy. */
  pid?: number
  stop(): Promise<void>
}

export interface Variant {
  name: string
  role: 'ours' | 'peer' | 'control'
  /** One line: what it is and how it is tuned. */
  summary: string
  available(): Promise<Availability>
  start(setup: Setup): Promise<Running>
}
