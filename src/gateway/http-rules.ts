/** One rule of an HTTPRoute. @see Gateway API HTTPRouteRule and its CEL rules */

import type { Backend, Rule } from '../config/proxy-config.ts'
import { backendOf, type Failure, nowhere, type ResolveBackend } from './backends.ts'
import { type Report, ruleReporter } from './diagnostics.ts'
import { convertFilters, type FilterScope } from './filters.ts'
import type { Referrer } from './grants.ts'
import { httpBackendRef, httpRouteRule, sectionName, weight } from './manifests.ts'
import { convertMatches } from './matches.ts'
import { read, readItems, type Reading, refuse } from './reading.ts'
import { isRecord } from './manifest-files.ts'
import { convertTimeouts } from './timeouts.ts'

export interface RuleContext {
  readonly route: Referrer & { readonly name: string }
  readonly resolveBackend: ResolveBackend
  readonly report: Report
}

/** Where a rule is served, which is the route's to say. */
export type Scene = Pick<Rule, 'listeners' | 'hostnames'>
export type RuleBody = Omit<Rule, keyof Scene>

const unsupported = { type: 'Accepted', reason: 'UnsupportedValue' }

/**
 * Converts a rule. One that cannot be served as it is written still matches what it says and answers 500: requests
 * must not fall through to a rule that was never meant for them.
 *
 * @returns `undefined` for a rule of which no match can be read
 */
export function convertHttpRule(value: unknown, index: number, context: RuleContext): RuleBody | undefined {
  const { namespace, name, kind } = context.route
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

  const ruleName =
    spec.name === undefined
      ? undefined
      : read(sectionName, spec.name, { ...reading, field: `${field}.name`, consequence: 'it is ignored' })
  const identity = {
    ...(ruleName !== undefined && { name: ruleName }),
    route: { kind, namespace, name, rule: index },
    matches: [...matches],
  }
  if (failed || filters === undefined || timeouts === undefined || backends === undefined)
    return { ...identity, unavailableStatus: 500 }
  return {
    ...identity,
    ...(filters.length > 0 && { filters }),
    ...(backends.length > 0 && { backends }),
    ...((timeouts.requestMs ?? timeouts.backendMs) !== undefined && { timeouts }),
  }
}

/** @returns `undefined` if the rule's traffic cannot be divided as it is written */
function convertBackendRefs(
  value: unknown,
  redirects: boolean,
  scope: FilterScope,
  context: RuleContext,
  reading: Reading,
): Backend[] | undefined {
  const { field, report } = reading
  const items = readItems(value, reading, 16)
  if (items === undefined) return undefined
  if (items.length > 0 && redirects) {
    const message = `A rule that redirects sends nothing to a backend; ${reading.consequence}`
    refuse(reading, message, 'Remove backendRefs, or the RequestRedirect filter')
    return undefined
  }
  const backends = items.map((item, i) => convertBackendRef(item, { ...scope, field: `${field}[${i}]` }, context))
  if (backends.includes(undefined)) return undefined
  const usable = backends.filter((backend) => backend !== undefined)
  if (usable.length > 0 && usable.every((backend) => backend.weight === 0)) {
    const message = 'All weights are 0: no backend can be chosen, and the rule answers 500'
    report({ level: 'warning', field, message })
  }
  return usable
}

/** @returns `undefined` if its weight is unknown, so that nobody's share is known */
function convertBackendRef(item: unknown, scope: FilterScope, context: RuleContext): Backend | undefined {
  const { field, report } = scope
  const share = read(weight, isRecord(item) ? item['weight'] : undefined, { ...scope, field: `${field}.weight` })
  if (share === undefined) return undefined
  const own = {
    ...scope,
    consequence: 'its share of the requests is answered with 500',
    condition: { type: 'ResolvedRefs', reason: 'InvalidKind' },
  }
  const spec = read(httpBackendRef, item, own)
  if (spec === undefined) return { url: nowhere, weight: share, unavailableStatus: 500 }

  const { filters: filterList, weight: _, ...reference } = spec
  const resolution = context.resolveBackend(reference, context.route, field, report)
  if (resolution.failure !== undefined) {
    reportFailure(resolution.failure, own.consequence, report)
    return backendOf(resolution, share)
  }
  const filters = convertFilters(filterList, { ...own, field: `${field}.filters`, condition: unsupported })
  if (filters === undefined)
    return { name: resolution.target.name, url: resolution.target.url, weight: share, unavailableStatus: 500 }
  return { ...backendOf(resolution, share), ...(filters.length > 0 && { filters }) }
}

/** A mirror without a target is left out: it must not harm the requests it copies. @see HTTPRequestMirrorFilter.backendRef */
function resolveMirror(
  reference: Parameters<FilterScope['resolveMirror']>[0],
  field: string,
  context: RuleContext,
  report: Report,
): ReturnType<FilterScope['resolveMirror']> {
  const { target, failure } = context.resolveBackend(reference, context.route, field, report)
  if (failure === undefined) return target
  reportFailure(failure, 'nothing is mirrored to it', report)
  return undefined
}

function reportFailure({ field, message, reason, fix }: Failure, consequence: string, report: Report): void {
  const condition = { type: 'ResolvedRefs', reason }
  refuse({ field, report, consequence, condition }, `${message}; ${consequence}`, fix)
}
