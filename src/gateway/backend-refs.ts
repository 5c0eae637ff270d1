/** Where a rule's requests go, and its mirrors' copies. @see Gateway API HTTPBackendRef, GRPCBackendRef */

import type { Backend } from '../config/proxy-config.ts'
import { backendOf, type Failure, nowhere } from './backends.ts'
import type { Report } from './diagnostics.ts'
import { convertFilters, type FilterScope } from './filters.ts'
import { isRecord } from './manifest-files.ts'
import { backendRef, weight } from './manifests.ts'
import { read, readItems, type Reading, refuse } from './reading.ts'
import { type RuleContext, unsupported } from './rule.ts'

/** @returns `undefined` if the rule's traffic cannot be divided as it is written */
export function convertBackendRefs(
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
    const message = `All weights are 0: no backend can be chosen, and ${reading.consequence}`
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
    consequence: `its share of the requests is answered with ${context.route.kind === 'GRPCRoute' ? 'UNAVAILABLE' : '500'}`,
    condition: { type: 'ResolvedRefs', reason: 'InvalidKind' },
  }
  const spec = read(backendRef, item, own)
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
export function resolveMirror(
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
