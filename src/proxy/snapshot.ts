/** A config, compiled with everything that its rules need to serve: one snapshot serves a request from begin to end. */
import { chooseIndex, sumWeights } from '../backends/choose.ts'
import type { Backend, Backends } from '../backends/backends.ts'
import { targetOfBackend, targetOfMirror, type BackendTarget } from '../backends/target.ts'
import type { ConfigIssue } from '../config/issues.ts'
import { joinPath } from '../config/issues.ts'
import type {
  Backend as BackendConfig,
  Filter as FilterConfig,
  ProxyConfig,
  RequestMirror,
  Rule,
} from '../config/proxy-config.ts'
import type { ProxyError } from '../errors.ts'
import { compileFilters, type CompiledFilters } from '../filters/filter.ts'
import { compile, type Entrance, type RoutingTable } from '../routing/table.ts'

/** A rule, ready to serve. */
export interface ServedRule {
  /** Answers every request; nothing else of the rule is looked at. */
  readonly fault: ProxyError | undefined
  readonly filters: CompiledFilters
  readonly backends: readonly ServedBackend[]
  readonly requestTimeoutMs: number
  readonly backendTimeoutMs: number
  /** What to say when one of them has passed. */
  readonly requestTimeout: ProxyError
  readonly backendTimeout: ProxyError
  /** The backend of every request, where there is but one to choose. */
  readonly only: ServedBackend | undefined
  /** Of the backends' weights; see `sumWeights`. */
  readonly sums: readonly number[]
}

export interface ServedBackend {
  readonly label: string
  /** Answers this backend's share. */
  readonly fault: ProxyError | undefined
  readonly filters: CompiledFilters
  /** Undefined only where there is a fault. */
  readonly backend: Backend | undefined
}

export interface Snapshot {
  readonly config: ProxyConfig
  readonly table: RoutingTable<ServedRule>
  readonly mirrors: ReadonlyMap<RequestMirror, Backend>
  /** Every backend of it, mirrors too. */
  readonly used: readonly Backend[]
}

export interface CompiledSnapshot {
  readonly snapshot: Snapshot
  readonly diagnostics: readonly ConfigIssue[]
}

/** Never throws: what cannot be served answers with an error of its own, and is named in the diagnostics. */
export function compileSnapshot(
  config: ProxyConfig,
  backends: Backends,
  entrances: readonly Entrance[],
): CompiledSnapshot {
  const used: Backend[] = []
  const mirrors = new Map<RequestMirror, Backend>()
  const issues: ConfigIssue[] = []
  // Many rules say the same: what serves them is made once, and is the warmer for it.
  const filtersByText = new Map<string, CompiledFilters>()
  const backendsByText = new Map<string, ServedBackend>()

  function backendOf(target: BackendTarget): Backend {
    const backend = backends.backend(target)
    used.push(backend)
    return backend
  }

  function filtersOf(filters: readonly FilterConfig[] | undefined, path: string): CompiledFilters | ProxyError {
    if (!filters || filters.length === 0) return noFilters
    const text = JSON.stringify(filters)
    const known = filtersByText.get(text)
    if (known) return known
    const compiled = compileFilters(filters)
    if ('failed' in compiled) {
      issues.push({ path, message: `${compiled.failed}; requests are answered with 500` })
      return unservable(500, 'a filter of this rule cannot be applied')
    }
    for (const { requestMirror } of filters) {
      if (requestMirror && !mirrors.has(requestMirror))
        mirrors.set(requestMirror, backendOf(targetOfMirror(requestMirror)))
    }
    filtersByText.set(text, compiled)
    return compiled
  }

  function serveBackend(config: BackendConfig, path: string): ServedBackend {
    const text = JSON.stringify({ ...config, weight: 0 })
    const served = backendsByText.get(text) ?? serveNewBackend(config, path)
    if (!served.fault) backendsByText.set(text, served)
    return served
  }

  function serveNewBackend(config: BackendConfig, path: string): ServedBackend {
    const label = config.name ?? config.url
    const broken = (fault: ProxyError): ServedBackend => ({ label, fault, filters: noFilters, backend: undefined })
    const filters = filtersOf(config.filters, joinPath(path, 'filters'))
    if ('kind' in filters) return broken(filters)
    // Its filters come first: a redirect needs no backend.
    if (config.unavailableStatus !== undefined)
      return { label, fault: unservable(config.unavailableStatus, 'backend unavailable'), filters, backend: undefined }
    // Gateway API BackendRef: no ready endpoints is 503 for that share.
    if (config.endpoints?.length === 0)
      return { label, fault: unservable(503, 'no ready endpoints'), filters, backend: undefined }
    return { label, fault: undefined, filters, backend: backendOf(targetOfBackend(config)) }
  }

  function serveRule(rule: Rule, index: number): ServedRule {
    const path = joinPath('rules', index)
    if (rule.unavailableStatus !== undefined)
      return servedRule(rule, unservable(rule.unavailableStatus, 'route unavailable'))
    const filters = filtersOf(rule.filters, joinPath(path, 'filters'))
    if ('kind' in filters) return servedRule(rule, filters)
    const served = (rule.backends ?? []).map((backend, i) => serveBackend(backend, joinPath(path, 'backends', i)))
    return servedRule(rule, undefined, filters, served)
  }

  const { table, diagnostics } = compile(config, serveRule, entrances)
  return { snapshot: { config, table, mirrors, used }, diagnostics: [...diagnostics, ...issues] }
}

function servedRule(
  rule: Rule,
  fault: ProxyError | undefined,
  filters: CompiledFilters = noFilters,
  backends: readonly ServedBackend[] = [],
): ServedRule {
  const sums = fault ? [] : sumWeights((rule.backends ?? []).map(({ weight }) => weight))
  const requestTimeoutMs = rule.timeouts?.requestMs ?? 0
  const backendTimeoutMs = rule.timeouts?.backendMs ?? 0
  // One literal, without spreads: what each request reads then lies side by side.
  return {
    fault,
    filters,
    only: backends.length === 1 && sums[0]! > 0 ? backends[0] : undefined,
    requestTimeoutMs,
    backendTimeoutMs,
    requestTimeout: { kind: 'timeout', limit: 'request', timeoutMs: requestTimeoutMs },
    backendTimeout: { kind: 'timeout', limit: 'backendRequest', timeoutMs: backendTimeoutMs },
    backends,
    sums,
  }
}

/** @param random in [0, 1) */
export function chooseBackend({ backends, sums }: ServedRule, random: number): ServedBackend | undefined {
  return backends[chooseIndex(sums, random)]
}

export const noFilters: CompiledFilters = compileFilters([]) as CompiledFilters

function unservable(status: number, reason: string): ProxyError {
  return { kind: 'unservable', status, reason }
}
