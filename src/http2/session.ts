/**
 * One HTTP/2 connection, either end of it, on any {@link Socket}. RFC 9113.
 *
 * Takes frames apart and keeps the rules of the connection: order, sizes, flow control, settings, and how much of it that
 * moves nothing a peer may send. Which end we are and who dialled are two different things: on a connection to
 * Cloudflare's edge we dial and then serve.
 */
import type { Socket, SocketError, SocketEvents } from '../runtime.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'
import { Budget } from './budget.ts'
import { ClosedStreams } from './closed-streams.ts'
import { FieldBlock } from './field-block.ts'
import {
  defaultWindowBytes,
  errorCode,
  errorName,
  flag,
  frameHeaderBytes,
  frameType,
  maxStreamId,
  maxWindowBytes,
  minMaxFrameBytes,
  preface,
  readUint24,
  readUint31,
  readUint32,
  writeFrameHeader,
  writeUint32,
} from './frames.ts'
import { HpackDecoder } from './hpack-decoder.ts'
import { HpackEncoder } from './hpack-encoder.ts'
import type { Http2Limits } from './limits.ts'
import { trailersOf } from './message.ts'
import { bufferBytes, Output } from './output.ts'
import { applySettings, defaultPeerSettings, setting, type Setting, writeSettings } from './settings.ts'
import { Stream, type StreamUser } from './stream.ts'

/** What one end does that the other does not. */
export interface SessionRole {
  readonly isServer: boolean
  /** The peer opened a stream. */
  opened(stream: Stream, block: FieldBlock, ended: boolean): StreamUser | undefined
  /** Settings came, or a stream ended: there may be room for another. */
  changed(): void
  /** The peer takes no more streams. */
  goingAway(code: number): void
  /** The connection must not be used again; why, unless all is well. Once, before its streams are told. */
  failed(reason: string, malformed: boolean): void
  /** The socket is gone, or will be without us. Once, and last. */
  closed(): void
}

export interface SessionOptions {
  readonly timers: Timers
  readonly limits: Http2Limits
  readonly afterTurn: (f: () => void) => void
  /** Without a stream for so long, the connection is closed. */
  readonly idleTimeoutMs: number
  readonly settings: readonly Setting[]
}

const headerTableBytes = 4_096
/** A frame of ours is no larger, so that streams take turns. */
const maxSendBytes = 16_384
const drainPing = 2
const alivePing = 1

export class Session implements SocketEvents {
  readonly limits: Http2Limits
  readonly timers: Timers
  readonly peer = defaultPeerSettings()
  readonly streams = new Map<number, Stream>()
  /** Octets consumed on a stream before the peer is told. */
  readonly streamThreshold: number
  /** Body bytes that wait for their consumers. */
  buffered = 0
  /** Nothing new may begin: we or the peer said GOAWAY, or the connection is broken. */
  closing = false
  over = false
  readonly socket: Socket
  private readonly role: SessionRole
  private readonly options: SessionOptions
  private readonly output: Output
  private readonly encoder = new HpackEncoder()
  private readonly decoder: HpackDecoder
  private readonly block: FieldBlock
  private readonly ended = new ClosedStreams()
  private readonly idleFrames: Budget
  private readonly resets: Budget
  private readonly timer: TimerEntry
  private readonly writeTimer: TimerEntry
  private readonly pingTimer: TimerEntry
  private sendWindow = defaultWindowBytes
  private receiveWindow = defaultWindowBytes
  private uncredited = 0
  private nextId: number
  private lastPeerId = 0
  /** Beyond it the peer's streams are not looked at: what our last GOAWAY said. */
  private lastTakenId = maxStreamId
  private settingsSeen = false
  private settingsAcknowledged = false
  private firstWindow: number
  private ended_ = false
  private draining = false
  private heard = false
  private pinging = false
  // Bytes in: a part of the preface or of a frame header, a frame in parts, the DATA frame that is coming.
  private prefaceAt: number
  private readonly header = new Uint8Array(frameHeaderBytes)
  private headerLength = 0
  private part: Uint8Array | undefined
  private partLength = 0
  private type = 0
  private flags = 0
  private id = 0
  private dataLeft = 0
  private padLeft = 0
  private padKnown = true
  private dataStream: Stream | undefined
  // A header block that goes on in CONTINUATION frames.
  private blockId = 0
  private blockEnds = false
  private blockSelfDependent = false
  private blockBytes: Uint8Array = none
  private blockLength = 0
  private blockFrames = 0
  // A header block on its way out.
  private direct = false
  private blockStart = 0
  // Streams that wait for the connection's window or its buffer, longest first.
  private firstQueued: Stream | undefined
  private lastQueued: Stream | undefined

  constructor(socket: Socket, role: SessionRole, options: SessionOptions) {
    const { timers, limits } = options
    this.socket = socket
    this.role = role
    this.options = options
    this.limits = limits
    this.timers = timers
    this.prefaceAt = role.isServer ? 0 : preface.length
    this.nextId = role.isServer ? 2 : 1
    this.streamThreshold = Math.max(1, limits.streamWindowBytes >>> 1)
    this.firstWindow = Math.max(defaultWindowBytes, limits.streamWindowBytes)
    this.output = new Output({
      socket,
      afterTurn: options.afterTurn,
      maxBytes: limits.maxOutputBytes,
      onOverflow: () => this.lose('the peer does not read what it asks for'),
      onBlocked: () => this.timers.arm(this.writeTimer, limits.writeStallTimeoutMs),
      onDrained: () => {
        if (!this.output.blocked) this.timers.disarm(this.writeTimer)
        this.pumpQueue()
      },
    })
    this.decoder = new HpackDecoder(headerTableBytes, (bytes, start, end) => socket.latin1(bytes, start, end))
    this.block = new FieldBlock(limits)
    this.idleFrames = new Budget(timers, limits.idleFrameBurst, limits.idleFramesPerSecond)
    this.resets = new Budget(timers, limits.resetBurst, limits.resetsPerSecond)
    this.timer = createTimerEntry(() => this.expire())
    this.writeTimer = createTimerEntry(() => this.lose('the peer takes no bytes'))
    this.pingTimer = createTimerEntry(() => this.checkPeer())
    this.greet()
    timers.arm(this.timer, limits.headTimeoutMs)
    timers.arm(this.pingTimer, limits.pingIntervalMs)
  }

  private greet(): void {
    const { settings } = this.options
    const hello = this.role.isServer ? '' : preface
    const size = settings.length * 6
    const at = this.output.reserve(hello.length + frameHeaderBytes + size)
    const { bytes } = this.output
    for (let i = 0; i < hello.length; i++) bytes[at + i] = hello.charCodeAt(i)
    writeFrameHeader(bytes, at + hello.length, size, frameType.settings, 0, 0)
    writeSettings(bytes, at + hello.length + frameHeaderBytes, settings)
    const more = this.limits.connectionWindowBytes - defaultWindowBytes
    if (more > 0) {
      this.receiveWindow += more
      this.sendWindowUpdate(0, more)
    }
  }

  // --- bytes in

  data(bytes: Uint8Array, start: number, end: number): boolean {
    this.heard = true
    let at = start
    if (this.prefaceAt < preface.length) {
      at = this.readPreface(bytes, at, end)
      if (at < 0) return true
    }
    while (at < end && !this.over) {
      if (this.dataLeft > 0) at = this.readData(bytes, at, end)
      else if (this.part) at = this.readPart(bytes, at, end)
      else if (this.headerLength > 0 || end - at < frameHeaderBytes) at = this.readSplitHeader(bytes, at, end)
      else {
        this.beginFrame(bytes, at)
        at = this.readFrame(bytes, at + frameHeaderBytes, end)
      }
    }
    return true
  }

  private readPreface(bytes: Uint8Array, at: number, end: number): number {
    while (at < end && this.prefaceAt < preface.length) {
      if (bytes[at++] !== preface.charCodeAt(this.prefaceAt++)) {
        this.fault(errorCode.protocol, 'not an HTTP/2 connection preface')
        return -1
      }
    }
    return at
  }

  private readSplitHeader(bytes: Uint8Array, at: number, end: number): number {
    while (at < end && this.headerLength < frameHeaderBytes) this.header[this.headerLength++] = bytes[at++]!
    if (this.headerLength < frameHeaderBytes) return at
    this.headerLength = 0
    this.beginFrame(this.header, 0)
    return this.readFrame(bytes, at, end)
  }

  private length = 0

  private beginFrame(bytes: Uint8Array, at: number): void {
    this.length = readUint24(bytes, at)
    this.type = bytes[at + 3]!
    this.flags = bytes[at + 4]!
    this.id = readUint31(bytes, at + 5)
  }

  /** The header is here. @returns the offset behind what could be used */
  private readFrame(bytes: Uint8Array, at: number, end: number): number {
    const { length, type } = this
    if (length > this.limits.maxFrameBytes) {
      this.fault(errorCode.frameSize, 'frame larger than agreed')
      return end
    }
    if (!this.settingsSeen && (type !== frameType.settings || (this.flags & flag.ack) !== 0)) {
      this.fault(errorCode.protocol, 'SETTINGS must come first')
      return end
    }
    if (this.blockId !== 0 && (type !== frameType.continuation || this.id !== this.blockId)) {
      this.fault(errorCode.protocol, 'a header block was interrupted')
      return end
    }
    if (type === frameType.data) {
      this.beginData()
      return at
    }
    if (end - at >= length) {
      this.frame(bytes, at, at + length)
      return at + length
    }
    this.part = new Uint8Array(length)
    this.partLength = 0
    return this.readPart(bytes, at, end)
  }

  private readPart(bytes: Uint8Array, at: number, end: number): number {
    const part = this.part!
    const take = Math.min(end - at, part.length - this.partLength)
    part.set(bytes.subarray(at, at + take), this.partLength)
    this.partLength += take
    if (this.partLength === part.length) {
      this.part = undefined
      this.frame(part, 0, part.length)
    }
    return at + take
  }

  private frame(bytes: Uint8Array, start: number, end: number): void {
    switch (this.type) {
      case frameType.headers:
        this.headers(bytes, start, end)
        break
      case frameType.priority:
        this.priority(bytes, start, end)
        break
      case frameType.rstStream:
        this.rstStream(bytes, start, end)
        break
      case frameType.settings:
        this.settings(bytes, start, end)
        break
      case frameType.pushPromise:
        this.fault(errorCode.protocol, 'pushes are refused')
        break
      case frameType.ping:
        this.ping(bytes, start, end)
        break
      case frameType.goaway:
        this.goaway(bytes, start, end)
        break
      case frameType.windowUpdate:
        this.windowUpdate(bytes, start, end)
        break
      case frameType.continuation:
        this.continuation(bytes, start, end)
        break
      default:
        this.spendIdleFrame() // unknown: ignored, RFC 9113 section 4.1
    }
  }

  // --- DATA

  private beginData(): void {
    const { id, length } = this
    if (id === 0) {
      this.fault(errorCode.protocol, 'DATA on stream 0')
      return
    }
    if (length > this.receiveWindow) {
      this.fault(errorCode.flowControl, 'more DATA than the connection window')
      return
    }
    const stream = this.streams.get(id)
    if (!stream && this.isIdle(id)) {
      this.fault(errorCode.protocol, 'DATA on an idle stream')
      return
    }
    if (length === 0 && (this.flags & flag.padded) !== 0) {
      this.fault(errorCode.frameSize, 'DATA without its pad length')
      return
    }
    this.receiveWindow -= length
    this.dataStream = undefined
    if (!stream) {
      // Frames that crossed our reset are no fault of the peer's.
      if (!this.ended.wasReset(id)) this.refuseFrame(id, errorCode.streamClosed)
    } else if (stream.remoteDone) this.streamFault(stream, errorCode.streamClosed, 'DATA behind END_STREAM')
    else if (!stream.headDone) this.streamFault(stream, errorCode.protocol, 'DATA before the head')
    else if (length > stream.receiveWindow)
      this.streamFault(stream, errorCode.flowControl, 'more DATA than the stream window')
    else {
      stream.receiveWindow -= length
      this.dataStream = stream
    }
    if (this.over) return
    if (length === 0) {
      if ((this.flags & flag.endStream) === 0) this.spendIdleFrame()
      else this.endOfData()
      return
    }
    this.dataLeft = length
    this.padKnown = (this.flags & flag.padded) === 0
    this.padLeft = 0
  }

  private readData(bytes: Uint8Array, start: number, end: number): number {
    let at = start
    if (!this.padKnown) {
      const padding = bytes[at++]!
      if (padding >= this.length) {
        this.fault(errorCode.protocol, 'padding longer than its frame')
        return end
      }
      this.padKnown = true
      this.dataLeft--
      this.padLeft = padding
      this.creditConnection(1)
      this.dataStream?.acknowledge(1)
      if (this.dataLeft === padding) this.spendIdleFrame()
    }
    const content = Math.min(end - at, this.dataLeft - this.padLeft)
    if (content > 0) {
      const from = at
      at += content
      this.dataLeft -= content
      const stream = this.dataStream
      this.uncredited += content
      if (stream && !stream.closed) {
        if (stream.expected !== undefined && stream.received + content > stream.expected)
          this.streamFault(stream, errorCode.protocol, 'a body longer than its content-length')
        else stream.receive(bytes, from, at)
      }
      this.creditConnection(0)
    }
    const padding = Math.min(end - at, this.padLeft)
    if (padding > 0 && this.dataLeft === this.padLeft) {
      at += padding
      this.dataLeft -= padding
      this.padLeft -= padding
      this.creditConnection(padding)
      this.dataStream?.acknowledge(padding)
    }
    if (this.dataLeft === 0 && !this.over) this.endOfData()
    return at
  }

  private endOfData(): void {
    const stream = this.dataStream
    this.dataStream = undefined
    if (!stream || stream.closed || (this.flags & flag.endStream) === 0) return
    if (!stream.finishRemote(undefined))
      this.streamFault(stream, errorCode.protocol, 'a body shorter than its content-length')
  }

  // --- header blocks in

  private headers(bytes: Uint8Array, start: number, end: number): void {
    const { id, flags } = this
    if (id === 0) {
      this.fault(errorCode.protocol, 'HEADERS on stream 0')
      return
    }
    let at = start
    let to = end
    if ((flags & flag.padded) !== 0) {
      const padding = at < to ? bytes[at++]! : 255
      if (padding > to - at) {
        this.fault(errorCode.protocol, 'padding longer than its frame')
        return
      }
      to -= padding
    }
    let selfDependent = false
    if ((flags & flag.priority) !== 0) {
      if (to - at < 5) {
        this.fault(errorCode.frameSize, 'HEADERS without its priority')
        return
      }
      selfDependent = readUint31(bytes, at) === id
      at += 5
    }
    const ends = (flags & flag.endStream) !== 0
    if ((flags & flag.endHeaders) !== 0) {
      this.headerBlock(id, bytes, at, to, ends, selfDependent)
      return
    }
    this.blockId = id
    this.blockEnds = ends
    this.blockSelfDependent = selfDependent
    this.blockLength = 0
    this.blockFrames = 0
    this.addToBlock(bytes, at, to)
    this.timers.arm(this.timer, this.limits.headTimeoutMs)
  }

  private continuation(bytes: Uint8Array, start: number, end: number): void {
    if (this.blockId === 0) {
      this.fault(errorCode.protocol, 'CONTINUATION without HEADERS')
      return
    }
    this.addToBlock(bytes, start, end)
    if (this.over || (this.flags & flag.endHeaders) === 0) return
    const { blockId, blockBytes, blockLength } = this
    this.blockId = 0
    this.blockBytes = none
    this.rest()
    this.headerBlock(blockId, blockBytes, 0, blockLength, this.blockEnds, this.blockSelfDependent)
  }

  /** A block is kept whole, so there is a limit to it, and to the number of its parts. */
  private addToBlock(bytes: Uint8Array, start: number, end: number): void {
    const size = end - start
    const max = this.limits.maxHeaderListBytes * 2
    if (this.blockLength + size > max || ++this.blockFrames > 16 + (max >>> 12)) {
      this.fault(errorCode.enhanceYourCalm, 'a header block without end')
      return
    }
    if (this.blockLength + size > this.blockBytes.length) {
      const larger = new Uint8Array(Math.max(this.blockLength + size, this.blockBytes.length * 2, minMaxFrameBytes))
      larger.set(this.blockBytes.subarray(0, this.blockLength))
      this.blockBytes = larger
    }
    this.blockBytes.set(bytes.subarray(start, end), this.blockLength)
    this.blockLength += size
  }

  private headerBlock(
    id: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    ends: boolean,
    selfDependent: boolean,
  ): void {
    const { block } = this
    block.begin()
    const broken = this.decoder.decode(bytes, start, end, block)
    if (broken !== undefined) {
      this.fault(errorCode.compression, broken)
      return
    }
    const stream = this.streams.get(id)
    if (!stream) {
      this.headersOfNone(id, ends, selfDependent)
      return
    }
    if (stream.remoteDone) this.streamFault(stream, errorCode.streamClosed, 'HEADERS behind END_STREAM')
    else if (selfDependent) this.streamFault(stream, errorCode.protocol, 'a stream that depends on itself')
    else if (!stream.headDone) {
      stream.user.head(block, ends)
      if (ends && stream.headDone && !stream.closed) this.finish(stream)
    } else if (!ends) this.streamFault(stream, errorCode.protocol, 'a trailer section that is not the end')
    else {
      const trailers = trailersOf(block)
      if (typeof trailers === 'string') this.streamFault(stream, errorCode.protocol, trailers)
      else if (!stream.finishRemote(trailers))
        this.streamFault(stream, errorCode.protocol, 'a body shorter than its content-length')
    }
  }

  private finish(stream: Stream): void {
    if (!stream.finishRemote(undefined))
      this.streamFault(stream, errorCode.protocol, 'no body where content-length promised one')
  }

  private headersOfNone(id: number, ends: boolean, selfDependent: boolean): void {
    if (!this.role.isServer || (id & 1) === 0) {
      if (this.isIdle(id)) this.fault(errorCode.protocol, 'HEADERS on a stream that we have not opened')
      else if (!this.ended.wasReset(id)) this.fault(errorCode.streamClosed, 'HEADERS on a closed stream')
      return
    }
    if (id <= this.lastPeerId) {
      const how = this.ended.find(id)
      if (how === 'reset') return
      if (how === 'left') this.refuseFrame(id, errorCode.streamClosed)
      else if (how === 'ended') this.fault(errorCode.streamClosed, 'HEADERS on a closed stream')
      else this.fault(errorCode.protocol, 'stream identifiers must grow')
      return
    }
    this.lastPeerId = id
    if (id > this.lastTakenId) return // RFC 9113 section 6.8: nobody will wait for it
    if (this.streams.size >= this.limits.maxConcurrentStreams) {
      this.refuseFrame(id, errorCode.refusedStream)
      return
    }
    const stream = this.newStream(id, false)
    if (selfDependent) {
      stream.user = abandoned
      this.streamFault(stream, errorCode.protocol, 'a stream that depends on itself')
      return
    }
    this.role.opened(stream, this.block, ends)
  }

  private newStream(id: number, ours: boolean): Stream {
    const stream = new Stream(this, id, this.peer.initialWindowSize, this.firstWindow, ours)
    if (this.streams.size === 0) this.timers.disarm(this.timer)
    this.streams.set(id, stream)
    this.idleFrames.earn(4)
    return stream
  }

  // --- other frames in

  private priority(bytes: Uint8Array, start: number, end: number): void {
    const { id } = this
    if (id === 0) this.fault(errorCode.protocol, 'PRIORITY on stream 0')
    else if (end - start !== 5) {
      const stream = this.streams.get(id)
      if (stream) this.streamFault(stream, errorCode.frameSize, 'PRIORITY of a wrong size')
      else this.fault(errorCode.frameSize, 'PRIORITY of a wrong size')
    } else if (readUint31(bytes, start) === id) {
      const stream = this.streams.get(id)
      if (stream) this.streamFault(stream, errorCode.protocol, 'a stream that depends on itself')
      else this.fault(errorCode.protocol, 'a stream that depends on itself')
    } else this.spendIdleFrame()
  }

  private rstStream(bytes: Uint8Array, start: number, end: number): void {
    const { id } = this
    if (end - start !== 4) {
      this.fault(errorCode.frameSize, 'RST_STREAM of a wrong size')
      return
    }
    if (id === 0 || this.isIdle(id)) {
      this.fault(errorCode.protocol, 'RST_STREAM on an idle stream')
      return
    }
    const stream = this.streams.get(id)
    if (!stream) {
      this.spendIdleFrame()
      return
    }
    const code = readUint32(bytes, start)
    this.forget(stream, 'left')
    stream.shut(stream.user.lost(`stream reset by the peer: ${errorName(code)}`, code, false))
    this.rest()
    this.spendReset()
  }

  private settings(bytes: Uint8Array, start: number, end: number): void {
    if (this.id !== 0) {
      this.fault(errorCode.protocol, 'SETTINGS on a stream')
      return
    }
    if ((this.flags & flag.ack) !== 0) {
      if (end > start) this.fault(errorCode.frameSize, 'SETTINGS acknowledgement with a payload')
      else this.settingsTaken()
      return
    }
    if ((end - start) % 6 !== 0) {
      this.fault(errorCode.frameSize, 'SETTINGS of a wrong size')
      return
    }
    if (!this.spendIdleFrame()) return
    const before = this.peer.initialWindowSize
    const wrong = applySettings(this.peer, bytes, start, end, !this.role.isServer)
    if (wrong) {
      this.fault(wrong.code, wrong.reason)
      return
    }
    this.encoder.limit(this.peer.headerTableSize)
    const change = this.peer.initialWindowSize - before
    const at = this.output.reserve(frameHeaderBytes)
    writeFrameHeader(this.output.bytes, at, 0, frameType.settings, flag.ack, 0)
    const first = !this.settingsSeen
    this.settingsSeen = true
    if (first) this.rest()
    if (change !== 0) this.shiftWindows(change)
    if (!this.over) this.role.changed()
  }

  private shiftWindows(change: number): void {
    for (const stream of this.streams.values()) {
      stream.sendWindow += change
      if (stream.sendWindow > maxWindowBytes) {
        this.fault(errorCode.flowControl, 'a window larger than 2^31-1')
        return
      }
    }
    if (change < 0) return
    for (const stream of this.streams.values()) if (stream.holds && !stream.queued) stream.pump()
  }

  /** From here on the peer keeps to our settings. Until it did, a smaller window than the default was not its fault. */
  private settingsTaken(): void {
    this.spendIdleFrame()
    if (this.settingsAcknowledged) return
    this.settingsAcknowledged = true
    const change = this.limits.streamWindowBytes - this.firstWindow
    this.firstWindow = this.limits.streamWindowBytes
    if (change < 0) for (const stream of this.streams.values()) stream.receiveWindow += change
  }

  private ping(bytes: Uint8Array, start: number, end: number): void {
    if (this.id !== 0) {
      this.fault(errorCode.protocol, 'PING on a stream')
      return
    }
    if (end - start !== 8) {
      this.fault(errorCode.frameSize, 'PING of a wrong size')
      return
    }
    if (!this.spendIdleFrame()) return
    if ((this.flags & flag.ack) !== 0) {
      if (bytes[start] === drainPing && this.draining) this.sayLast()
      return
    }
    const at = this.output.reserve(frameHeaderBytes + 8)
    writeFrameHeader(this.output.bytes, at, 8, frameType.ping, flag.ack, 0)
    this.output.bytes.set(bytes.subarray(start, end), at + frameHeaderBytes)
  }

  private goaway(bytes: Uint8Array, start: number, end: number): void {
    if (this.id !== 0) {
      this.fault(errorCode.protocol, 'GOAWAY on a stream')
      return
    }
    if (end - start < 8) {
      this.fault(errorCode.frameSize, 'GOAWAY of a wrong size')
      return
    }
    if (!this.spendIdleFrame()) return
    const last = readUint31(bytes, start)
    const code = readUint32(bytes, start + 4)
    this.closing = true
    this.role.goingAway(code)
    if (!this.role.isServer) {
      // Streams above the last one were not looked at: RFC 9113 section 6.8.
      for (const stream of this.streams.values()) {
        if (stream.id <= last) continue
        this.forget(stream, 'left')
        stream.shut(
          stream.user.lost(`the peer is going away: ${errorName(code)}`, errorCode.refusedStream, false),
        )
      }
    }
    this.rest()
  }

  private windowUpdate(bytes: Uint8Array, start: number, end: number): void {
    const { id } = this
    if (end - start !== 4) {
      this.fault(errorCode.frameSize, 'WINDOW_UPDATE of a wrong size')
      return
    }
    if (!this.spendIdleFrame()) return
    const increment = readUint31(bytes, start)
    if (id === 0) {
      if (increment === 0) this.fault(errorCode.protocol, 'WINDOW_UPDATE of 0')
      else if (this.sendWindow + increment > maxWindowBytes)
        this.fault(errorCode.flowControl, 'a window larger than 2^31-1')
      else {
        this.sendWindow += increment
        this.pumpQueue()
      }
      return
    }
    const stream = this.streams.get(id)
    if (!stream) {
      if (this.isIdle(id)) this.fault(errorCode.protocol, 'WINDOW_UPDATE on an idle stream')
      return
    }
    if (increment === 0) this.streamFault(stream, errorCode.protocol, 'WINDOW_UPDATE of 0')
    else if (stream.sendWindow + increment > maxWindowBytes)
      this.streamFault(stream, errorCode.flowControl, 'a window larger than 2^31-1')
    else {
      stream.sendWindow += increment
      if (stream.holds && !stream.queued) stream.pump()
    }
  }

  private isIdle(id: number): boolean {
    return (id & 1) === (this.role.isServer ? 1 : 0) ? id > this.lastPeerId : id >= this.nextId
  }

  private spendIdleFrame(): boolean {
    if (this.idleFrames.spend()) return true
    this.fault(errorCode.enhanceYourCalm, 'too many frames that move nothing')
    return false
  }

  /** Opening streams only to end them costs us more than it costs the peer, whoever sends the reset. */
  private spendReset(): void {
    if (this.role.isServer && !this.over && !this.resets.spend())
      this.fault(errorCode.enhanceYourCalm, 'too many streams that were reset')
  }

  // --- frames out

  get outputEpoch(): number {
    return this.output.epoch
  }

  /** Opens a stream of ours. */
  open(user: StreamUser): Stream {
    const stream = this.newStream(this.nextId, true)
    this.nextId += 2
    if (this.nextId > maxStreamId) this.closing = true
    stream.user = user
    return stream
  }

  sendResponse(stream: Stream, status: number, lines: string, ends: boolean): void {
    const out = this.beginBlock(HpackEncoder.bound(lines))
    const { encoder } = this
    const at = encoder.fields(lines, out, encoder.status(status, out, this.blockAt))
    this.endBlock(stream.id, out, at, ends)
  }

  sendRequest(
    stream: Stream,
    method: string,
    scheme: 'http' | 'https',
    authority: string,
    target: string,
    lines: string,
    ends: boolean,
  ): void {
    const out = this.beginBlock((method.length + authority.length + target.length + lines.length) * 3 + 128)
    const { encoder } = this
    let at = encoder.method(method, out, this.blockAt)
    at = encoder.scheme(scheme, out, at)
    at = encoder.authority(authority, out, at)
    at = encoder.path(target, out, at)
    this.endBlock(stream.id, out, encoder.fields(lines, out, at), ends)
  }

  sendTrailers(stream: Stream, lines: string): void {
    const out = this.beginBlock(HpackEncoder.bound(lines))
    this.endBlock(stream.id, out, this.encoder.fields(lines, out, this.blockAt), true)
  }

  private blockAt = 0

  /** Blocks are encoded where they go out from, unless they are large. */
  private beginBlock(bound: number): Uint8Array {
    this.direct = bound <= minMaxFrameBytes
    let out: Uint8Array
    if (this.direct) {
      this.blockStart = this.output.reserve(frameHeaderBytes + bound)
      out = this.output.bytes
    } else {
      this.blockStart = 0
      out = new Uint8Array(frameHeaderBytes + bound)
    }
    this.blockAt = this.encoder.begin(out, this.blockStart + frameHeaderBytes)
    return out
  }

  private endBlock(id: number, out: Uint8Array, end: number, ends: boolean): void {
    const endFlag = ends ? flag.endStream : 0
    const start = this.blockStart
    if (this.direct) {
      const length = end - start - frameHeaderBytes
      writeFrameHeader(out, start, length, frameType.headers, flag.endHeaders | endFlag, id)
      this.output.trim(end)
      return
    }
    let at = start + frameHeaderBytes
    for (let first = true; first || at < end; first = false) {
      const size = Math.min(end - at, minMaxFrameBytes)
      const to = this.output.reserve(frameHeaderBytes + size)
      const flags = (at + size === end ? flag.endHeaders : 0) | (first ? endFlag : 0)
      const type = first ? frameType.headers : frameType.continuation
      writeFrameHeader(this.output.bytes, to, size, type, flags, id)
      this.output.bytes.set(out.subarray(at, at + size), to + frameHeaderBytes)
      at += size
    }
  }

  /** Sends what windows and buffer allow. @returns the offset behind the last byte sent */
  sendData(stream: Stream, bytes: Uint8Array, start: number, end: number): number {
    const { output } = this
    const max = Math.min(this.peer.maxFrameSize, maxSendBytes)
    let at = start
    while (at < end) {
      const size = Math.min(end - at, max, stream.sendWindow, this.sendWindow, output.room - frameHeaderBytes)
      if (size <= 0) break
      const to = output.reserve(frameHeaderBytes + size)
      const out = output.bytes
      writeFrameHeader(out, to, size, frameType.data, 0, stream.id)
      if (size === bytes.length) out.set(bytes, to + frameHeaderBytes)
      else out.set(bytes.subarray(at, at + size), to + frameHeaderBytes)
      stream.sendWindow -= size
      this.sendWindow -= size
      stream.wrote(size, to, output.epoch)
      at += size
      this.idleFrames.earn(2) // each may be answered by two WINDOW_UPDATEs
    }
    return at
  }

  /** @param lastFrameAt where the stream's last DATA frame stands, when it has not left; otherwise -1 */
  endData(stream: Stream, lastFrameAt: number): void {
    if (lastFrameAt >= 0) {
      this.output.bytes[lastFrameAt + 4]! |= flag.endStream
      return
    }
    const at = this.output.reserve(frameHeaderBytes)
    writeFrameHeader(this.output.bytes, at, 0, frameType.data, flag.endStream, stream.id)
  }

  sendWindowUpdate(id: number, increment: number): void {
    const at = this.output.reserve(frameHeaderBytes + 4)
    writeFrameHeader(this.output.bytes, at, 4, frameType.windowUpdate, 0, id)
    writeUint32(this.output.bytes, at + frameHeaderBytes, increment)
  }

  /** RST_STREAM; what the stream's user has to be told is for the caller. */
  sendReset(stream: Stream, code: number): void {
    this.writeReset(stream.id, code)
    this.forget(stream, 'reset')
    this.rest()
  }

  private writeReset(id: number, code: number): void {
    const at = this.output.reserve(frameHeaderBytes + 4)
    writeFrameHeader(this.output.bytes, at, 4, frameType.rstStream, 0, id)
    writeUint32(this.output.bytes, at + frameHeaderBytes, code)
  }

  private sendGoaway(last: number, code: number): void {
    const at = this.output.reserve(frameHeaderBytes + 8)
    const { bytes } = this.output
    writeFrameHeader(bytes, at, 8, frameType.goaway, 0, 0)
    writeUint32(bytes, at + frameHeaderBytes, last)
    writeUint32(bytes, at + frameHeaderBytes + 4, code)
  }

  private sendPing(mark: number): void {
    const at = this.output.reserve(frameHeaderBytes + 8)
    writeFrameHeader(this.output.bytes, at, 8, frameType.ping, 0, 0)
    this.output.bytes.fill(0, at + frameHeaderBytes, at + frameHeaderBytes + 8)
    this.output.bytes[at + frameHeaderBytes] = mark
  }

  /**
   * Octets of DATA that are out of the way. What waits for a consumer is out of the way too, up to a limit: a stream
   * that nobody reads must not stop the others.
   */
  creditConnection(octets: number): void {
    this.uncredited += octets
    const credit = this.uncredited - Math.max(0, this.buffered - this.limits.maxBufferedBytes)
    if (credit < this.limits.connectionWindowBytes >>> 1 || this.over) return
    this.uncredited -= credit
    this.receiveWindow += credit
    this.sendWindowUpdate(0, credit)
  }

  // --- streams that wait

  /** A stream holds bytes back. @param moving true when some of them went out just now */
  wait(stream: Stream, moving = true): void {
    if (moving || stream.deadlineMs === Infinity) this.timers.arm(stream, this.limits.writeStallTimeoutMs)
    if (stream.sendWindow <= 0 || stream.queued) return
    stream.queued = true
    if (this.lastQueued) this.lastQueued.nextQueued = stream
    else this.firstQueued = stream
    this.lastQueued = stream
  }

  /** It holds nothing any more. */
  moved(stream: Stream): void {
    this.timers.disarm(stream)
  }

  private pumpQueue(): void {
    while (this.firstQueued && this.sendWindow > 0 && this.output.room > 0) {
      const stream = this.firstQueued
      this.firstQueued = stream.nextQueued
      if (!this.firstQueued) this.lastQueued = undefined
      stream.nextQueued = undefined
      stream.queued = false
      stream.pump()
    }
  }

  // --- streams that end

  /** Forgets a stream when both directions are over. */
  settle(stream: Stream): void {
    if (!stream.localDone || !stream.remoteDone || stream.closed) return
    this.forget(stream, 'ended')
    this.rest()
  }

  private forget(stream: Stream, how: 'ended' | 'reset' | 'left'): void {
    stream.closed = true
    this.streams.delete(stream.id)
    this.ended.add(stream.id, how)
    if (stream.slot !== -1) this.timers.remove(stream)
  }

  /** After a stream: is there anything left to do? */
  private rest(): void {
    if (this.over || this.blockId !== 0) return
    if (this.streams.size === 0) {
      if (this.closing && (!this.draining || this.lastTakenId < maxStreamId)) {
        this.close()
        return
      }
      if (this.settingsSeen && !this.draining) this.timers.arm(this.timer, this.options.idleTimeoutMs)
    } else if (!this.draining) this.timers.disarm(this.timer)
    this.role.changed()
  }

  /** The peer broke a rule of a stream: that stream is over. */
  streamFault(stream: Stream, code: number, reason: string): void {
    if (stream.closed || this.over) return
    this.writeReset(stream.id, code)
    this.forget(stream, 'reset')
    stream.shut(stream.user.lost(reason, -1, true))
    this.rest()
    this.spendReset()
  }

  /** Refuses a stream that does not exist. */
  private refuseFrame(id: number, code: number): void {
    this.writeReset(id, code)
    this.ended.add(id, 'reset')
    this.spendReset()
  }

  // --- the end of the connection

  /** No new streams; closes when those that run are over. */
  drain(): void {
    if (this.over || this.draining) return
    this.draining = true
    this.closing = true
    if (!this.role.isServer) {
      this.lastTakenId = 0
      this.rest()
      return
    }
    // RFC 9113 section 6.8: streams that are on their way still count, so the last one is named a round trip later.
    this.sendGoaway(maxStreamId, errorCode.none)
    this.sendPing(drainPing)
    this.timers.arm(this.timer, this.limits.goawayTimeoutMs)
  }

  private sayLast(): void {
    if (this.lastTakenId < maxStreamId) return
    this.timers.disarm(this.timer)
    this.lastTakenId = this.lastPeerId
    this.sendGoaway(this.lastPeerId, errorCode.none)
    this.rest()
  }

  /** The peer broke a rule of the connection. RFC 9113 section 5.4.1 */
  private fault(code: number, reason: string): void {
    this.stop(code, reason, true)
  }

  /** All is well, and over. */
  private close(): void {
    this.stop(errorCode.none, 'connection closed', false)
  }

  /** Says GOAWAY, and waits a while for the peer's FIN: a close with unread bytes would reset the last words away. */
  private stop(code: number, reason: string, malformed: boolean): void {
    if (this.over) return
    this.closing = true
    if (code !== errorCode.none || !this.draining || !this.role.isServer) this.sendGoaway(this.lastPeerId, code)
    this.output.flush()
    this.finishAll(reason, malformed)
    if (this.ended_) {
      this.destroy()
      return
    }
    this.socket.end()
    this.timers.arm(this.timer, this.limits.goawayTimeoutMs)
  }

  /** The peer is gone, or as good as gone. */
  private lose(reason: string): void {
    this.finishAll(reason, false)
    this.destroy()
  }

  private finishAll(reason: string, malformed: boolean): void {
    if (this.over) return
    this.over = true
    this.closing = true
    this.timers.remove(this.writeTimer)
    this.timers.remove(this.pingTimer)
    this.role.failed(reason, malformed)
    for (const stream of this.streams.values()) {
      this.forget(stream, 'left')
      stream.shut(stream.user.lost(reason, -1, malformed))
    }
    this.firstQueued = this.lastQueued = undefined
  }

  private gone = false

  /** Ends everything at once. */
  destroy(): void {
    if (this.gone) return
    this.gone = true
    this.finishAll('connection closed', false)
    this.output.close()
    this.timers.remove(this.timer)
    this.socket.destroy()
    this.role.closed()
  }

  private expire(): void {
    if (this.over) this.destroy()
    else if (this.draining && this.role.isServer) this.sayLast()
    else if (!this.settingsSeen) this.fault(errorCode.settingsTimeout, 'no SETTINGS in time')
    else if (this.blockId !== 0) this.fault(errorCode.enhanceYourCalm, 'header block not complete in time')
    else if (this.streams.size === 0) this.close()
  }

  private checkPeer(): void {
    const { pingIntervalMs, pingTimeoutMs } = this.limits
    if (this.heard) {
      this.heard = this.pinging = false
      this.timers.arm(this.pingTimer, pingIntervalMs)
    } else if (this.pinging) this.lose('no sign of life from the peer')
    else {
      this.pinging = true
      this.sendPing(alivePing)
      this.timers.arm(this.pingTimer, pingTimeoutMs)
    }
  }

  // --- the socket

  /** The socket takes bytes again. */
  drained(): void {
    this.output.drained()
  }

  end(): void {
    this.ended_ = true
    if (this.over) {
      this.destroy()
      return
    }
    this.finishAll('connection closed by the peer', false)
    this.socket.end()
    this.destroy()
  }

  close_(error?: SocketError): void {
    this.finishAll(error?.message ?? 'connection closed by the peer', false)
    this.destroy()
  }
}

/** Nobody: for a stream that ends before it began. */
const abandoned: StreamUser = {
  head() {},
  bodyWanted() {},
  bodyMoved() {},
  bodyCancelled() {},
  sent() {},
  broke() {},
  received() {},
  lost: () => ({ kind: 'downstream-gone' }),
  stalled() {},
}

const none = new Uint8Array(0)

/** Our SETTINGS. */
export function settingsOf(limits: Http2Limits, isServer: boolean, connectProtocol: boolean): Setting[] {
  const settings: Setting[] = isServer
    ? [[setting.maxConcurrentStreams, Math.min(limits.maxConcurrentStreams, 0xffff_ffff)]]
    : [[setting.enablePush, 0]]
  if (limits.streamWindowBytes !== defaultWindowBytes) settings.push([setting.initialWindowSize, limits.streamWindowBytes])
  if (limits.maxFrameBytes !== minMaxFrameBytes) settings.push([setting.maxFrameSize, limits.maxFrameBytes])
  settings.push([setting.maxHeaderListSize, limits.maxHeaderListBytes])
  if (isServer) settings.push([setting.noPriorities, 1])
  if (connectProtocol) settings.push([setting.enableConnectProtocol, 1])
  return settings
}
