/** One rule of an HTTPRoute. @see Gateway API HTTPRouteRule and its CEL rules */

import { convertBackendRefs, resolveMirror } from './backend-refs.ts'
import { ruleReporter } from './diagnostics.ts'
import { convertFilters, type FilterScope, httpFilters } from './filters.ts'
import { httpRouteRule } from './manifests.ts'
import { convertMatches } from './matches.ts'
import { read, type Reading } from './reading.ts'
import { identify, type RuleBody, type RuleContext, unsupported } from './rule.ts'
import { convertTimeouts } from './timeouts.ts'

/**
 * Converts a rule. One that cannot be served as it is written still matches what it says and answers 500: requests
 * must not fall through to a rule that was never meant for them.
 *
 * @returns `undefined` for a rule of which no match can be read
 */
export function convertHttpRule(value: unknown, index: number, context: RuleContext): RuleBody | undefined {
  const field = `spec.rules[${index}]`
  const report = ruleReporter(context.report, index)
  const reading: Reading = { field, report, consequence: 'the rule answers 500', condition: unsupported }

  const spec = read(httpRouteRule, value, { ...reading, consequence: 'the rule is left out' })
  if (spec === undefined) return undefined
  for (const key of ['retry', 'sessionPersistence'] as const) {
    if (spec[key] !== undefined)
      report({
        level: 'warning',
        field: `${field}.${key}`,
        message: `${key} is not supported; the rule is served without it`,
      })
  }
  const { matches, failed } = convertMatches(spec.matches, {
    ...reading,
    field: `${field}.matches`,
    consequence: 'it matches nothing, and what else the rule matches is answered with 500',
  })
  if (matches.length === 0) return undefined

  const scope: FilterScope = {
    ...reading,
    field: `${field}.filters`,
    types: httpFilters,
    hasOnePrefix: matches.length === 1 && matches[0]?.path?.type === 'PathPrefix',
    resolveMirror: (reference, at) => resolveMirror(reference, at, context, report),
  }
  const filters = convertFilters(spec.filters, scope)
  const timeouts = convertTimeouts(spec.timeouts ?? {}, { ...reading, field: `${field}.timeouts` })
  const redirects = filters?.some(({ type }) => type === 'RequestRedirect') ?? false
  const backends = convertBackendRefs(spec.backendRefs, redirects, scope, context, {
    ...reading,
    field: `${field}.backendRefs`,
  })
  if (backends?.length === 0 && filters !== undefined && !redirects) {
    const message = 'The rule has no backend and no redirect, and answers 500'
    report({ level: 'warning', field: `${field}.backendRefs`, message, fix: 'Add a backendRef' })
  }

  const identity = identify(index, spec.name, matches, context, reading)
  if (failed || filters === undefined || timeouts === undefined || backends === undefined)
    return { ...identity, unavailableStatus: 500 }
  return {
    ...identity,
    ...(filters.length > 0 && { filters }),
    ...(backends.length > 0 && { backends }),
    ...((timeouts.requestMs ?? timeouts.backendMs) !== undefined && { timeouts }),
  }
}
