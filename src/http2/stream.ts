/**
 * One stream of a connection, either end's: a message in, a message out, and the windows of both. RFC 9113 sections 5
 * and 8.1.
 */
import type { ProxyError } from '../errors.ts'
import type { Body, BodySink } from '../http/body.ts'
import { connectionKinds, type Head } from '../http/head.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'
import type { FieldBlock } from './field-block.ts'
import { errorCode, flag, frameHeaderBytes, frameType, maxWindowBytes, writeFrameHeader } from './frames.ts'
import { IncomingBody, type IncomingOwner } from './incoming-body.ts'
import { trailersOf } from './message.ts'
import type { Output } from './output.ts'

/** What a stream is for. */
export interface StreamUser {
  /** A header block that is not a trailer section. The block is valid during the call. */
  head(block: FieldBlock, ended: boolean): void
  /** What may be handed on of the trailers that came. */
  acceptTrailers(received: Head): Head
  /** Writes the head of our message. */
  writeHead(ended: boolean): void
  /** The peer's message is here, whole, and ours is not out. */
  received(): void
  /** Our message is out, whole. */
  sent(): void
  /** The body of our message broke. When its head is not out, another message is still possible. */
  broken(error: ProxyError, headPending: boolean): void
  /** Somebody waits for the peer's body. */
  bodyWanted(): void
  /** Some of the peer's body has come, or has been taken. */
  bodyProgressed(): void
  /** Nobody wants the rest of the peer's body. */
  bodyCancelled(): void
  /** The peer, or nobody, is at work for too long. */
  stalled(): void
  /** Both ends are done, or the stream was broken off. Once, and last. */
  closed(error: ProxyError | undefined): void
}

/** The connection, as its streams see it. */
export interface StreamConnection {
  readonly output: Output
  readonly timers: Timers
  readonly writeStallTimeoutMs: number
  readonly streamWindowBytes: number
  /** What we may send on all streams together. */
  sendWindow: number
  /** Bodies that wait for their consumers grew, or shrank. */
  buffered(bytes: number): void
  /** The stream waits for the connection's window or its output. */
  wait(stream: Stream): void
  stopWaiting(stream: Stream): void
  writeTrailers(streamId: number, text: string): void
  writeWindowUpdate(streamId: number, bytes: number): void
  writeReset(streamId: number, code: number): void
  /** The stream is over. */
  forget(stream: Stream, reset: boolean): void
  /** The peer broke the rules on a stream. */
  streamFault(stream: Stream, code: number, reason: string): void
}

/** Body bytes in one DATA frame: what every peer takes. */
const maxDataBytes = 16_384

export class Stream implements BodySink, IncomingOwner {
  readonly id: number
  user!: StreamUser
  /** The peer's body, once its head has come and says that there is one. */
  body: IncomingBody | undefined
  /** The peer's head has come; the next header block is a trailer section. */
  headSeen = false
  /** Body bytes written. */
  sent = 0
  localEnded = false
  remoteEnded = false
  closed = false
  /** Of our window's width; may be negative. RFC 9113 section 6.9.2. */
  sendWindow: number
  private readonly connection: StreamConnection
  private receiveWindow: number
  private owed = 0
  private discarding = false
  private buffered = 0
  // Our message's body.
  private active = false
  private headPending = false
  private source: Body | undefined
  private remaining = Infinity
  private held: Uint8Array | undefined
  private heldAt = 0
  private heldEnd = 0
  private lastEpoch = -1
  private lastFrame = 0
  private timer: TimerEntry | undefined

  constructor(connection: StreamConnection, id: number, sendWindow: number) {
    this.connection = connection
    this.id = id
    this.sendWindow = sendWindow
    this.receiveWindow = connection.streamWindowBytes
  }

  // --- the peer's message

  /** The peer's head has been understood. @returns its body, where it has one */
  receiveHead(length: number | undefined, ended: boolean): IncomingBody | undefined {
    this.headSeen = true
    if (!ended) this.body = new IncomingBody(this, length)
    else this.remoteEnded = true
    return this.body
  }

  /** @returns false when the peer sends more than its window has */
  takeWindow(length: number): boolean {
    this.receiveWindow -= length
    return this.receiveWindow >= 0
  }

  /** Octets that the peer may send without asking. */
  get mayCome(): number {
    return this.remoteEnded ? 0 : Math.max(this.receiveWindow, 0)
  }

  receiveData(bytes: Uint8Array, start: number, end: number): void {
    const { body } = this
    if (!body || (body.length !== undefined && body.received + end - start > body.length)) {
      const reason = body ? 'body longer than its content-length' : 'body where none may be'
      this.connection.streamFault(this, errorCode.protocol, reason)
      return
    }
    const size = end - start
    this.buffer(size)
    if (body.receive(bytes, start, end)) {
      this.buffer(-size)
      this.credit(size)
    }
    if (!this.closed) this.user.bodyProgressed()
  }

  /** The peer has ended its message. */
  receiveEnd(trailers: Head | undefined): void {
    const { body } = this
    if (body?.length !== undefined && body.received < body.length) {
      this.connection.streamFault(this, errorCode.protocol, 'body shorter than its content-length')
      return
    }
    this.remoteEnded = true
    if (!this.localEnded) this.user.bodyProgressed()
    body?.end(trailers)
    this.settle()
    if (!this.closed) this.user.received()
  }

  receiveBlock(block: FieldBlock, ended: boolean): void {
    if (!this.headSeen) {
      this.user.head(block, ended)
      return
    }
    const trailers = ended ? trailersOf(block) : 'a second head'
    if (typeof trailers === 'string') this.connection.streamFault(this, errorCode.protocol, trailers)
    else this.receiveEnd(this.user.acceptTrailers(trailers))
  }

  /** Bytes that need no room any more, padding among them: the peer may send as many again. */
  credit(bytes: number): void {
    if (this.remoteEnded || this.closed || this.discarding) return
    this.owed += bytes
    if (this.owed * 2 < this.connection.streamWindowBytes) return
    this.connection.writeWindowUpdate(this.id, this.owed)
    this.receiveWindow += this.owed
    this.owed = 0
  }

  /**
   * Bytes that wait for their consumer. Once the stream is over they do not count: nobody may ever take them, and then
   * they must not narrow the connection for good.
   */
  private buffer(bytes: number): void {
    if (this.closed) return
    this.buffered += bytes
    this.connection.buffered(bytes)
  }

  bodyWanted(): void {
    this.user.bodyWanted()
  }

  bodyConsumed(bytes: number): void {
    this.buffer(-bytes)
    this.credit(bytes)
    if (!this.closed) this.user.bodyProgressed()
  }

  bodyCancelled(): void {
    this.discarding = true
    if (!this.closed) this.user.bodyCancelled()
  }

  // --- our message

  /** Sends our message, whose head the user writes when it is time to. */
  send(body: Body | undefined): void {
    if (!body || body.length === 0) {
      body?.cancel()
      this.user.writeHead(true)
      this.finishLocal()
      return
    }
    this.source = body
    this.remaining = body.length ?? Infinity
    this.active = this.headPending = true
    body.start(this)
    if (this.active) this.flushHead()
  }

  data(bytes: Uint8Array, start: number, end: number): boolean {
    if (!this.active) return true
    this.remaining -= end - start
    if (this.remaining < 0) {
      this.break({ kind: 'filter-failed', reason: 'the body is longer than its Content-Length' })
      return true
    }
    this.flushHead()
    this.held = bytes
    this.heldAt = start
    this.heldEnd = end
    if (this.pump(Infinity) === 'done') {
      this.held = undefined
      return true
    }
    this.watch(this.connection.writeStallTimeoutMs)
    return false
  }

  end(trailers?: Head): void {
    if (!this.active) return
    if (this.remaining > 0 && this.remaining !== Infinity) {
      this.break({ kind: 'filter-failed', reason: 'the body is shorter than its Content-Length' })
      return
    }
    const { connection } = this
    this.active = false
    this.source = undefined
    // What could be taken for the message's own makes a trailer section malformed. RFC 9110 section 6.5.1
    const text = trailers ? trailers.serialize(connectionKinds) : ''
    if (text !== '') {
      this.flushHead()
      connection.writeTrailers(this.id, text)
    } else if (this.headPending) {
      this.headPending = false
      this.user.writeHead(true)
    } else if (this.lastEpoch === connection.output.epoch)
      connection.output.bytes[this.lastFrame + 4]! |= flag.endStream // the last DATA frame has not left yet
    else {
      const at = connection.output.reserve(frameHeaderBytes)
      writeFrameHeader(connection.output.bytes, at, 0, frameType.data, flag.endStream, this.id)
    }
    this.finishLocal()
  }

  fail(error: ProxyError): void {
    if (!this.active) return
    const { headPending } = this
    this.active = this.headPending = false
    this.source = undefined
    this.user.broken(error, headPending)
  }

  /** @returns false when the window would be wider than any may be */
  widen(bytes: number): boolean {
    this.sendWindow += bytes
    if (this.sendWindow > maxWindowBytes) return false
    if (this.held && this.sendWindow > 0) this.connection.wait(this)
    return true
  }

  /** Its turn among those that wait. @returns what it waits for now */
  goOn(): 'done' | 'stream' | 'connection' | 'turn' {
    const { sent } = this
    const state = this.held ? this.pump(maxDataBytes) : 'done'
    if (this.sent > sent) this.watch(this.connection.writeStallTimeoutMs)
    if (state === 'done' && this.held) {
      this.held = undefined
      this.unwatch()
      this.source?.resume()
    }
    return state
  }

  private pump(most: number): 'done' | 'stream' | 'connection' | 'turn' {
    const { connection, held } = this
    const { output } = connection
    const stop = this.sent + most
    while (this.heldAt < this.heldEnd) {
      if (this.sent >= stop) return 'turn'
      if (this.sendWindow <= 0) return 'stream'
      const size = Math.min(this.heldEnd - this.heldAt, maxDataBytes, this.sendWindow, connection.sendWindow)
      if (size <= 0 || !output.takes(frameHeaderBytes + size)) {
        connection.wait(this)
        return 'connection'
      }
      const at = output.reserve(frameHeaderBytes + size)
      writeFrameHeader(output.bytes, at, size, frameType.data, 0, this.id)
      output.bytes.set(held!.subarray(this.heldAt, this.heldAt + size), at + frameHeaderBytes)
      this.lastFrame = at
      this.lastEpoch = output.epoch
      this.heldAt += size
      this.sent += size
      this.sendWindow -= size
      connection.sendWindow -= size
    }
    return 'done'
  }

  private flushHead(): void {
    if (!this.headPending) return
    this.headPending = false
    this.user.writeHead(false)
  }

  private break(error: ProxyError): void {
    const { headPending } = this
    this.stopSending(error)
    this.user.broken(error, headPending)
  }

  private stopSending(error: ProxyError): void {
    const { source } = this
    this.active = this.headPending = false
    this.source = this.held = undefined
    this.connection.stopWaiting(this)
    source?.cancel(error)
  }

  private finishLocal(): void {
    this.localEnded = true
    this.user.sent()
    this.settle()
  }

  // --- the end

  private settle(): void {
    if (this.localEnded && this.remoteEnded && !this.closed) this.close(undefined, false)
  }

  /** Breaks the stream off, and tells the peer. */
  reset(code: number, error: ProxyError): void {
    if (this.closed) return
    this.connection.writeReset(this.id, code)
    this.close(error, true)
  }

  /** Done, though one of the messages is not: nobody wants the rest of it. RFC 9113 section 8.1. */
  abandon(code: number): void {
    if (this.closed) return
    this.connection.writeReset(this.id, code)
    this.close(undefined, true)
  }

  /** The stream is over: it was reset by the peer, or its connection is gone. */
  close(error: ProxyError | undefined, reset: boolean): void {
    if (this.closed) return
    this.buffer(-this.buffered)
    this.closed = true
    if (this.timer) this.connection.timers.remove(this.timer)
    this.connection.forget(this, reset)
    if (!this.remoteEnded) this.body?.fail(error ?? { kind: 'downstream-gone' })
    if (!this.localEnded) this.stopSending(error ?? { kind: 'downstream-gone' })
    this.user.closed(error)
  }

  /** Has `stalled` called after a while. */
  watch(timeoutMs: number): void {
    if (this.closed) return
    this.timer ??= createTimerEntry(() => this.user.stalled())
    this.connection.timers.arm(this.timer, timeoutMs)
  }

  unwatch(): void {
    if (this.timer) this.connection.timers.disarm(this.timer)
  }
}
