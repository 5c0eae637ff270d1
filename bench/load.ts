/** What a load generator is asked for and what it tells. */
import type { RuleTarget } from './rules.ts'
import type { LoadScenario } from './scenarios.ts'

export interface Load {
  scenario: LoadScenario
  port: number
  targets: readonly RuleTarget[]
  seconds: number
  core: number
  directory: string
  /** How many requests a second the same subject has answered just before. */
  expectedPerSecond?: number
}

export interface LoadResult {
  requests: number
  seconds: number
  /** What came in, at least all bodies. */
  bytes: number
  /** Absent where the generator tells no percentiles. */
  p50Us?: number
  p99Us?: number
  /** Everything that went wrong, by the generator's own names; empty when nothing did. */
  errors: Record<string, number>
}
