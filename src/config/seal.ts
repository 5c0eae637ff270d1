/**
 * Makes a rule safe to serve: whatever in it cannot be done as written is replaced by the failure that Gateway API
 * asks for, and named. One bad rule never blocks a good one, and nothing bad is skipped silently.
 *
 * | What is bad | What happens |
 * |---|---|
 * | a rule's filter (type or values), a negative weight, a status | every request of the rule: 500 |
 * | a backend's URL, protocol, TLS, endpoints, filter | the backend's share: 500 |
 * | a mirror's target | the mirror is left out; the rule is served (Gateway API HTTPRequestMirrorFilter.backendRef) |
 * | an entry of `retry` | the entry is ignored |
 */
import { findFilterFault } from './filter-faults.ts'
import { joinPath, type Fault } from './issues.ts'
import type { Backend, Filter, Retry, Rule } from './proxy-config.ts'
import { findTargetFault } from './target-faults.ts'

export interface Sealed {
  /** The rule given when nothing is wrong; otherwise a copy that fails where it must. */
  readonly rule: Rule
  readonly issues: readonly Fault[]
}

const MAX_RETRIES = 100

/** @param path the rule's JSON path */
export function sealRule(rule: Rule, path: string): Sealed {
  const issues: Fault[] = []
  const filters = sealFilters(rule.filters, path, issues, 'every request of this rule is answered with 500')
  if (filters === 'failed') return { rule: failRule(rule), issues }
  if (rule.unavailableStatus !== undefined && !isAnswerStatus(rule.unavailableStatus)) {
    issues.push(statusFault(`${path}.unavailableStatus`))
    return { rule: failRule(rule), issues }
  }
  const backends: Backend[] = []
  let changed = filters !== rule.filters
  for (const [index, backend] of rule.backends?.entries() ?? []) {
    const at = joinPath(path, 'backends', index)
    if (!(backend.weight >= 0)) {
      issues.push({
        path: `${at}.weight`,
        message: 'must be 0 or more; the shares of this rule are unknown, so every request of it is answered with 500',
        fix: 'give 0 to a backend that is to get nothing',
      })
      return { rule: failRule(rule), issues }
    }
    const sealed = sealBackend(backend, at, issues)
    changed ||= sealed !== backend
    backends.push(sealed)
  }
  const retry = rule.retry && sealRetry(rule.retry, `${path}.retry`, issues)
  changed ||= retry !== rule.retry
  return { rule: changed ? { ...rule, filters, backends, retry } : rule, issues }
}

/** The rule as one that answers 500 to whatever it matches. */
export function failRule(rule: Rule): Rule {
  return { ...rule, unavailableStatus: 500, filters: [], backends: [], retry: undefined }
}

function sealBackend(backend: Backend, path: string, issues: Fault[]): Backend {
  // A backend that is never dialled needs no address: its sender could not find one.
  if (backend.unavailableStatus !== undefined) {
    if (isAnswerStatus(backend.unavailableStatus)) return backend
    issues.push(statusFault(`${path}.unavailableStatus`))
    return failBackend(backend)
  }
  const fault = findTargetFault(backend, backend.url, path, 'url')
  if (fault !== undefined) {
    issues.push({ ...fault, message: `${fault.message}; this backend's share is answered with 500` })
    return failBackend(backend)
  }
  const filters = sealFilters(backend.filters, path, issues, "this backend's share is answered with 500")
  if (filters === 'failed') return failBackend(backend)
  return filters === backend.filters ? backend : { ...backend, filters }
}

function failBackend(backend: Backend): Backend {
  const { name, weight } = backend
  return { name, url: '', weight, unavailableStatus: 500 }
}

function sealFilters(
  filters: Filter[] | undefined,
  path: string,
  issues: Fault[],
  consequence: string,
): Filter[] | undefined | 'failed' {
  let kept = filters
  for (const [index, filter] of filters?.entries() ?? []) {
    const at = joinPath(path, 'filters', index)
    const fault = findFilterFault(filter, at)
    if (fault !== undefined) {
      issues.push({ ...fault, message: `${fault.message}; ${consequence}` })
      return 'failed'
    }
    const mirror = filter.requestMirror
    if (filter.type !== 'RequestMirror' || mirror === undefined) continue
    const unreachable = findTargetFault(mirror, mirror.backendUrl, `${at}.requestMirror`, 'backendUrl')
    if (unreachable === undefined) continue
    issues.push({ ...unreachable, message: `${unreachable.message}; nothing is mirrored to it` })
    kept = kept?.filter((other) => other !== filter)
  }
  return kept
}

function sealRetry(retry: Retry, path: string, issues: Fault[]): Retry | undefined {
  const { codes, attempts } = retry
  if (attempts !== undefined && !(attempts >= 1 && attempts <= MAX_RETRIES)) {
    issues.push({
      path: `${path}.attempts`,
      message: `must be from 1 to ${MAX_RETRIES}; nothing is retried`,
      fix: 'leave retry out for no attempts',
    })
    return undefined
  }
  const usable = codes?.filter((code) => code >= 400 && code <= 599)
  if (usable?.length === codes?.length) return retry
  issues.push({
    path: `${path}.codes`,
    message: 'must be statuses from 400 to 599; the others are ignored',
    fix: 'remove the others',
  })
  return { ...retry, codes: usable }
}

function statusFault(path: string): Fault {
  return {
    path,
    message: 'must be a status from 200 to 599; 500 is used',
    fix: 'use 503, or leave it out',
  }
}

function isAnswerStatus(status: number): boolean {
  return Number.isInteger(status) && status >= 200 && status <= 599
}
