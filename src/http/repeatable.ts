/**
 * A body that can be sent once more, where a peer says that it has not acted on the request (RFC 9113 section 8.7): what
 * has gone out is remembered for as long as it is little.
 */
import type { ProxyError } from '../errors.ts'
import type { Body, BodySink } from './body.ts'
import type { Head } from './head.ts'

/** Most calls and forms are smaller; of uploads nothing is kept beyond it. */
export const maxRepeatedBytes = 65_536

export class RepeatableBody implements Body, BodySink {
  readonly length: number | undefined
  private readonly source: Body
  private sink: BodySink | undefined
  /** The sink is to have what comes: it has all that came before. */
  private flowing = false
  /** What has gone out; undefined once that is too much, or no longer wanted. */
  private sent: Uint8Array[] | undefined = []
  private sentBytes = 0
  /** The first consumer is gone, and there may be a second. */
  private between = false
  /** What the source lends us meanwhile. */
  private held: { readonly bytes: Uint8Array; readonly start: number; readonly end: number } | undefined
  /** The source waits for `resume`. */
  private waiting = false
  private ending: { readonly trailers: Head | undefined } | { readonly error: ProxyError } | undefined

  constructor(source: Body) {
    this.source = source
    this.length = source.length
  }

  /** Whether all that has gone out is here still. */
  get isWhole(): boolean {
    return this.sent !== undefined && !(this.ending && 'error' in this.ending)
  }

  /** There is an answer: nothing has to be remembered from here on. */
  forget(): void {
    this.sent = undefined
    if (!this.between) return
    this.between = false
    this.source.cancel()
  }

  /** The same body from its beginning, for one more consumer. Only while it is whole. */
  again(): Body {
    const sent = this.sent!
    this.sent = undefined
    this.flowing = this.between = false
    return {
      length: this.length,
      start: (sink) => {
        this.sink = sink
        if (this.sentBytes === 0 || sink.data(joined(sent, this.sentBytes), 0, this.sentBytes)) this.goOn()
      },
      resume: () => {
        if (this.flowing) this.resume()
        else this.goOn()
      },
      cancel: (reason) => this.source.cancel(reason),
    }
  }

  // --- for the first consumer

  start(sink: BodySink): void {
    this.sink = sink
    this.flowing = true
    this.source.start(this)
  }

  resume(): void {
    this.waiting = false
    this.source.resume()
  }

  cancel(reason?: ProxyError): void {
    this.flowing = false
    if (this.isWhole && reason?.kind === 'upstream' && reason.unprocessed) this.between = true
    else this.source.cancel(reason)
  }

  // --- from the source

  data(bytes: Uint8Array, start: number, end: number): boolean {
    if (!this.flowing) {
      this.held = { bytes, start, end }
      this.waiting = true
      return false
    }
    if (this.sent) this.remember(bytes, start, end)
    this.waiting = !this.sink!.data(bytes, start, end)
    return !this.waiting
  }

  end(trailers?: Head): void {
    this.ending = { trailers }
    if (this.flowing) this.sink!.end(trailers)
  }

  fail(error: ProxyError): void {
    this.ending = { error }
    if (this.flowing) this.sink!.fail(error)
  }

  private remember(bytes: Uint8Array, start: number, end: number): void {
    this.sentBytes += end - start
    if (this.sentBytes > maxRepeatedBytes) this.sent = undefined
    else this.sent!.push(bytes.slice(start, end))
  }

  /** What had gone out has gone out again; the source may go on. */
  private goOn(): void {
    const { held, ending } = this
    const sink = this.sink!
    this.flowing = true
    this.held = undefined
    if (held && !sink.data(held.bytes, held.start, held.end)) return
    if (this.waiting) this.resume()
    else if (ending && 'error' in ending) sink.fail(ending.error)
    else if (ending) sink.end(ending.trailers)
  }
}

function joined(pieces: readonly Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(size)
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}
