/**
 * A `Request` that is read only where somebody looks.
 *
 * `instanceof Request` holds and every member works. `method`, the target and the head are at hand; `headers`, `url`,
 * `body` and `signal` come into being when asked for. Filters change a message through {@link withHeaders} and
 * {@link withUrl}, which serve platform Requests as well.
 */
import type { Exchange } from '../runtime.ts'
import { ProxyFailure } from '../errors.ts'
import type { Body } from './body.ts'
import type { HeaderEdits } from './edits.ts'
import { isAuthority, isTarget } from './fields.ts'
import { headOf, type Head } from './head.ts'
import { inspection, LazyHeaders } from './headers.ts'
import { BodyHolder } from './holder.ts'
import { bodyOfStream } from './stream.ts'

/** What an engine knows of a request. */
export interface RequestParts {
  readonly method: string
  /** Origin-form (`/a%2Fb?x=1`) as received, or `*`. */
  readonly target: string
  /** `host` or `host:port` as received. */
  readonly authority: string
  readonly scheme: 'http' | 'https'
  readonly head: Head
  readonly body: Body | undefined
  readonly exchange: Exchange | undefined
}

/** The engines' own Request. Use it as a `Request`; the extra members are for the engines and `http/`. */
export class EngineRequest {
  readonly method: string
  readonly target: string
  readonly authority: string
  readonly scheme: 'http' | 'https'
  head: Head
  readonly exchange: Exchange | undefined
  readonly holder: BodyHolder
  #headers: LazyHeaders | undefined
  #signal: AbortSignal | undefined
  #url: string | undefined

  constructor(
    method: string,
    target: string,
    authority: string,
    scheme: 'http' | 'https',
    head: Head,
    holder: BodyHolder,
    exchange: Exchange | undefined,
  ) {
    this.method = method
    this.target = target
    this.authority = authority
    this.scheme = scheme
    this.head = head
    this.holder = holder
    this.exchange = exchange
  }

  /** Of a Host that makes no URL (`1.2.3.4.5`, `[:::]`): the plain text, so that looking at it throws nothing. */
  get url(): string {
    if (this.#url !== undefined) return this.#url
    const text = `${this.scheme}://${this.authority}${this.target === '*' ? '/*' : this.target}`
    return (this.#url = URL.canParse(text) ? new URL(text).href : text)
  }

  get headers(): Headers {
    return (this.#headers ??= new LazyHeaders(this))
  }

  get signal(): AbortSignal {
    if (this.#signal) return this.#signal
    const controller = new AbortController()
    this.exchange?.onAbort((error) => controller.abort(new ProxyFailure(error)))
    return (this.#signal = controller.signal)
  }

  /** This request in other words, of the same client. */
  derive(target: string, authority: string, head: Head, holder: BodyHolder = this.holder): EngineRequest {
    const made = new EngineRequest(this.method, target, authority, this.scheme, head, holder, this.exchange)
    made.#signal = this.#signal
    return made
  }

  /** Says when the client of a request without exchange has left. */
  followSignal(signal: AbortSignal): void {
    this.#signal = signal
  }

  get body(): ReadableStream<Uint8Array> | null {
    return this.holder.stream()
  }

  get bodyUsed(): boolean {
    return this.holder.used
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return this.holder.real(this.head).arrayBuffer()
  }
  async blob(): Promise<Blob> {
    return this.holder.blob(this.head)
  }
  bytes(): Promise<Uint8Array> {
    return this.holder.bytes(this.head)
  }
  async formData(): Promise<FormData> {
    return this.holder.real(this.head).formData()
  }
  async json(): Promise<unknown> {
    return this.holder.real(this.head).json()
  }
  async text(): Promise<string> {
    return this.holder.real(this.head).text()
  }
  textStream(): ReadableStream<string> {
    return this.holder.textStream(this.head)
  }

  /** A platform Request with its own copy of the body. @throws TypeError for methods that Fetch forbids, or a used body */
  clone(): Request {
    return genuineOf(this, this.holder.tee(this.head))
  }

  get cache(): string {
    return 'default'
  }
  get credentials(): string {
    return 'same-origin'
  }
  get destination(): string {
    return ''
  }
  get duplex(): string {
    return 'half'
  }
  get integrity(): string {
    return ''
  }
  get isHistoryNavigation(): boolean {
    return false
  }
  get isReloadNavigation(): boolean {
    return false
  }
  /** Node's. */
  get attribute(): undefined {
    return undefined
  }
  get keepalive(): boolean {
    return false
  }
  get mode(): string {
    return 'cors'
  }
  get redirect(): string {
    return 'manual'
  }
  get referrer(): string {
    return 'about:client'
  }
  get referrerPolicy(): string {
    return ''
  }
  get cf(): undefined {
    return undefined
  }
  get fetcher(): null {
    return null
  }
  [inspection](): unknown {
    return { method: this.method, url: this.url, headers: this.headers }
  }
  get [Symbol.toStringTag](): string {
    return 'Request'
  }
}
Object.setPrototypeOf(EngineRequest.prototype, Request.prototype)

/**
 * @throws TypeError when the target or the authority has bytes that may not go out
 */
export function createRequest(parts: RequestParts): Request {
  if (!isAuthority(parts.authority)) throw new TypeError('invalid authority')
  if (!isTarget(parts.target)) throw new TypeError('invalid request target')
  return new EngineRequest(
    parts.method,
    parts.target,
    parts.authority,
    parts.scheme,
    parts.head,
    new BodyHolder(parts.body),
    parts.exchange,
  ) as unknown as Request
}

/** The engines' own object behind a Request, or undefined for the platform's. */
export function engineRequest(request: Request): EngineRequest | undefined {
  return (request as unknown) instanceof EngineRequest ? (request as unknown as EngineRequest) : undefined
}

/** The origin-form target as received; from the URL for a platform Request. */
export function targetOf(request: Request): string {
  const own = engineRequest(request)
  if (own) return own.target
  const { pathname, search } = new URL(request.url)
  return pathname + search
}

/** Host and optional port as the client asked; from the URL for a platform Request. */
export function authorityOf(request: Request): string {
  return engineRequest(request)?.authority ?? new URL(request.url).host
}

/** The same request with other headers. The body is shared: use one of the two. */
export function withHeaders(request: Request, edits: HeaderEdits): Request {
  const own = engineRequest(request)
  if (own) return own.derive(own.target, own.authority, own.head.edit(edits)) as unknown as Request
  return asEngineRequest(request, { edits })
}

export interface UrlChange {
  readonly target?: string | undefined
  readonly authority?: string | undefined
}

/**
 * The same request for another target or authority (Host). The body is shared.
 *
 * @throws TypeError for a target or authority that may not go out
 */
export function withUrl(request: Request, change: UrlChange): Request {
  if (change.target !== undefined && !isTarget(change.target)) throw new TypeError('invalid request target')
  if (change.authority !== undefined && !isAuthority(change.authority)) throw new TypeError('invalid authority')
  const own = engineRequest(request)
  if (own)
    return own.derive(change.target ?? own.target, change.authority ?? own.authority, own.head) as unknown as Request
  return asEngineRequest(request, change)
}

/** An engine's Request made of a platform one, so that both kinds go the same way from here. */
export function asEngineRequest(request: Request, change: UrlChange & { readonly edits?: HeaderEdits } = {}): Request {
  const own = engineRequest(request)
  if (own) return request
  const url = new URL(request.url)
  const head = headOf(request.headers)
  const length = head.get('content-length')
  const body = request.body
    ? bodyOfStream(request.body, length !== null && /^\d+$/.test(length) ? Number(length) : undefined)
    : undefined
  const made = createRequest({
    method: request.method,
    target: change.target ?? url.pathname + url.search,
    authority: change.authority ?? url.host,
    scheme: url.protocol === 'https:' ? 'https' : 'http',
    head: change.edits ? head.edit(change.edits) : head,
    body,
    exchange: undefined,
  })
  engineRequest(made)?.followSignal(request.signal)
  return made
}

const genuine = new WeakMap<Request, Request>()

/**
 * The platform's own Request for a user's handler, materialised once; a platform Request is handed back.
 *
 * Fetch knows no GET or HEAD with a body: theirs is left unread.
 *
 * @throws TypeError for the methods that Fetch forbids (CONNECT, TRACE, TRACK)
 */
export function genuineRequest(request: Request): Request {
  const own = engineRequest(request)
  if (!own) return request
  const made = genuine.get(request) ?? genuineOf(own, own.body)
  genuine.set(request, made)
  return made
}

function genuineOf(own: EngineRequest, body: ReadableStream<Uint8Array> | null): Request {
  const bodiless = own.method === 'GET' || own.method === 'HEAD'
  const init = {
    method: own.method,
    headers: own.head.fields() as [string, string][],
    body: bodiless ? null : body,
    signal: own.signal,
    duplex: 'half',
    redirect: 'manual',
  }
  return new Request(own.url, init)
}
