/** What a rule of an HTTPRoute and one of a GRPCRoute have in common. */

import type { Match, Rule } from '../config/proxy-config.ts'
import type { ResolveBackend } from './backends.ts'
import type { Report } from './diagnostics.ts'
import type { Referrer } from './grants.ts'
import { sectionName } from './manifests.ts'
import { read, type Reading } from './reading.ts'

export interface RuleContext {
  readonly route: Referrer & { readonly name: string }
  readonly resolveBackend: ResolveBackend
  readonly report: Report
}

/** Where a rule is served, which is the route's to say. */
export type Scene = Pick<Rule, 'listeners' | 'hostnames'>
export type RuleBody = Omit<Rule, keyof Scene>

/** @returns `undefined` for a rule of which no match can be read */
export type ConvertRule = (value: unknown, index: number, context: RuleContext) => RuleBody | undefined

export const unsupported = { type: 'Accepted', reason: 'UnsupportedValue' }

/** Which rule it is, and what it matches. */
export function identify(
  index: number,
  name: unknown,
  matches: readonly Match[],
  { route: { kind, namespace, name: routeName } }: RuleContext,
  reading: Reading,
): RuleBody {
  const ruleName =
    name === undefined
      ? undefined
      : read(sectionName, name, { ...reading, field: `${reading.field}.name`, consequence: 'it is ignored' })
  return {
    ...(ruleName !== undefined && { name: ruleName }),
    route: { kind, namespace, name: routeName, rule: index },
    matches: [...matches],
  }
}
