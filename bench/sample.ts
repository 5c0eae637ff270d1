/** What one measurement is asked for and what it tells. */
import type { Scenario } from './scenarios.ts'
import type { RuleSet, Running, Setup, Variant } from './variant.ts'

/** One row of a table: a variant, and what it was given to do. */
export interface Lane {
  name: string
  variant: Variant
  rules: RuleSet
}

export interface Plan {
  scenario: Scenario
  /** How often everything is started, and how often each row is measured then. */
  rounds: number
  turns: number
  seconds: number
  warmupSeconds: number
  proxyCore: number
  loadCore: number
}

export interface LoadSample {
  kind: 'load'
  requests: number
  seconds: number
  requestsPerSecond: number
  /** Absent where the load generator tells no percentiles. */
  p50Ms?: number
  p99Ms?: number
  /** The figures of the proxy; absent for the control. */
  proxy?: {
    cpuUs: number
    kernelShare: number
    /** Share of its core that the proxy used: well below 1, its client was the bottleneck. */
    coreShare: number
    /** Share of that core that somebody else used or that the hypervisor kept. */
    disturbance: number
    idleMib: number
    loadedMib: number
  }
  problems: string[]
}

export interface IdleSample {
  kind: 'idle'
  connections: number
  beforeMib: number
  afterMib: number
  kibPerConnection: number
  problems: string[]
}

export type Sample = LoadSample | IdleSample

/** A started variant, about to be measured. */
export interface Subject {
  plan: Plan
  lane: Lane
  setup: Setup
  running: Running
}
