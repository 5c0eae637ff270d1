/** A message's body in its two lives: bytes in passing until somebody touches it, then a platform stream. */
import type { Body } from './body.ts'
import type { Head } from './head.ts'
import { bodyOfStream, streamOf } from './stream.ts'
import { followTrailers } from './trailers.ts'

export class BodyHolder {
  private passing: Body | undefined
  private taken = false
  private stand: Response | undefined
  private readonly length: number | undefined

  constructor(body: Body | undefined) {
    this.passing = body
    this.length = body?.length
  }

  /** The body for the next engine, or undefined when there is none. Takes it: call once. */
  take(): Body | undefined {
    if (this.stand && !this.passing) {
      const { body, bodyUsed } = this.stand
      if (bodyUsed) return spentBody
      return body ? bodyOfStream(body, this.length) : undefined
    }
    const body = this.passing
    this.taken ||= body !== undefined
    this.passing = undefined
    return body
  }

  /** Puts back a body that was taken and not begun, or one that begins anew. */
  restore(body: Body): void {
    this.passing = body
    this.taken = false
  }

  /** The untaken body, for a look at its length. */
  get untouched(): Body | undefined {
    return this.passing
  }

  get exists(): boolean {
    return this.passing !== undefined || (this.stand !== undefined && this.stand.body !== null)
  }

  get used(): boolean {
    return this.taken || (this.stand?.bodyUsed ?? false)
  }

  stream(): ReadableStream<Uint8Array> | null {
    return this.passing === undefined && this.stand === undefined ? null : this.real(undefined).body
  }

  /** A platform Response that carries the body, for its `text()`, `json()` and friends. */
  real(head: Head | undefined): Response {
    if (this.stand) return this.stand
    if (this.taken) throw new TypeError('body has been used already')
    const type = head?.get('content-type')
    this.stand = new Response(
      this.passing ? streamOf(this.passing) : null,
      type ? { headers: { 'content-type': type } } : {},
    )
    this.passing = undefined
    return this.stand
  }

  async bytes(head: Head): Promise<Uint8Array> {
    return new Uint8Array(await this.real(head).arrayBuffer())
  }

  /** Not the platform's own: Bun forgets the type of a body that is a stream. */
  async blob(head: Head): Promise<Blob> {
    return new Blob([await this.real(head).arrayBuffer()], { type: head.get('content-type') ?? '' })
  }

  /** @throws TypeError when the body is used */
  textStream(head: Head): ReadableStream<string> {
    if (this.used) throw new TypeError('body has been used already')
    const { body } = this.real(head)
    return (body ?? new Blob([]).stream()).pipeThrough(new TextDecoderStream())
  }

  /** A second stream with the same bytes; this one keeps the first. @throws TypeError when the body is used */
  tee(head: Head): ReadableStream<Uint8Array> | null {
    if (this.used) throw new TypeError('body has been used already')
    if (!this.exists) return null
    const stand = this.real(head)
    const first = stand.body!
    const copy = stand.clone().body!
    followTrailers(stand.body!, first)
    followTrailers(copy, first)
    return copy
  }
}

/** What is left of a body that somebody has read: nothing that could be sent as if it were the whole. */
const spentBody: Body = {
  length: undefined,
  start: (sink) => sink.fail({ kind: 'filter-failed', reason: 'the body has been read already' }),
  resume() {},
  cancel() {},
}
