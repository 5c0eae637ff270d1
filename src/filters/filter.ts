/** From a config's filters to what the data plane runs. To add a filter, write its file and add it to `factories`. */
import { findFilterFault } from '../config/filter-faults.ts'
import type { Filter as FilterConfig } from '../config/proxy-config.ts'
import { composeEdits, type HeaderEdits } from '../http/edits.ts'
import { withHeaders } from '../http/request.ts'
import { withResponseHeaders } from '../http/response.ts'
import { cors } from './cors.ts'
import { requestHeaderModifier } from './request-header-modifier.ts'
import { requestMirror } from './request-mirror.ts'
import { requestRedirect } from './request-redirect.ts'
import { responseHeaderModifier } from './response-header-modifier.ts'
import type { Filter, RouteContext } from './shape.ts'
import { urlRewrite } from './url-rewrite.ts'

export type { Filter, MirrorTarget, RouteContext } from './shape.ts'

/** By type: makes the filter of its config, which has been checked; undefined when there is no config for it. */
const factories: ReadonlyMap<string, (config: FilterConfig) => Filter | undefined> = new Map([
  [
    'RequestHeaderModifier',
    (config) => config.requestHeaderModifier && requestHeaderModifier(config.requestHeaderModifier),
  ],
  [
    'ResponseHeaderModifier',
    (config) => config.responseHeaderModifier && responseHeaderModifier(config.responseHeaderModifier),
  ],
  ['RequestRedirect', (config) => config.requestRedirect && requestRedirect(config.requestRedirect)],
  ['URLRewrite', (config) => config.urlRewrite && urlRewrite(config.urlRewrite)],
  ['RequestMirror', (config) => config.requestMirror && requestMirror(config.requestMirror)],
  ['CORS', (config) => config.cors && cors(config.cors)],
])

export type RequestResult = Request | Response | Promise<Request | Response>

/**
 * The filters of one rule or backendRef as one. Each half is either nothing, or edits, or a function; never two of them.
 */
export interface CompiledFilters {
  /** There is nothing to do for any request, response or answer. */
  readonly empty: boolean
  /** All that happens to a request, when that is the same for every one. */
  readonly requestEdits: HeaderEdits | undefined
  /** Runs the request's half, in listed order; a Response is the answer. Synchronous unless a filter is not. */
  readonly request: ((request: Request, context: RouteContext) => RequestResult) | undefined
  /** All that happens to a backend's response, when that is the same for every one. */
  readonly responseEdits: HeaderEdits | undefined
  /** Runs the response's half, in reverse order, on a response that came from a backend. */
  readonly response: ((response: Response, context: RouteContext) => Response | Promise<Response>) | undefined
  /** To be run on each answer that the gateway makes itself once this list's rule or backend is known. */
  readonly ownAnswer: ((response: Response, context: RouteContext) => Response) | undefined
}

/**
 * Compiles a list of filters, all or none: a filter must not be skipped (Gateway API HTTPRouteFilter.type).
 *
 * @returns why the requests that the filters are for must be answered with an error, when one cannot be applied
 */
export function compileFilters(configs: readonly FilterConfig[]): CompiledFilters | { readonly failed: string } {
  const filters: Filter[] = []
  for (const [index, config] of configs.entries()) {
    const fault = findFilterFault(config, `filters[${index}]`)
    if (fault) return { failed: `${fault.path} ${fault.message}` }
    const filter = factories.get(config.type)?.(config)
    if (!filter) return { failed: `filters[${index}].type is no filter we know` }
    filters.push(filter)
  }
  return join(filters)
}

/** @param filters in listed order */
export function join(filters: readonly Filter[]): CompiledFilters {
  const request = requestHalf(filters)
  const response = responseHalf(filters.toReversed())
  const ownAnswer = ownAnswersOf(filters)
  const empty = !request.edits && !request.run && !response.edits && !response.run && !ownAnswer
  return {
    empty,
    requestEdits: request.edits,
    request: request.run,
    responseEdits: response.edits,
    response: response.run,
    ownAnswer,
  }
}

interface Half<Run> {
  readonly edits: HeaderEdits | undefined
  readonly run: Run | undefined
}

function requestHalf(filters: readonly Filter[]): Half<NonNullable<CompiledFilters['request']>> {
  const interceptors = filters.flatMap((filter) => filter.intercept?.bind(filter) ?? [])
  const steps = mergeEdits<NonNullable<Filter['request']>>(
    filters.map((filter) => filter.requestEdits ?? filter.request?.bind(filter)),
  )
  const [first] = steps
  if (interceptors.length === 0) {
    if (first === undefined) return { edits: undefined, run: undefined }
    if (steps.length === 1 && typeof first === 'object') return { edits: first, run: undefined }
  }
  const run = steps.map((step) => (typeof step === 'object' ? (request: Request) => withHeaders(request, step) : step))
  const ownAnswer = ownAnswersOf(filters)

  const runFrom = (begin: number, given: Request, context: RouteContext): RequestResult => {
    let request = given
    for (let i = begin; i < run.length; i++) {
      const result = run[i]!(request, context)
      if (result instanceof Promise) return result.then((settled) => goOn(settled, i + 1, context))
      if (result instanceof Response) return ownAnswer ? ownAnswer(result, context) : result
      request = result
    }
    return request
  }
  const goOn = (result: Request | Response, next: number, context: RouteContext): RequestResult => {
    if (result instanceof Response) return ownAnswer ? ownAnswer(result, context) : result
    return runFrom(next, result, context)
  }
  return {
    edits: undefined,
    run: (request, context) => {
      for (let i = 0; i < interceptors.length; i++) {
        const answer = interceptors[i]!(context.received)
        if (answer) return answer
      }
      return runFrom(0, request, context)
    },
  }
}

/** @param filters in the order in which they are to run */
function responseHalf(filters: readonly Filter[]): Half<NonNullable<CompiledFilters['response']>> {
  const steps = mergeEdits<NonNullable<Filter['response']>>(
    filters.map((filter) => filter.responseEdits ?? filter.response?.bind(filter)),
  )
  const [first] = steps
  if (first === undefined) return { edits: undefined, run: undefined }
  if (steps.length === 1 && typeof first === 'object') return { edits: first, run: undefined }
  const run = steps.map((step) =>
    typeof step === 'object' ? (response: Response) => withResponseHeaders(response, step) : step,
  )
  const runFrom = (begin: number, given: Response, context: RouteContext): Response | Promise<Response> => {
    let response = given
    for (let i = begin; i < run.length; i++) {
      const result = run[i]!(response, context)
      if (result instanceof Promise) return result.then((settled) => runFrom(i + 1, settled, context))
      response = result
    }
    return response
  }
  return { edits: undefined, run: (response, context) => runFrom(0, response, context) }
}

function ownAnswersOf(filters: readonly Filter[]): CompiledFilters['ownAnswer'] {
  const steps = filters.toReversed().flatMap((filter) => filter.ownAnswer?.bind(filter) ?? [])
  if (steps.length === 0) return undefined
  return (given, context) => steps.reduce((response, step) => step(response, context), given)
}

/** Neighbouring edits become one step; what has no part in this half falls out. */
function mergeEdits<Step extends (...args: never) => unknown>(
  parts: readonly (HeaderEdits | Step | undefined)[],
): (HeaderEdits | Step)[] {
  const steps: (HeaderEdits | Step)[] = []
  for (const part of parts) {
    if (part === undefined) continue
    const last = steps.at(-1)
    if (typeof part === 'object' && typeof last === 'object')
      steps[steps.length - 1] = withoutRepeats(composeEdits(last, part))
    else steps.push(typeof part === 'object' ? withoutRepeats(part) : part)
  }
  return steps.filter((step) => typeof step === 'function' || step.removed.length > 0 || step.added.length > 0)
}

/** Each name to remove is looked for in every line of every message. */
function withoutRepeats({ removed, added }: HeaderEdits): HeaderEdits {
  return { removed: [...new Set(removed)], added }
}
