/** A body that comes on a QUIC stream: raw bytes up to FIN, or to the length that was declared. */
import { type ProxyError } from '../errors.ts'
import { type Body, type BodySink } from '../http/body.ts'
import { type QuicStream } from '../runtime.ts'

export class QuicStreamBody implements Body {
  readonly length: number | undefined
  received = 0
  /** The stream's half has been read to its end, or nobody reads it any more. */
  over = false
  private readonly stream: QuicStream
  private readonly broken: ProxyError
  private sink: BodySink | undefined
  /** Bytes that the stream lends us until `resume`. */
  private kept: { readonly bytes: Uint8Array; readonly start: number; readonly end: number } | undefined
  /** The sink keeps them. */
  private delivered = false
  /** The stream waits. */
  private held = false
  private ended = false
  private error: ProxyError | undefined
  private told = false

  /** @param broken what an end before the declared length means */
  constructor(stream: QuicStream, length: number | undefined, broken: ProxyError) {
    this.stream = stream
    this.length = length
    this.broken = broken
  }

  start(sink: BodySink): void {
    this.sink = sink
    this.flow()
  }

  resume(): void {
    if (!this.delivered) return
    this.delivered = false
    this.release()
    this.flow()
  }

  cancel(): void {
    this.sink = undefined
    this.kept = undefined
    this.told = true
    if (this.over) return
    this.over = true
    this.stream.stopReading()
  }

  /** @returns whether the bytes are done with */
  receive(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.over) return true
    const room = (this.length ?? Infinity) - this.received
    const until = Math.min(end, start + room)
    this.received += until - start
    if (until > start) {
      this.kept = { bytes, start, end: until }
      this.flow()
    }
    if (until < end) {
      // More than was declared: not of this request.
      this.over = true
      this.ended = true
      this.stream.stopReading()
      this.flow()
    }
    this.held = this.kept !== undefined
    return !this.held
  }

  end(): void {
    this.over = true
    if (this.length !== undefined && this.received < this.length) {
      this.fail(this.broken)
      return
    }
    this.ended = true
    this.flow()
  }

  fail(error: ProxyError): void {
    if (this.ended) return
    this.over = true
    this.ended = true
    this.error = error
    this.flow()
  }

  private release(): void {
    this.kept = undefined
    if (!this.held) return
    this.held = false
    if (!this.over) this.stream.resume()
  }

  private flow(): void {
    const { sink } = this
    if (!sink || this.told || this.delivered) return
    if (this.kept && !this.error) {
      const { bytes, start, end } = this.kept
      this.delivered = true
      if (!sink.data(bytes, start, end)) return
      this.delivered = false
      this.release()
      if (this.told) return
    }
    if (!this.ended) return
    this.told = true
    if (this.error) sink.fail(this.error)
    else sink.end()
  }
}
