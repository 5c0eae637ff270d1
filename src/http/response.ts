/** A `Response` that is read only where somebody looks; the counterpart of `request.ts`. */
import type { Field } from '../runtime.ts'
import { bodyOfText, type Body } from './body.ts'
import type { HeaderEdits } from './edits.ts'
import { isFieldValue } from './fields.ts'
import { headOf, type Head } from './head.ts'
import { inspection, LazyHeaders } from './headers.ts'
import { BodyHolder } from './holder.ts'
import { bodyOfStream } from './stream.ts'
import type { RawStream } from './upgrade.ts'

/** The engines' own Response. Use it as a `Response`; the extra members are for the engines and `http/`. */
export class EngineResponse {
  readonly status: number
  readonly statusText: string
  head: Head
  readonly holder: BodyHolder
  /** The switched connection behind a 101. */
  readonly upgrade: RawStream | undefined
  #headers: LazyHeaders | undefined

  constructor(status: number, statusText: string, head: Head, holder: BodyHolder, upgrade?: RawStream) {
    this.status = status
    this.statusText = statusText
    this.head = head
    this.holder = holder
    this.upgrade = upgrade
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300
  }
  get redirected(): boolean {
    return false
  }
  get type(): string {
    return 'default'
  }
  get url(): string {
    return ''
  }
  get headers(): Headers {
    return (this.#headers ??= new LazyHeaders(this))
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

  /** A platform Response with its own copy of the body. @throws RangeError for a 1xx status, TypeError for a used body */
  clone(): Response {
    const body = this.holder.tee(this.head)
    const headers = this.head.fields() as [string, string][]
    return new Response(body, { status: this.status, statusText: this.statusText, headers })
  }

  get webSocket(): null {
    return null
  }
  get cf(): undefined {
    return undefined
  }
  [inspection](): unknown {
    return { status: this.status, statusText: this.statusText, headers: this.headers }
  }
  get [Symbol.toStringTag](): string {
    return 'Response'
  }
}
Object.setPrototypeOf(EngineResponse.prototype, Response.prototype)

/** Nobody will read it: lets go of its body, and of the connection that it switched to. Never throws. */
export function discard(response: Response): void {
  try {
    const own = asEngineResponse(response)
    own.holder.take()?.cancel()
    own.upgrade?.outgoing.fail({ kind: 'downstream-gone' })
  } catch {
    // Not a Response that could have been sent; nothing is held by it.
  }
}

export function engineResponse(response: Response): EngineResponse | undefined {
  return (response as unknown) instanceof EngineResponse ? (response as unknown as EngineResponse) : undefined
}

/**
 * A response of our own: cheap, and with headers that stay mutable.
 *
 * @param status 200 to 599
 * @param body   text, sent as UTF-8; Content-Length is added by the engine
 * @throws TypeError for a field that may not go out
 */
export function createResponse(status: number, fields: Iterable<Field>, body?: string): Response {
  return responseOf(status, '', headOf(fields), body === undefined ? undefined : bodyOfText(body))
}

/** @throws TypeError for a status or reason phrase that may not go out */
export function responseOf(
  status: number,
  statusText: string,
  head: Head,
  body: Body | undefined,
  upgrade?: RawStream,
): Response {
  if (!Number.isInteger(status) || status < 101 || status > 999) throw new TypeError(`invalid status ${status}`)
  if (!isFieldValue(statusText)) throw new TypeError('invalid reason phrase')
  return new EngineResponse(status, statusText, head, new BodyHolder(body), upgrade) as unknown as Response
}

/** The same response with other headers. The body is shared: use one of the two. */
export function withResponseHeaders(response: Response, edits: HeaderEdits): Response {
  const own = asEngineResponse(response)
  return new EngineResponse(
    own.status,
    own.statusText,
    own.head.edit(edits),
    own.holder,
    own.upgrade,
  ) as unknown as Response
}

/** An engine's Response made of a platform one, so that both kinds go the same way from here. */
export function asEngineResponse(response: Response): EngineResponse {
  const own = engineResponse(response)
  if (own) return own
  if (response.type === 'error' || response.status === 0) throw new TypeError('a network-error Response cannot be sent')
  const head = headOf(response.headers)
  const length = head.get('content-length')
  const body = response.body
    ? bodyOfStream(response.body, length !== null && /^\d+$/.test(length) ? Number(length) : undefined)
    : undefined
  const reason = isFieldValue(response.statusText) ? response.statusText : ''
  return new EngineResponse(response.status, reason, head, new BodyHolder(body))
}
