/** One rule of a GRPCRoute. @see Gateway API GRPCRouteRule */

import { convertBackendRefs, resolveMirror } from './backend-refs.ts'
import { ruleReporter } from './diagnostics.ts'
import { convertFilters, type FilterScope, grpcFilters } from './filters.ts'
import { convertGrpcMatches } from './grpc-matches.ts'
import { grpcRouteRule } from './manifests.ts'
import { read, type Reading } from './reading.ts'
import { identify, type RuleBody, type RuleContext, unsupported } from './rule.ts'

/**
 * Converts a rule. One that cannot be served as it is written still matches what it says and answers 500, of which a
 * gRPC client sees UNAVAILABLE: requests must not fall through to a rule that was never meant for them.
 *
 * @returns `undefined` for a rule of which no match can be read
 */
export function convertGrpcRule(value: unknown, index: number, context: RuleContext): RuleBody | undefined {
  const field = `spec.rules[${index}]`
  const report = ruleReporter(context.report, index)
  const reading: Reading = { field, report, consequence: 'the rule answers UNAVAILABLE', condition: unsupported }

  const spec = read(grpcRouteRule, value, { ...reading, consequence: 'the rule is left out' })
  if (spec === undefined) return undefined
  if (spec.sessionPersistence !== undefined) {
    report({
      level: 'warning',
      field: `${field}.sessionPersistence`,
      message: 'sessionPersistence is not supported; the rule is served without it',
    })
  }
  const { matches, failed } = convertGrpcMatches(spec.matches, {
    ...reading,
    field: `${field}.matches`,
    consequence: 'it matches nothing, and what else the rule matches is answered with UNAVAILABLE',
  })
  if (matches.length === 0) return undefined

  const scope: FilterScope = {
    ...reading,
    field: `${field}.filters`,
    types: grpcFilters,
    hasOnePrefix: false,
    resolveMirror: (reference, at) => resolveMirror(reference, at, context, report),
  }
  const filters = convertFilters(spec.filters, scope)
  const backends = convertBackendRefs(spec.backendRefs, false, scope, context, {
    ...reading,
    field: `${field}.backendRefs`,
  })
  if (backends?.length === 0 && filters !== undefined) {
    const message = 'The rule has no backend and answers UNAVAILABLE'
    report({ level: 'warning', field: `${field}.backendRefs`, message, fix: 'Add a backendRef' })
  }
  const identity = identify(index, spec.name, matches, context, reading)
  if (failed || filters === undefined || backends === undefined) return { ...identity, unavailableStatus: 500 }
  return { ...identity, ...(filters.length > 0 && { filters }), ...(backends.length > 0 && { backends }) }
}
