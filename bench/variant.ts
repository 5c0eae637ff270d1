/** What is measured: something that stands between a client and the backend, or nothing at all. */

import type { get } from './client.ts'
import type { Load, LoadResult } from './load.ts'

export interface Availability {
  version?: string
  /** Why it cannot be measured on this machine; absent when it can. */
  missing?: string
}

/**
 * How requests come in: over HTTP/1.1; over cleartext HTTP/2 whose clients know beforehand; or on a few HTTP/2 connections
 * of our own client's, however those came about.
 */
export type Door = 'http1' | 'h2c' | 'links'

/** What a variant has to serve. */
export interface Setup {
  /** The one host it routes; other hosts are none of its business. */
  host: string
  door: Door
  backendPort: number
  /** The same backend over cleartext HTTP/2, for the control. */
  backendH2cPort: number
  /** Core it is pinned to. */
  core: number
  /** Core of whatever else it brings along. */
  loadCore: number
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
  /** Asks it one careful question; absent: over HTTP/1.1, at its port. */
  ask?: typeof get
  /** Sends load where no generator from outside can. */
  load?: (load: Load) => Promise<LoadResult>
  /** Root of the process tree that is charged; absent for the control, which has no proxy. */
  pid?: number
  stop(): Promise<void>
}

export interface Variant {
  name: string
  role: 'ours' | 'peer' | 'control'
  /** One line: what it is and how it is tuned. */
  summary: string
  /** Absent: HTTP/1.1 alone. */
  doors?: readonly Door[]
  available(): Promise<Availability>
  start(setup: Setup): Promise<Running>
}
