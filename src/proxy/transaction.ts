/**
 * One request's life: match → filters → backend → filters → dispatch → response filters → record.
 *
 * Everything is done at once where nothing has to be waited for; the only promise of a plain request is the answer's.
 */
import type { Backend, Endpoint } from '../backends/backends.ts'
import { joinTarget } from '../backends/target.ts'
import { errorOf, ProxyFailure, type ProxyError } from '../errors.ts'
import type { CompiledFilters, MirrorTarget, RouteContext } from '../filters/filter.ts'
import type { Http1Connection, SendOptions } from '../http1/client.ts'
import { authorityOf, engineRequest, targetOf, withHeaders, withUrl } from '../http/request.ts'
import { asEngineResponse, withResponseHeaders } from '../http/response.ts'
import { match, type RouteMatch } from '../routing/table.ts'
import { normalizeTarget } from '../routing/path.ts'
import type { Exchange, Outcome } from '../runtime.ts'
import type { ClientFacts } from './client-facts.ts'
import type { ProxyContext } from './context.ts'
import { flagsOf, type RequestRecord } from './record.ts'
import { toResponse } from './respond.ts'
import type { ServedBackend, ServedRule, Snapshot } from './snapshot.ts'

type Answer = Response | Promise<Response>

export class Transaction implements RouteContext {
  readonly received: Request
  readonly exchange: Exchange | undefined
  /** What was matched and is forwarded. */
  target = ''
  private readonly proxy: ProxyContext
  private readonly snapshot: Snapshot
  private route: RouteMatch<ServedRule> | undefined
  private chosen: ServedBackend | undefined
  private endpoint: Endpoint | undefined
  private client: ClientFacts | undefined
  private attempts = 0
  private waited = false // a filter answered with a promise
  private upgraded = false
  private attemptStartedMs = 0
  private upstreamMs: number | undefined
  private error: ProxyError | undefined
  private readonly startedMs: number
  private readonly signal: AbortSignal | undefined

  /** @param signal tells that the client left, where there is no exchange */
  constructor(
    proxy: ProxyContext,
    snapshot: Snapshot,
    request: Request,
    exchange: Exchange | undefined,
    signal: AbortSignal | undefined,
  ) {
    this.proxy = proxy
    this.snapshot = snapshot
    this.received = request
    this.exchange = exchange
    this.signal = signal
    this.startedMs = exchange?.startedAtMs ?? proxy.timers.now()
  }

  // --- what filters may know

  get listener(): RouteContext['listener'] {
    return this.route?.listener
  }
  get pathPrefix(): string | undefined {
    return this.route?.pathPrefix
  }
  get clientScheme(): 'http' | 'https' {
    return this.client?.scheme ?? (new URL(this.received.url).protocol === 'https:' ? 'https' : 'http')
  }
  random(): number {
    return this.proxy.random()
  }
  mirror(request: Request, target: MirrorTarget): void {
    this.proxy.mirror(request, this.snapshot.mirrors.get(target), this.client)
  }

  // --- from the request to an answer

  run(): Answer {
    const { proxy, exchange, received } = this
    const head = engineRequest(received)!.head
    if (proxy.clients.hasLooped(head)) return this.fail({ kind: 'loop' })
    if (exchange) this.client = proxy.clients.factsOf(exchange, head, authorityOf(received))
    const target = normalizeTarget(targetOf(received), proxy.pathNormalization)
    if (target !== undefined) this.target = target
    else return this.fail({ kind: 'bad-request', status: 400, reason: 'the request target is not acceptable' })
    const request = target === targetOf(received) ? received : withUrl(received, { target })
    const route = match(this.snapshot.table, request, exchange?.entrance)
    if (!route) return this.fail({ kind: 'no-route' })
    this.route = route
    const { fault, filters } = route.target
    if (fault) return this.fail(fault)
    return this.filtered(request, filters, (filtered) => this.toBackend(filtered))
  }

  private toBackend(request: Request): Answer {
    const rule = this.route!.target
    const chosen = rule.choose(this.proxy.random())
    if (!chosen) return this.fail({ kind: 'unservable', status: 500, reason: 'no backend available for this route' })
    this.chosen = chosen
    if (chosen.fault && chosen.filters.empty) return this.fail(chosen.fault)
    return this.filtered(request, chosen.filters, (filtered) =>
      chosen.fault ? this.fail(chosen.fault) : this.send(filtered, chosen.backend!),
    )
  }

  /** Runs request filters, which may answer themselves, and goes on. */
  private filtered(request: Request, filters: CompiledFilters, next: (request: Request) => Answer): Answer {
    try {
      const { requestEdits } = filters
      if (!filters.request) return next(requestEdits ? withHeaders(request, requestEdits) : request)
      const result = filters.request(request, this)
      if (result instanceof Promise) {
        return this.settled(result, next)
      }
      return isResponse(result) ? result : next(result)
    } catch (thrown) {
      return this.fail(errorOf(thrown))
    }
  }

  private async settled(result: Promise<Request | Response>, next: (request: Request) => Answer): Promise<Response> {
    this.waited = true
    try {
      const request = await result
      return isResponse(request) ? request : await next(request)
    } catch (thrown) {
      return this.fail(errorOf(thrown))
    }
  }

  private send(request: Request, backend: Backend): Answer {
    const { target } = backend
    const outgoing =
      target.basePath === '' && target.baseQuery === ''
        ? request
        : withUrl(request, { target: joinTarget(target, targetOf(request)) })
    return this.attempt(outgoing, backend, false, undefined).then(
      (response) => this.answered(response),
      (thrown: unknown) => this.retryOrFail(thrown, outgoing, backend),
    )
  }

  /** One attempt at one endpoint. */
  private attempt(request: Request, backend: Backend, fresh: boolean, not: Endpoint | undefined): Promise<Response> {
    const { timers } = this.proxy
    const rule = this.route!.target
    this.attempts++
    // The first attempt mostly begins in the turn that the request came in.
    this.attemptStartedMs = this.attempts === 1 && !this.waited ? this.startedMs : timers.now()
    const how = this.sendOptions(rule)
    const endpoint = backend.endpoint(not)
    const kept = fresh ? undefined : endpoint?.pool.take()
    if (kept) {
      this.endpoint = endpoint
      return kept.send(request, how)
    }
    return this.connectAndSend(request, backend, endpoint, fresh, how)
  }

  private async connectAndSend(
    request: Request,
    backend: Backend,
    known: Endpoint | undefined,
    fresh: boolean,
    how: SendOptions,
  ): Promise<Response> {
    const endpoint = known ?? (await backend.resolve())
    this.endpoint = endpoint
    const late: ProxyError = how.deadlineError ?? { kind: 'timeout', limit: 'request', timeoutMs: 0 }
    const connection: Http1Connection = await endpoint.pool.acquire(fresh, how.deadlineMs ?? Infinity, late)
    if (this.gone) {
      endpoint.pool.giveBack(connection)
      throw new ProxyFailure({ kind: 'downstream-gone' })
    }
    return await connection.send(request, how)
  }

  private sendOptions(rule: ServedRule): SendOptions {
    const { requestTimeoutMs, backendTimeoutMs } = rule
    const { client, exchange, signal } = this
    const dropped = client?.dropped ?? 0
    const lines = client?.lines ?? ''
    if (requestTimeoutMs === 0 && backendTimeoutMs === 0) return { dropped, lines, exchange, signal }
    // GEP-1742: `request` covers the whole transaction, `backendRequest` each attempt.
    const requestDeadlineMs = requestTimeoutMs === 0 ? Infinity : this.startedMs + requestTimeoutMs
    const backendDeadlineMs = backendTimeoutMs === 0 ? Infinity : this.attemptStartedMs + backendTimeoutMs
    const deadlineError: ProxyError =
      requestDeadlineMs <= backendDeadlineMs
        ? { kind: 'timeout', limit: 'request', timeoutMs: requestTimeoutMs }
        : { kind: 'timeout', limit: 'backendRequest', timeoutMs: backendTimeoutMs }
    return {
      dropped,
      lines,
      exchange,
      signal,
      deadlineMs: Math.min(requestDeadlineMs, backendDeadlineMs),
      deadlineError,
    }
  }

  /** A kept connection that was dead already, and an endpoint that cannot be reached, get one other try. */
  private retryOrFail(thrown: unknown, request: Request, backend: Backend): Answer {
    const error = errorOf(thrown)
    if (this.attempts > 1 || error.kind !== 'upstream' || this.gone) return this.fail(error)
    const unsent = error.phase === 'connect' || error.phase === 'dns' || error.phase === 'tls'
    const stale = error.stale === true && isIdempotent(request.method)
    const other = unsent ? backend.endpoint(this.endpoint) : this.endpoint
    if (!stale && !(unsent && other !== undefined && other !== this.endpoint)) return this.fail(error)
    return this.attempt(request, backend, stale, unsent ? this.endpoint : undefined).then(
      (response) => this.answered(response),
      (again: unknown) => this.fail(errorOf(again)),
    )
  }

  /** The head of an answer is here. Backend's filters first, then the rule's. */
  private answered(response: Response): Answer {
    this.upstreamMs = this.proxy.timers.now() - this.attemptStartedMs
    if (response.status === 101) this.becomeSession()
    const own = this.chosen!.filters
    const outer = this.route!.target.filters
    if (own.empty && !outer.response && !outer.responseEdits) return response
    try {
      const inner = this.responseFiltered(response, own)
      return inner instanceof Promise
        ? inner.then((settled) => this.responseFiltered(settled, outer))
        : this.responseFiltered(inner, outer)
    } catch (thrown) {
      discard(response)
      return this.fail(errorOf(thrown))
    }
  }

  private responseFiltered(response: Response, filters: CompiledFilters): Answer {
    if (filters.response) return filters.response(response, this)
    return filters.responseEdits ? withResponseHeaders(response, filters.responseEdits) : response
  }

  private fail(error: ProxyError): Response {
    this.error = error
    const answer = toResponse(error, this.received)
    const inner = this.chosen?.filters.ownAnswer
    const outer = this.route?.target.filters.ownAnswer
    if (!inner && !outer) return answer
    try {
      const changed = inner ? inner(answer, this) : answer
      return outer ? outer(changed, this) : changed
    } catch {
      return answer // the filter that failed cannot have the last word
    }
  }

  private get gone(): boolean {
    return this.exchange?.gone ?? this.signal?.aborted ?? false
  }

  /** An upgraded connection is no request in flight any more. */
  private becomeSession(): void {
    if (!this.exchange || this.upgraded) return
    this.upgraded = true
    this.proxy.stats.inFlight--
    this.proxy.stats.upgraded++
  }

  /** The last phase: everything has been sent, or never will be. */
  finished(outcome: Outcome): void {
    const { stats, onRecord } = this.proxy
    if (this.upgraded) stats.upgraded--
    else stats.inFlight--
    onRecord?.(this.record(outcome))
  }

  private record(outcome: Outcome): RequestRecord {
    const { proxy, received, route, chosen, endpoint } = this
    const exchange = this.exchange!
    const durationMs = proxy.timers.now() - this.startedMs
    const error = this.error ?? outcome.error
    const own = engineRequest(received)!
    const queryAt = own.target.indexOf('?')
    return {
      startedAtWallMs: proxy.clock.wallNow() - durationMs,
      durationMs,
      upstreamMs: this.upstreamMs,
      method: own.method,
      host: own.authority,
      path: queryAt < 0 ? own.target : own.target.slice(0, queryAt),
      query: queryAt < 0 ? '' : own.target.slice(queryAt + 1),
      httpVersion: exchange.httpVersion,
      client: this.client?.address ?? exchange.peer.host,
      head: own.head,
      status: outcome.status,
      bytesReceived: outcome.bytesReceived,
      bytesSent: outcome.bytesSent,
      upgradeAsked: exchange.upgrade !== undefined,
      upgraded: outcome.status === 101,
      hostname: route?.hostname ?? '',
      route: route?.rule.route,
      ruleName: route?.rule.name,
      ruleIndex: route?.ruleIndex,
      backend: chosen?.label,
      endpoint: endpoint?.label,
      attempts: this.attempts,
      flags: flagsOf(error, this.attempts),
      error,
    }
  }
}

function isResponse(result: Request | Response): result is Response {
  return result instanceof Response
}

/** RFC 9110 section 9.2.2. */
function isIdempotent(method: string): boolean {
  return (
    method === 'GET' ||
    method === 'HEAD' ||
    method === 'OPTIONS' ||
    method === 'PUT' ||
    method === 'DELETE' ||
    method === 'TRACE'
  )
}

function discard(response: Response): void {
  const own = asEngineResponse(response)
  own.holder.take()?.cancel()
  own.upgrade?.outgoing.fail({ kind: 'downstream-gone' })
}
