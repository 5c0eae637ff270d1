/**
 * One stream of a connection: the body that goes out, with its flow control, and the one that comes in. RFC 9113
 * sections 5.1 and 5.2.
 *
 * What a head means is for whoever uses the stream: the server's exchange, or the client's call.
 */
import type { ProxyError } from '../errors.ts'
import type { Body, BodySink } from '../http/body.ts'
import { kind, type Head } from '../http/head.ts'
import type { TimerEntry } from '../timers.ts'
import type { FieldBlock } from './field-block.ts'
import { errorCode } from './frames.ts'
import { IncomingBody, type IncomingOwner } from './incoming-body.ts'
import type { Session } from './session.ts'

/** Who speaks on a stream. */
export interface StreamUser {
  /** A head came on a stream that we opened. */
  head(block: FieldBlock, ended: boolean): void
  /** The peer's body has a consumer. */
  bodyWanted(): void
  /** Bytes of it came. */
  bodyMoved(): void
  /** Its consumer has left. */
  bodyCancelled(): void
  /** Our message is out, as far as its last frame. */
  sent(): void
  /** Our message cannot be completed: its source broke, or gave more or less than it said. */
  broke(error: ProxyError): void
  /** The peer's message is complete; on a stream that we opened, that is the end. */
  received(): void
  /**
   * The stream ended before its time, by the peer's reset, by its fault, or with the connection.
   *
   * @param code the peer's error code, or -1
   */
  lost(reason: string, code: number, malformed: boolean): ProxyError
  /** Nothing has moved for too long: our body waits for the peer, or its body does not come. */
  stalled(sending: boolean): void
}

/** Fields of a trailer section that would speak about the connection. */
const notInTrailers =
  kind.host |
  kind.contentLength |
  kind.transferEncoding |
  kind.connection |
  kind.hopByHop |
  kind.te |
  kind.upgrade |
  kind.expect

export class Stream implements BodySink, IncomingOwner, TimerEntry {
  readonly id: number
  user!: StreamUser
  sendWindow: number
  receiveWindow: number
  /** What the peer's Content-Length promises. */
  expected: number | undefined
  incoming: IncomingBody | undefined
  /** Our END_STREAM, and the peer's. */
  localDone = false
  remoteDone = false
  /** The peer's head is complete: another HEADERS frame is its trailers. */
  headDone: boolean
  closed = false
  /** Body bytes, framing not counted. */
  sent = 0
  received = 0
  // A place in the queue of those that wait for the connection.
  queued = false
  nextQueued: Stream | undefined
  // As an entry of the timer wheel.
  deadlineMs = Infinity
  slot = -1
  previous: TimerEntry | undefined
  next: TimerEntry | undefined
  private readonly session: Session
  private unacknowledged = 0
  private source: Body | undefined
  private remaining = Infinity
  private held: Uint8Array | undefined
  private heldAt = 0
  private heldEnd = 0
  private dataAt = -1
  private dataEpoch = -1

  constructor(session: Session, id: number, sendWindow: number, receiveWindow: number, opened: boolean) {
    this.session = session
    this.id = id
    this.sendWindow = sendWindow
    this.receiveWindow = receiveWindow
    this.headDone = !opened
  }

  // --- our body

  /** Sends a body. Its END_STREAM follows. */
  begin(body: Body, length: number | undefined): void {
    this.remaining = length ?? Infinity
    this.source = body
    body.start(this)
  }

  data(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.localDone || this.closed) return true
    this.remaining -= end - start
    if (this.remaining < 0) {
      this.break({ kind: 'filter-failed', reason: 'the body is longer than its Content-Length' })
      return true
    }
    const at = this.session.sendData(this, bytes, start, end)
    if (at === end || this.closed) return true
    this.held = bytes
    this.heldAt = at
    this.heldEnd = end
    this.session.wait(this)
    return false
  }

  end(trailers?: Head): void {
    if (this.localDone || this.closed) return
    if (this.remaining > 0 && this.remaining !== Infinity) {
      this.break({ kind: 'filter-failed', reason: 'the body is shorter than its Content-Length' })
      return
    }
    this.source = undefined
    const lines = trailers ? trailers.serialize(notInTrailers) : ''
    const { session } = this
    if (lines !== '') session.sendTrailers(this, lines)
    else session.endData(this, this.dataEpoch === session.outputEpoch ? this.dataAt : -1)
    this.finishLocal()
  }

  fail(error: ProxyError): void {
    if (this.localDone || this.closed) return
    this.source = undefined
    this.user.broke(error)
  }

  /** Our last frame has been written. */
  finishLocal(): void {
    this.localDone = true
    this.user.sent()
    this.session.settle(this)
  }

  /** Where a DATA frame of ours starts, which may still become the last. */
  wrote(size: number, at: number, epoch: number): void {
    this.sent += size
    this.dataAt = at
    this.dataEpoch = epoch
  }

  get holds(): boolean {
    return this.held !== undefined
  }

  /** There is room again: sends what was held back, then lets the source go on. */
  pump(): void {
    const { held, heldEnd } = this
    if (!held || this.closed) return
    const before = this.heldAt
    this.heldAt = this.session.sendData(this, held, before, heldEnd)
    if (this.heldAt < heldEnd) {
      this.session.wait(this, this.heldAt > before)
      return
    }
    this.held = undefined
    this.session.moved(this)
    this.source?.resume()
  }

  /** Stops, and tells the source that nobody wants the rest. */
  stopSending(reason: ProxyError): void {
    const { source } = this
    this.source = undefined
    this.held = undefined
    source?.cancel(reason)
  }

  private break(error: ProxyError): void {
    this.stopSending(error)
    this.user.broke(error)
  }

  // --- the peer's body

  /** The peer's message has a body. */
  expectBody(length: number | undefined): IncomingBody {
    this.expected = length
    return (this.incoming = new IncomingBody(this, length))
  }

  /** @param padding octets that came with the bytes and are nobody's */
  receive(bytes: Uint8Array, start: number, end: number): void {
    const size = end - start
    this.received += size
    const { incoming } = this
    if (!incoming || size === 0) return
    if (incoming.receive(bytes, start, end)) this.acknowledge(size)
    else if (!this.closed) this.session.buffered += size
    this.user.bodyMoved()
  }

  /** END_STREAM. @returns false when the body is not as long as promised */
  finishRemote(trailers: Head | undefined): boolean {
    if (this.expected !== undefined && this.received !== this.expected) return false
    this.remoteDone = true
    this.incoming?.end(trailers)
    this.user.received()
    this.session.settle(this)
    return true
  }

  bodyWanted(): void {
    this.user.bodyWanted()
  }

  bodyConsumed(bytes: number): void {
    this.session.buffered -= bytes
    this.session.creditConnection(0)
    this.acknowledge(bytes)
  }

  bodyCancelled(): void {
    if (!this.closed) this.user.bodyCancelled()
  }

  /** Octets that the peer may send again on this stream. */
  acknowledge(octets: number): void {
    if (this.remoteDone || this.closed) return
    this.unacknowledged += octets
    if (this.unacknowledged < this.session.streamThreshold) return
    this.receiveWindow += this.unacknowledged
    this.session.sendWindowUpdate(this.id, this.unacknowledged)
    this.unacknowledged = 0
  }

  // --- the end

  expire(): void {
    if (this.closed) return
    if (this.held) this.user.stalled(true)
    else if (this.incoming?.wanted) this.user.stalled(false)
  }

  /** Ends both directions at once; the session has forgotten the stream already. */
  shut(error: ProxyError): void {
    this.stopSending(error)
    this.incoming?.fail(error)
  }

  /** Ends the stream with RST_STREAM. */
  reset(code: number, error: ProxyError): void {
    if (this.closed) return
    this.session.sendReset(this, code)
    this.shut(error)
  }

  /** Our answer is out and theirs is not wanted: a peer that is still sending may stop. RFC 9113 section 8.1. */
  stopPeer(): void {
    if (this.closed) return
    this.session.sendReset(this, errorCode.none)
    this.incoming?.fail({ kind: 'downstream-gone' })
  }
}
