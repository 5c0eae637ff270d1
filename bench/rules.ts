/** The rules a variant is given, and where a client finds each of them. */
import type { Setup } from './variant.ts'

export interface RuleTarget {
  host: string
  /** Path prefix of the rule; empty when the host alone decides. */
  prefix: string
}

/** One entry per rule, in rule order. */
export function ruleTargets(setup: Pick<Setup, 'host' | 'rules'>): RuleTarget[] {
  const { count, spread } = setup.rules
  if (count === 1) return [{ host: setup.host, prefix: '' }]
  return Array.from({ length: count }, (_, i) =>
    spread === 'hosts'
      ? { host: `h${i}.${setup.host}`, prefix: '' }
      : { host: setup.host, prefix: `/team-${i % 100}/service-${i}` },
  )
}

/** At most `limit` of them, evenly spread from first to last: enough that no single answer can be remembered. */
export function sampleTargets(targets: readonly RuleTarget[], limit: number): RuleTarget[] {
  const step = Math.max(1, targets.length / limit)
  return Array.from(
    { length: Math.min(limit, targets.length) },
    (_, i) => targets[Math.floor(i * step)] ?? { host: '', prefix: '' },
  )
}
