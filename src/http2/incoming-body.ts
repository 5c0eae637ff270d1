/**
 * A body as it comes off a stream.
 *
 * What the consumer takes at once is lent to it from a shared buffer, copied there because the consumer may keep it while
 * the connection reads on. What comes while nobody takes it is gathered, at most one window of it.
 */
import type { ProxyError } from '../errors.ts'
import type { Body, BodySink } from '../http/body.ts'
import type { Head } from '../http/head.ts'

/** The stream that a body belongs to. */
export interface IncomingOwner {
  /** The consumer is there. */
  bodyWanted(): void
  /** The consumer is done with so many bytes: the peer may send as many again. */
  bodyConsumed(bytes: number): void
  /** The consumer has left. */
  bodyCancelled(reason: ProxyError | undefined): void
}

/** Bytes are lent from here; whoever keeps them keeps the buffer, so few bytes come in a small one. */
const lendable: { readonly size: number; buffer: Uint8Array | undefined }[] = [
  { size: 2_048, buffer: undefined },
  { size: 16_384, buffer: undefined },
  { size: 65_536, buffer: undefined },
]
const maxLentBytes = 65_536

export class IncomingBody implements Body {
  readonly length: number | undefined
  received = 0
  /** The peer has sent all of it, or broken it off. */
  complete = false
  private readonly owner: IncomingOwner
  private sink: BodySink | undefined
  private cancelled = false
  /** Bytes that the consumer keeps. */
  private kept = 0
  private feeding = false
  private queue: Uint8Array | undefined
  private queued = 0
  private trailers: Head | undefined
  private error: ProxyError | undefined
  private told = false

  constructor(owner: IncomingOwner, length: number | undefined) {
    this.owner = owner
    this.length = length
  }

  /** Somebody waits for bytes that have not come. */
  get wanted(): boolean {
    return this.sink !== undefined && this.kept === 0 && !this.complete
  }

  // --- the consumer's side

  start(sink: BodySink): void {
    this.sink = sink
    if (!this.complete) this.owner.bodyWanted()
    this.deliver()
  }

  resume(): void {
    const { kept } = this
    if (kept === 0) return
    this.kept = 0
    this.owner.bodyConsumed(kept)
    this.deliver()
  }

  cancel(reason?: ProxyError): void {
    if (this.cancelled) return
    this.cancelled = true
    this.sink = undefined
    const unread = this.queued + this.kept
    this.queue = undefined
    this.queued = this.kept = 0
    if (unread > 0) this.owner.bodyConsumed(unread)
    if (!this.told) this.owner.bodyCancelled(reason)
  }

  // --- the stream's side

  /** @returns false when the bytes wait for the consumer; true when they are done with */
  receive(bytes: Uint8Array, start: number, end: number): boolean {
    const size = end - start
    this.received += size
    if (this.cancelled) return true
    const { sink } = this
    if (!sink || this.kept > 0 || this.queued > 0 || this.feeding || size > maxLentBytes) {
      this.append(bytes, start, end)
      this.deliver()
      return false
    }
    const spare = lendable.find((one) => one.size >= size)!
    const lent = spare.buffer ?? new Uint8Array(spare.size)
    spare.buffer = undefined
    lent.set(bytes.subarray(start, end))
    this.feeding = true
    const taken = sink.data(lent, 0, size)
    this.feeding = false
    if (taken) spare.buffer = lent
    else if (!this.cancelled) this.kept = size
    if (this.error) this.tellError()
    return taken || this.cancelled
  }

  end(trailers?: Head): void {
    if (this.complete) return
    this.complete = true
    this.trailers = trailers
    this.deliver()
  }

  /** The rest will not come. What has come is not worth having. */
  fail(error: ProxyError): void {
    if (this.complete) return
    this.complete = true
    this.error = error
    const unread = this.queued
    this.queue = undefined
    this.queued = 0
    if (unread > 0) this.owner.bodyConsumed(unread)
    if (!this.feeding) this.tellError()
  }

  /** At once, even to a consumer that keeps bytes: it need not wait to know. */
  private tellError(): void {
    if (!this.sink || this.told) return
    this.told = true
    this.sink.fail(this.error!)
  }

  private deliver(): void {
    while (this.sink && this.kept === 0 && !this.feeding) {
      if (this.queued > 0) {
        const { queue, queued } = this
        this.queue = undefined
        this.queued = 0
        this.feeding = true
        const taken = this.sink.data(queue!, 0, queued)
        this.feeding = false
        if (taken || this.cancelled) this.owner.bodyConsumed(queued)
        else this.kept = queued
        if (this.error) this.tellError()
      } else {
        if (this.error) this.tellError()
        else if (this.complete && !this.told) {
          this.told = true
          this.sink.end(this.trailers)
        }
        return
      }
    }
  }

  private append(bytes: Uint8Array, start: number, end: number): void {
    const need = this.queued + end - start
    if (!this.queue || this.queue.length < need) {
      const larger = new Uint8Array(Math.max(need, this.queue ? this.queue.length * 2 : 1024))
      if (this.queue) larger.set(this.queue.subarray(0, this.queued))
      this.queue = larger
    }
    this.queue.set(bytes.subarray(start, end), this.queued)
    this.queued = need
  }
}
