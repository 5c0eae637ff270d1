/**
 * One request's life: match → filters → backend → filters → dispatch → response filters → record.
 *
 * Everything is done at once where nothing has to be waited for; the only promise of a plain request is the answer's.
 */
import type { Backend, Endpoint } from '../backends/backends.ts'
import type { Patience } from '../backends/patience.ts'
import { joinTarget } from '../backends/target.ts'
import { errorOf, ProxyFailure, type ProxyError } from '../errors.ts'
import type { CompiledFilters, MirrorTarget, RouteContext } from '../filters/filter.ts'
import { engineRequest, targetOf, withHeaders, withUrl } from '../http/request.ts'
import { discard, withResponseHeaders } from '../http/response.ts'
import type { SendOptions } from '../http/send.ts'
import { match, type RouteMatch } from '../routing/table.ts'
import { normalizeTarget } from '../routing/path.ts'
import type { Exchange, Outcome } from '../runtime.ts'
import { believedHead, linesBeside, type ClientFacts } from './client-facts.ts'
import type { ProxyContext } from './context.ts'
import { backendFor } from './grpc.ts'
import { flagsOf, type RequestRecord } from './record.ts'
import { toResponse } from './respond.ts'
import { chooseBackend, type ServedBackend, type ServedRule, type Snapshot } from './snapshot.ts'

type Answer = Response | Promise<Response>

export class Transaction implements RouteContext {
  readonly received: Request
  readonly exchange: Exchange | undefined
  /** What was matched and is forwarded. */
  target = ''
  private readonly proxy: ProxyContext
  private readonly snapshot: Snapshot | undefined
  private route: RouteMatch<ServedRule> | undefined
  private chosen: ServedBackend | undefined
  /** Where the attempts go. */
  private backend: Backend | undefined
  private endpoint: Endpoint | undefined
  private client: ClientFacts | undefined
  private attempts = 0
  private settle: ((answer: Answer) => void) | undefined
  private outgoing: Request | undefined
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
    snapshot: Snapshot | undefined,
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
    this.proxy.mirror(request, this.snapshot!.mirrors.get(target), this.client!)
  }

  // --- from the request to an answer

  /** Never throws and never rejects: whatever goes wrong becomes an answer. */
  run(): Answer {
    try {
      return this.begin()
    } catch (thrown) {
      return this.fail(errorOf(thrown))
    }
  }

  private begin(): Answer {
    const { proxy, exchange, received, snapshot } = this
    if (!snapshot) return this.fail({ kind: 'no-config' })
    const own = engineRequest(received)!
    const { head } = own
    if (proxy.clients.hasLooped(head)) return this.fail({ kind: 'loop' })
    const client = proxy.clients.factsOf(exchange, head, own.authority, own.scheme)
    this.client = client
    const target = normalizeTarget(own.target, proxy.pathNormalization)
    if (target === undefined)
      return this.fail({ kind: 'bad-request', status: 400, reason: 'the request target is not acceptable' })
    this.target = target
    // What is matched, and what filters and backends see: the target as it is forwarded, no claims of strangers.
    const believed = believedHead(head, client)
    const request =
      target === own.target && believed === head
        ? received
        : (own.derive(target, own.authority, believed) as unknown as Request)
    const route = match(snapshot.table, request, exchange?.entrance)
    if (!route) return this.fail({ kind: 'no-route' })
    this.route = route
    const { fault, filters } = route.target
    if (fault) return this.fail(fault)
    if (!filters.request)
      return this.toBackend(filters.requestEdits ? withHeaders(request, filters.requestEdits) : request)
    const filtered = filters.request(request, this)
    if (filtered instanceof Promise) return this.settled(filtered, (settled) => this.toBackend(settled))
    return isResponse(filtered) ? filtered : this.toBackend(filtered)
  }

  private toBackend(request: Request): Answer {
    const chosen = this.route!.target.only ?? chooseBackend(this.route!.target, this.proxy.random())
    if (!chosen) return this.fail({ kind: 'unservable', status: 500, reason: 'no backend available for this route' })
    this.chosen = chosen
    const { filters } = chosen
    if (!filters.request)
      return this.toEndpoint(filters.requestEdits ? withHeaders(request, filters.requestEdits) : request)
    const filtered = filters.request(request, this)
    if (filtered instanceof Promise) return this.settled(filtered, (settled) => this.toEndpoint(settled))
    return isResponse(filtered) ? this.answeredByBackendFilter(filtered) : this.toEndpoint(filtered)
  }

  private async settled(result: Promise<Request | Response>, next: (request: Request) => Answer): Promise<Response> {
    this.waited = true
    try {
      const settled = await result
      if (!isResponse(settled)) return await next(settled)
      return this.chosen ? this.answeredByBackendFilter(settled) : settled
    } catch (thrown) {
      return this.fail(errorOf(thrown))
    }
  }

  /** The backend's own list has had its say; the rule's filters have theirs about whatever the gateway answers. */
  private answeredByBackendFilter(answer: Response): Response {
    const { ownAnswer } = this.route!.target.filters
    return ownAnswer ? ownAnswer(answer, this) : answer
  }

  private toEndpoint(request: Request): Answer {
    const { fault, backend: chosen } = this.chosen!
    if (fault || !chosen) return this.fail(fault ?? { kind: 'unservable', status: 500, reason: 'backend unavailable' })
    const backend = backendFor(request, chosen)
    const { target } = backend
    const outgoing =
      target.basePath === '' && target.baseQuery === ''
        ? request
        : withUrl(request, { target: joinTarget(target, targetOf(request)) })
    return new Promise<Response>((resolve) => {
      this.settle = resolve
      this.outgoing = outgoing
      this.backend = backend
      this.firstAttempt(outgoing, backend)
    })
  }

  /** On a kept connection where there is one: it tells this object, and no promise is made besides the answer's. */
  private firstAttempt(request: Request, backend: Backend): void {
    const endpoint = this.gone ? undefined : backend.endpoint()
    const connection = endpoint?.pool.take()
    if (connection === undefined) {
      this.attempt(request, backend, false, undefined).then(
        (response) => this.responded(response),
        (thrown: unknown) => this.broke(thrown),
      )
      return
    }
    this.endpoint = endpoint
    this.countAttempt()
    connection.begin(request, this.sendOptions(request), this)
  }

  /** @internal Of the first attempt. */
  responded(response: Response): void {
    this.settle!(this.answered(response))
  }

  /** @internal */
  broke(thrown: unknown): void {
    this.settle!(this.retryOrFail(thrown, this.outgoing!, this.backend!))
  }

  /**
   * One attempt at one endpoint.
   *
   * @param fresh true for a new connection
   * @param not   an endpoint to pass by
   */
  private attempt(request: Request, backend: Backend, fresh: boolean, not: Endpoint | undefined): Promise<Response> {
    if (this.gone) return Promise.reject(new ProxyFailure({ kind: 'downstream-gone' }))
    this.countAttempt()
    const how = this.sendOptions(request)
    const endpoint = backend.endpoint(not)
    const kept = fresh ? undefined : endpoint?.pool.take()
    if (kept) {
      this.endpoint = endpoint
      return kept.send(request, how)
    }
    return this.connectAndSend(request, backend, endpoint, fresh, how)
  }

  private countAttempt(): void {
    this.attempts++
    // The first attempt mostly begins in the turn that the request came in.
    this.attemptStartedMs = this.attempts === 1 && !this.waited ? this.startedMs : this.proxy.timers.now()
  }

  private async connectAndSend(
    request: Request,
    backend: Backend,
    known: Endpoint | undefined,
    fresh: boolean,
    how: SendOptions,
  ): Promise<Response> {
    const { exchange, signal } = this
    const patience: Patience = {
      deadlineMs: how.deadlineMs ?? Infinity,
      late: how.deadlineError,
      onLeave: (leave) => (exchange ? exchange.onAbort(leave) : signal?.addEventListener('abort', leave)),
    }
    const endpoint = known ?? (await backend.resolve(patience))
    this.endpoint = endpoint
    const connection = await endpoint.pool.acquire(patience, fresh)
    return await connection.send(request, how)
  }

  private sendOptions(request: Request): SendOptions {
    const { requestTimeoutMs, backendTimeoutMs, requestTimeout, backendTimeout } = this.route!.target
    const { exchange, signal } = this
    const { head } = engineRequest(request)!
    const { dropped, lines: given } = this.client!
    const lines = head.edits ? linesBeside(head, given) : given
    if (requestTimeoutMs === 0 && backendTimeoutMs === 0) return { dropped, lines, exchange, signal }
    // GEP-1742: `request` covers the whole transaction, `backendRequest` each attempt.
    const requestDeadlineMs = requestTimeoutMs === 0 ? Infinity : this.startedMs + requestTimeoutMs
    const backendDeadlineMs = backendTimeoutMs === 0 ? Infinity : this.attemptStartedMs + backendTimeoutMs
    const deadlineError = requestDeadlineMs <= backendDeadlineMs ? requestTimeout : backendTimeout
    const deadlineMs = Math.min(requestDeadlineMs, backendDeadlineMs)
    return { dropped, lines, exchange, signal, deadlineMs, deadlineError }
  }

  /**
   * Another try, once, where nothing of the request can have been acted upon: at another endpoint when this one could
   * not be reached, on a new connection when a kept one was dead already. RFC 9110 section 9.2.2
   */
  private retryOrFail(thrown: unknown, request: Request, backend: Backend): Answer {
    const error = errorOf(thrown)
    if (error.kind !== 'upstream') return this.fail(error)
    const unreached = error.phase === 'connect' || error.phase === 'tls'
    const stale = error.stale === true && (error.unprocessed === true || isIdempotent(request.method))
    if (unreached) {
      const other = backend.endpoint(this.endpoint)
      if (!other || other === this.endpoint) return this.fail(error)
    } else if (!stale) return this.fail(error)
    return this.attempt(request, backend, stale, unreached ? this.endpoint : undefined).then(
      (response) => this.answered(response),
      (again: unknown) => {
        // The body that was to be sent again has not been begun.
        engineRequest(request)!.holder.take()?.cancel()
        return this.fail(errorOf(again))
      },
    )
  }

  /** The head of an answer is here. Backend's filters first, then the rule's. */
  private answered(response: Response): Answer {
    this.upstreamMs = this.proxy.timers.now() - this.attemptStartedMs
    if (response.status === 101) this.becomeSession()
    const own = this.chosen!.filters
    const outer = this.route!.target.filters
    if (own.empty && !outer.response && !outer.responseEdits) return response
    const failed = (thrown: unknown): Response => {
      discard(response)
      return this.fail(errorOf(thrown))
    }
    try {
      const inner = this.responseFiltered(response, own)
      const filtered =
        inner instanceof Promise
          ? inner.then((settled) => this.responseFiltered(settled, outer))
          : this.responseFiltered(inner, outer)
      return filtered instanceof Promise ? filtered.catch(failed) : filtered
    } catch (thrown) {
      return failed(thrown)
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
    // Whoever was waiting heard that the client is gone; the engine knows why.
    const error = this.error?.kind === 'downstream-gone' ? (outcome.error ?? this.error) : (this.error ?? outcome.error)
    const own = engineRequest(received)!
    const queryAt = own.target.indexOf('?')
    return {
      startedAtWallMs: proxy.wallMs(this.startedMs),
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
      rule: route?.rule,
      ruleIndex: route?.ruleIndex,
      config: this.snapshot?.config,
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
