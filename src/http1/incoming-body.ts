/**
 * A body as it comes off a connection: by Content-Length, chunked, or until close.
 *
 * chunked-body   = *chunk last-chunk trailer-section CRLF            RFC 9112 section 7.1
 * chunk          = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
 */
import type { ProxyError } from '../errors.ts'
import { discardingSink, type Body, type BodySink } from '../http/body.ts'
import { isBlank, valueTable } from '../http/fields.ts'
import { type Head, parseFields } from '../http/head.ts'
import type { Http1Limits } from './limits.ts'
import type { Framing } from './parse.ts'

/** The connection that a body belongs to. */
export interface BodyOwner {
  readonly limits: Http1Limits
  /** The consumer is there, or ready again: go on with what has been read, then read on. */
  bodyWanted(body: IncomingBody): void
  /** The consumer has left. */
  bodyCancelled(body: IncomingBody): void
  /** What may be handed on of the trailers that came. */
  acceptTrailers(received: Head): Head
  latin1(bytes: Uint8Array, start: number, end: number): string
}

type Part = 'data' | 'size' | 'padding' | 'extension' | 'size-lf' | 'data-cr' | 'data-lf' | 'trailer'

export class IncomingBody implements Body {
  readonly length: number | undefined
  /** Body bytes that came, framing not counted. */
  received = 0
  done = false
  /** True while the consumer keeps bytes. */
  blocked = false
  /** Why it can't go on, when the peer's framing is broken. */
  fault: string | undefined
  private sink: BodySink | undefined
  private failure: ProxyError | undefined // what a consumer that comes too late is told
  private readonly owner: BodyOwner
  private readonly framing: Framing
  private part: Part
  private remaining: number
  private sizeDigits = 0
  private extra = 0
  private trailerText = ''

  constructor(owner: BodyOwner, framing: Framing) {
    this.owner = owner
    this.framing = framing
    this.length = typeof framing === 'number' ? framing : undefined
    this.remaining = framing === 'chunked' ? 0 : framing === 'close' ? Infinity : framing
    this.part = framing === 'chunked' ? 'size' : 'data'
    this.done = framing === 0
  }

  get discarded(): boolean {
    return this.sink === discardingSink
  }

  get wanted(): boolean {
    return this.sink !== undefined && !this.blocked
  }

  start(sink: BodySink): void {
    if (this.failure) {
      sink.fail(this.failure)
      return
    }
    this.sink = sink
    if (this.done) sink.end()
    else this.owner.bodyWanted(this)
  }

  resume(): void {
    if (!this.blocked) return
    this.blocked = false
    this.owner.bodyWanted(this)
  }

  cancel(): void {
    if (this.sink === undefined || !this.done) {
      this.sink = undefined
      this.blocked = false
      if (!this.done) this.owner.bodyCancelled(this)
    }
  }

  /** Throws away everything that comes from here on: it is only read so that the connection can go on. */
  discard(): void {
    this.sink = discardingSink
    this.blocked = false
    this.failure = discarded
  }

  get untilClose(): boolean {
    return this.framing === 'close'
  }

  /** The peer's FIN, behind the last byte of a body that lasts until close. */
  close(): void {
    this.finish(undefined)
  }

  /** The rest will not come. A complete body takes no notice. */
  break(error: ProxyError): void {
    if (this.done) return
    this.done = true
    this.failure = error
    this.sink?.fail(error)
  }

  /**
   * Takes what it can of `bytes`.
   *
   * @returns offset behind the last byte taken; the body is then done, blocked, faulty, or out of bytes
   */
  feed(bytes: Uint8Array, start: number, end: number): number {
    let at = start
    while (at < end) {
      if (this.part === 'data') {
        const take = Math.min(end - at, this.remaining)
        const from = at
        at += take
        this.remaining -= take
        this.received += take
        const last = this.remaining === 0 && this.framing !== 'chunked'
        if (this.remaining === 0 && !last) this.part = 'data-cr'
        const sink = this.sink!
        const goOn = sink.data(bytes, from, at)
        if (this.done) return at // broken from within
        if (!goOn && sink === this.sink) {
          this.blocked = true
          return at
        }
        if (last) {
          this.finish(undefined)
          return at
        }
      } else {
        at = this.feedFraming(bytes, at, end)
        if (this.done || this.fault !== undefined) return at
      }
    }
    return at
  }

  /** True when only `finish` is missing: the consumer kept the last bytes and has now given them back. */
  finishIfComplete(): void {
    if (!this.done && this.remaining === 0 && this.part === 'data' && this.framing !== 'chunked') this.finish(undefined)
  }

  private finish(trailers: Head | undefined): void {
    this.done = true
    this.sink?.end(trailers)
  }

  private feedFraming(bytes: Uint8Array, start: number, end: number): number {
    let at = start
    while (at < end) {
      const c = bytes[at]!
      switch (this.part) {
        case 'size': {
          const value = hexValue(c)
          if (value >= 0) {
            // Fourteen digits would pass 2^53.
            if (++this.sizeDigits > 13) return this.broken('chunk size too large', at)
            this.remaining = this.remaining * 16 + value
          } else if (this.sizeDigits === 0) return this.broken('malformed chunk size', at)
          else if (c === 13) this.part = 'size-lf'
          else if (c === 59) this.part = 'extension'
          else if (isBlank(c)) this.part = 'padding'
          else return this.broken('malformed chunk size', at)
          at++
          break
        }
        case 'padding':
        case 'extension':
          if (c === 13) this.part = 'size-lf'
          else if (c === 59) this.part = 'extension'
          else if (valueTable[c] !== 1 || (this.part === 'padding' && !isBlank(c)))
            return this.broken('malformed chunk extension', at)
          // In all, so that a body of small chunks can't make us read many times its size.
          else if (++this.extra > this.owner.limits.maxTrailerBytes + this.received)
            return this.broken('chunk extensions too long', at)
          at++
          break
        case 'size-lf':
          if (c !== 10) return this.broken('malformed chunk size line', at)
          at++
          this.sizeDigits = 0
          if (this.remaining > 0) {
            this.part = 'data'
            return at
          }
          this.part = 'trailer'
          break
        case 'data-cr':
          if (c !== 13) return this.broken('chunk data longer than its size', at)
          this.part = 'data-lf'
          at++
          break
        case 'data-lf':
          if (c !== 10) return this.broken('malformed end of chunk', at)
          this.part = 'size'
          at++
          break
        case 'trailer':
          return this.feedTrailer(bytes, at, end)
        case 'data':
          return at
      }
    }
    return at
  }

  private feedTrailer(bytes: Uint8Array, start: number, end: number): number {
    let at = start
    while (at < end) {
      let lineEnd = at
      while (lineEnd < end && bytes[lineEnd] !== 10) lineEnd++
      const complete = lineEnd < end
      this.trailerText += this.owner.latin1(bytes, at, complete ? lineEnd + 1 : lineEnd)
      at = complete ? lineEnd + 1 : lineEnd
      if (this.trailerText.length > this.owner.limits.maxTrailerBytes)
        return this.broken('trailer section too large', at)
      if (!complete) return at
      const text = this.trailerText
      if (text === '\r\n') {
        this.finish(undefined)
        return at
      }
      if (text.endsWith('\r\n\r\n')) {
        const { maxFieldLines, maxFieldLineBytes } = this.owner.limits
        const trailers = parseFields(text, 0, text.length - 2, maxFieldLines, maxFieldLineBytes)
        if (typeof trailers === 'string') return this.broken('malformed trailer section', at)
        this.finish(this.owner.acceptTrailers(trailers))
        return at
      }
      if (!text.endsWith('\r\n')) return this.broken('a line must end in CR LF', at)
    }
    return at
  }

  private broken(fault: string, at: number): number {
    this.fault = fault
    return at
  }
}

const discarded: ProxyError = { kind: 'filter-failed', reason: 'the body has been discarded' }

function hexValue(c: number): number {
  if (c >= 48 && c <= 57) return c - 48
  if (c >= 97 && c <= 102) return c - 87
  if (c >= 65 && c <= 70) return c - 55
  return -1
}
