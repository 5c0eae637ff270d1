/**
 * One HTTP/2 connection, either end of it, on any {@link Socket}: frames, windows, settings, header compression, and
 * the ways in which a connection ends. What the streams are for is the user's affair. RFC 9113 sections 3 to 6.
 */
import type { ProxyError } from '../errors.ts'
import type { Socket, SocketError, SocketEvents } from '../runtime.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'
import { Budget } from './budget.ts'
import { FieldBlock } from './field-block.ts'
import { FrameReader, type FrameSink } from './frame-reader.ts'
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
  readUint31,
  readUint32,
  writeFrameHeader,
  writeUint32,
} from './frames.ts'
import { HpackDecoder } from './hpack-decoder.ts'
import { HpackEncoder } from './hpack-encoder.ts'
import type { Http2Limits } from './limits.ts'
import { Output } from './output.ts'
import { applySettings, defaultPeerSettings, setting, writeSettings, type Setting } from './settings.ts'
import { StreamTable } from './stream-table.ts'
import { Stream, type StreamConnection } from './stream.ts'

export interface SessionOptions {
  readonly socket: Socket
  readonly side: 'client' | 'server'
  readonly timers: Timers
  readonly limits: Http2Limits
  readonly afterTurn: (f: () => void) => void
  /** Of a server: clients may open WebSockets. RFC 8441 section 3. */
  readonly extendedConnect?: boolean | undefined
}

/** What the connection's user hears. */
export interface SessionUser {
  /** The peer opens a stream. @returns false to refuse it (REFUSED_STREAM); otherwise its user is set */
  opened(stream: Stream): boolean
  /** What streams are told when the peer resets one, or the connection is gone. */
  errorOf(code: number, reason: string, unprocessed: boolean): ProxyError
  /** The peer's first settings are here. */
  ready(): void
  /** No new streams: the peer has said so (GOAWAY), or the connection is about to be closed. */
  leaving(): void
  /** The last stream is over. */
  idle(): void
  /** Nothing, or no answer, was heard of the peer for too long; the connection is given up. */
  silent(): void
  /** The peer broke the rules, of a stream or of all. */
  fault(reason: string): void
  /** The connection is closed, for the peer asked more of us than the limits allow (ENHANCE_YOUR_CALM). */
  flooded(reason: string): void
  /** The connection is over, and so are its streams. Once, and last. */
  over(): void
}

export interface RequestPseudo {
  readonly method: string
  readonly scheme: 'http' | 'https'
  readonly authority: string
  readonly path: string
}

type Phase = 'preface' | 'settings' | 'open' | 'closing' | 'closed'

/** PINGs' time limits that a peer may let pass unanswered while it talks. */
const deafAfter = 4
/** Streams that ended by a reset, of which late frames may still come. */
const maxRemembered = 1_024
/** Smaller increments move next to nothing. */
const smallIncrement = 256
const smallFragment = 1_024
/** Besides DATA, what may be under way when a stream ends: a head, a reset, room that is not needed any more. */
const lateFrames = 2

export class Session implements SocketEvents, StreamConnection, FrameSink {
  readonly output: Output
  readonly timers: Timers
  readonly writeStallTimeoutMs: number
  readonly streamWindowBytes: number
  sendWindow = defaultWindowBytes
  readonly streams = new StreamTable()
  readonly peer = defaultPeerSettings()
  private readonly socket: Socket
  private readonly isServer: boolean
  private readonly limits: Http2Limits
  private readonly user: SessionUser
  private readonly reader = new FrameReader(this)
  private readonly decoder: HpackDecoder
  private readonly encoder = new HpackEncoder()
  private readonly block: FieldBlock
  private readonly resets: Budget
  private readonly idleFrames: Budget
  /** Of the connection as a whole: handshake, idleness, farewell. */
  private readonly timer: TimerEntry
  private readonly blockTimer: TimerEntry
  private readonly pingTimer: TimerEntry
  private readonly writeTimer: TimerEntry
  private phase: Phase
  private prefaceAt = 0
  private receiveWindow: number
  private owed = 0
  private bufferedBytes = 0
  private readonly waiting = new Set<Stream>()
  private serving = false
  /** Octets sent on streams that are over, less the room that was made for them since. */
  private lateRoom = 0
  /** Octets that may be under way on streams that are over. */
  private lateData = 0
  private readonly remembered = new Map<number, 'ours' | 'theirs'>()
  /** So many were reset that nobody knows which: frames of any closed stream may be late. */
  private forgetful = false
  private lastPeerStream = 0
  private nextStream: number
  // The frame that is being read.
  private dataStream: Stream | undefined
  private dataEndsStream = false
  private dataLength = 0
  private padding = -1 // octets behind the data; -1 while their number has not been read
  private dataLeft = 0
  private dataCame = 0
  // The header block that is being gathered.
  private blockStream = 0
  private blockFlags = 0
  private blockSelfDependent = false
  private fragments: Uint8Array[] = []
  private fragmentBytes = 0
  /** PINGs' time limits that have passed without an answer, and -1 while none is asked for. */
  private unanswered = -1
  private talked = false // since our PING
  // What of ours the peer has yet to acknowledge.
  private settingsOut = true
  private pingsOut = 0
  private leaving: 'no' | 'announced' | 'final' = 'no'
  private lastAccepted = maxStreamId
  private frameAt = 0
  private scratch: Uint8Array | undefined

  constructor(options: SessionOptions, user: SessionUser) {
    const { socket, limits, timers, side } = options
    this.socket = socket
    this.limits = limits
    this.timers = timers
    this.user = user
    this.isServer = side === 'server'
    this.nextStream = this.isServer ? 2 : 1
    this.writeStallTimeoutMs = limits.writeStallTimeoutMs
    this.streamWindowBytes = limits.streamWindowBytes
    this.receiveWindow = limits.connectionWindowBytes
    this.block = new FieldBlock(limits)
    this.decoder = new HpackDecoder(4096, (bytes, start, end) => socket.latin1(bytes, start, end))
    this.resets = new Budget(timers, limits.resetBurst, limits.resetsPerSecond)
    this.idleFrames = new Budget(timers, limits.idleFrameBurst, limits.idleFramesPerSecond)
    this.timer = createTimerEntry(() => this.expire())
    this.blockTimer = createTimerEntry(() => this.fail(errorCode.enhanceYourCalm, 'header block not complete in time'))
    this.pingTimer = createTimerEntry(() => this.silence())
    this.writeTimer = createTimerEntry(() => this.lose('the peer does not read'))
    this.output = new Output({
      socket,
      afterTurn: options.afterTurn,
      maxBytes: limits.maxOutputBytes,
      onOverflow: () => this.lose('the peer does not read what it asks for'),
      onBlocked: () => timers.arm(this.writeTimer, limits.writeStallTimeoutMs),
      onDrained: () => this.outputDrained(),
    })
    this.phase = this.isServer ? 'preface' : 'settings'
    this.greet(options.extendedConnect ?? false)
    timers.arm(this.timer, limits.headTimeoutMs)
    timers.arm(this.pingTimer, limits.pingIntervalMs)
    socket.attach(this)
  }

  /** True while streams may be opened. */
  get usable(): boolean {
    return (this.phase === 'open' || this.phase === 'settings') && this.leaving === 'no'
  }

  get isReady(): boolean {
    return this.phase === 'open'
  }

  private greet(extendedConnect: boolean): void {
    const { limits } = this
    const settings: Setting[] = [
      [setting.maxFrameSize, limits.maxFrameBytes],
      [setting.maxHeaderListSize, limits.maxHeaderListBytes],
      [setting.initialWindowSize, limits.streamWindowBytes],
      [setting.noPriorities, 1],
    ]
    if (this.isServer) settings.push([setting.maxConcurrentStreams, limits.maxConcurrentStreams])
    else settings.push([setting.enablePush, 0])
    if (extendedConnect) settings.push([setting.enableConnectProtocol, 1])
    const { output } = this
    if (!this.isServer) {
      const at = output.reserve(preface.length)
      for (let i = 0; i < preface.length; i++) output.bytes[at + i] = preface.charCodeAt(i)
    }
    const at = output.reserve(frameHeaderBytes + settings.length * 6)
    writeFrameHeader(output.bytes, at, settings.length * 6, frameType.settings, 0, 0)
    writeSettings(output.bytes, at + frameHeaderBytes, settings)
    const more = limits.connectionWindowBytes - defaultWindowBytes
    if (more > 0) this.writeWindowUpdate(0, more)
  }

  // --- bytes in

  data(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start
    if (this.phase === 'preface') {
      while (at < end && this.prefaceAt < preface.length) {
        if (bytes[at++] !== preface.charCodeAt(this.prefaceAt++)) {
          this.fail(errorCode.protocol, 'not the HTTP/2 preface')
          return true
        }
      }
      if (this.prefaceAt < preface.length) return true
      this.phase = 'settings'
    }
    if (this.phase === 'closing' || this.phase === 'closed') return true
    this.talked = true
    this.reader.read(bytes, at, end)
    return true
  }

  drain(): void {
    this.output.drained()
  }

  /** The peer sends no more, window updates among it: nothing that is under way could be completed for certain. */
  end(): void {
    if (this.streams.size > 0) this.lose('connection ended by the peer')
    else this.leave()
  }

  close(error?: SocketError): void {
    this.over(error?.message ?? 'connection closed')
  }

  frameBegun(type: number, flags: number, streamId: number, length: number): boolean {
    if (length > this.limits.maxFrameBytes) return this.fail(errorCode.frameSize, 'frame too large')
    if (this.phase === 'settings' && (type !== frameType.settings || (flags & flag.ack) !== 0))
      return this.fail(errorCode.protocol, 'no SETTINGS at first')
    if (this.blockStream !== 0 && (type !== frameType.continuation || streamId !== this.blockStream))
      return this.fail(errorCode.protocol, 'a frame inside a header block')
    if (type === frameType.data) return this.dataBegun(flags, streamId, length)
    return true
  }

  private dataBegun(flags: number, streamId: number, length: number): boolean {
    if (streamId === 0) return this.fail(errorCode.protocol, 'DATA without a stream')
    if (this.isIdle(streamId)) return this.fail(errorCode.protocol, 'DATA on an idle stream')
    this.receiveWindow -= length
    if (this.receiveWindow < 0) return this.fail(errorCode.flowControl, 'more than the connection window')
    this.owed += length
    this.creditConnection()
    this.dataLength = length
    this.dataEndsStream = (flags & flag.endStream) !== 0
    this.padding = (flags & flag.padded) === 0 ? 0 : -1
    if (this.padding === -1 && length === 0) return this.fail(errorCode.frameSize, 'no room for the pad length')
    this.dataLeft = length
    this.dataCame = 0
    const stream = this.streams.get(streamId)
    this.dataStream = undefined
    if (!stream) {
      this.lateFrame(streamId, this.dataEndsStream, length)
      return this.phase === 'open'
    }
    if (length === 0 && !this.dataEndsStream && !this.spendIdle()) return false
    if (stream.remoteEnded) this.streamFault(stream, errorCode.streamClosed, 'DATA behind the end')
    else if (!stream.headSeen) this.streamFault(stream, errorCode.protocol, 'DATA before the head')
    else if (!stream.takeWindow(length)) this.streamFault(stream, errorCode.flowControl, 'more than the stream window')
    else this.dataStream = stream
    return this.phase === 'open'
  }

  dataPiece(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start
    if (this.padding === -1) {
      this.padding = bytes[at++]!
      this.dataLeft -= 1 + this.padding
      if (this.dataLeft < 0) return this.fail(errorCode.protocol, 'padding longer than its frame')
      if (this.dataLeft === 0 && this.dataStream && !this.dataEndsStream && !this.spendIdle()) return false
    }
    const size = Math.min(this.dataLeft, end - at)
    this.dataLeft -= size
    this.dataCame += size
    const { dataStream } = this
    if (size > 0 && dataStream && !dataStream.closed) dataStream.receiveData(bytes, at, at + size)
    return this.phase === 'open'
  }

  dataEnded(): boolean {
    const { dataStream } = this
    this.dataStream = undefined
    if (dataStream && !dataStream.closed) {
      const padding = this.dataLength - this.dataCame
      if (padding > 0) dataStream.credit(padding)
      if (this.dataEndsStream) dataStream.receiveEnd(undefined)
    }
    return this.phase === 'open'
  }

  frame(type: number, flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean {
    switch (type) {
      case frameType.headers:
        this.headers(flags, streamId, bytes, start, end)
        break
      case frameType.continuation:
        this.continuation(flags, streamId, bytes, start, end)
        break
      case frameType.priority:
        this.priority(streamId, bytes, start, end)
        break
      case frameType.rstStream:
        this.rstStream(streamId, bytes, start, end)
        break
      case frameType.settings:
        this.settings(flags, streamId, bytes, start, end)
        break
      case frameType.pushPromise:
        this.fail(errorCode.protocol, 'PUSH_PROMISE')
        break
      case frameType.ping:
        this.ping(flags, streamId, bytes, start, end)
        break
      case frameType.goaway:
        this.goaway(streamId, bytes, start, end)
        break
      case frameType.windowUpdate:
        this.windowUpdate(streamId, bytes, start, end)
        break
      default:
        this.spendIdle() // an extension's; ignored
    }
    return this.phase === 'open'
  }

  // --- header blocks

  private headers(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (streamId === 0 || (streamId & 1) === 0) {
      this.fail(errorCode.protocol, 'HEADERS on a stream that the peer may not open')
      return
    }
    let from = start
    let until = end
    if ((flags & flag.padded) !== 0) until -= bytes[from++] ?? Infinity
    this.blockSelfDependent = false
    if ((flags & flag.priority) !== 0) {
      this.blockSelfDependent = until - from >= 5 && readUint31(bytes, from) === streamId
      from += 5
    }
    if (from > until) {
      this.fail(errorCode.protocol, 'padding longer than its frame')
      return
    }
    this.blockFlags = flags
    if ((flags & flag.endHeaders) !== 0) this.blockComplete(streamId, bytes, from, until)
    else {
      this.blockStream = streamId
      this.timers.arm(this.blockTimer, this.limits.headTimeoutMs)
      this.gather(bytes, from, until)
    }
  }

  private continuation(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.blockStream === 0) {
      this.fail(errorCode.protocol, 'CONTINUATION of nothing')
      return
    }
    const last = (flags & flag.endHeaders) !== 0
    if (!last && end - start < smallFragment && !this.spendIdle()) return
    if (!this.gather(bytes, start, end) || !last) return
    const { fragments } = this
    const whole = new Uint8Array(this.fragmentBytes)
    let at = 0
    for (const fragment of fragments) {
      whole.set(fragment, at)
      at += fragment.length
    }
    this.timers.disarm(this.blockTimer)
    this.blockStream = 0
    this.fragments = []
    this.fragmentBytes = 0
    this.blockComplete(streamId, whole, 0, whole.length)
  }

  private gather(bytes: Uint8Array, start: number, end: number): boolean {
    this.fragments.push(new Uint8Array(bytes.subarray(start, end)))
    this.fragmentBytes += end - start
    // A block that is larger than its list, however it is compressed, is no use to anybody.
    if (this.fragmentBytes > this.limits.maxHeaderListBytes + minMaxFrameBytes)
      return this.fail(errorCode.enhanceYourCalm, 'header block too large')
    return true
  }

  private blockComplete(streamId: number, bytes: Uint8Array, start: number, end: number): void {
    const { block } = this
    block.begin()
    const fault = this.decoder.decode(bytes, start, end, block)
    if (fault !== undefined) {
      this.fail(errorCode.compression, fault)
      return
    }
    const ended = (this.blockFlags & flag.endStream) !== 0
    let stream = this.streams.get(streamId)
    if (!stream) {
      stream = this.streamOf(streamId, ended)
      if (!stream) return
    } else if (stream.remoteEnded) {
      this.streamFault(stream, errorCode.streamClosed, 'HEADERS behind the end')
      return
    }
    if (this.blockSelfDependent) this.streamFault(stream, errorCode.protocol, 'a stream that depends on itself')
    else stream.receiveBlock(block, ended)
  }

  /** The stream that a first header block opens. */
  private streamOf(streamId: number, ended: boolean): Stream | undefined {
    if (!this.isServer) {
      if (this.isIdle(streamId)) this.fail(errorCode.protocol, 'HEADERS on an idle stream')
      else this.lateFrame(streamId, ended, 0)
      return undefined
    }
    if (streamId <= this.lastPeerStream) {
      if (this.forgetful || this.remembered.has(streamId)) this.lateFrame(streamId, ended, 0)
      else this.fail(errorCode.streamClosed, 'HEADERS on a closed stream')
      return undefined
    }
    this.lastPeerStream = streamId
    const stream = new Stream(this, streamId, this.peer.initialWindowSize)
    if (this.leaving === 'final' || !this.user.opened(stream)) {
      this.expectLate(stream)
      this.writeReset(streamId, errorCode.refusedStream)
      this.remember(streamId, 'ours')
      if (this.leaving !== 'final') this.spendReset()
      return undefined
    }
    if (this.leaving === 'no') this.timers.disarm(this.timer)
    this.streams.add(stream)
    return stream
  }

  /**
   * A frame of a stream that is over. What was under way when we reset it is ignored, RFC 9113 section 5.1: so much DATA
   * as the windows had room for, and the peer's last word of the stream.
   */
  private lateFrame(streamId: number, ends: boolean, octets: number): void {
    const whose = this.remembered.get(streamId)
    if (whose === 'ours' || (whose === undefined && this.forgetful)) {
      if (ends && whose) this.remember(streamId, 'theirs')
      else if (octets > 0 && octets <= this.lateData) this.lateData -= octets
      else this.spendIdle()
      return
    }
    if (!this.spendReset()) return
    this.writeReset(streamId, errorCode.streamClosed)
    this.remember(streamId, 'ours')
  }

  private isIdle(streamId: number): boolean {
    const ours = (streamId & 1) === (this.isServer ? 0 : 1)
    return ours ? streamId >= this.nextStream : streamId > this.lastPeerStream
  }

  private isClosed(streamId: number): boolean {
    return !this.isIdle(streamId) && !this.streams.get(streamId)
  }

  // --- the other frames

  private priority(streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (streamId === 0) this.fail(errorCode.protocol, 'PRIORITY without a stream')
    else if (end - start !== 5) this.faultOf(streamId, errorCode.frameSize, 'PRIORITY of a wrong size')
    else if (readUint31(bytes, start) !== streamId || this.isClosed(streamId)) this.spendIdle()
    else this.faultOf(streamId, errorCode.protocol, 'a stream that depends on itself')
  }

  /** An error of a stream, or of the connection where there is none to be reset. RFC 9113 section 5.4.2. */
  private faultOf(streamId: number, code: number, reason: string): void {
    const stream = this.streams.get(streamId)
    if (stream) this.streamFault(stream, code, reason)
    else this.fail(code, reason)
  }

  private rstStream(streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (end - start !== 4) {
      this.fail(errorCode.frameSize, 'RST_STREAM of a wrong size')
      return
    }
    if (streamId === 0 || this.isIdle(streamId)) {
      this.fail(errorCode.protocol, 'RST_STREAM on an idle stream')
      return
    }
    const stream = this.streams.get(streamId)
    if (!stream) {
      this.spendIdle()
      return
    }
    const code = readUint32(bytes, start)
    // The last word of a server that has answered whole: not a failure, whoever sends too many.
    const complete = code === errorCode.none && stream.remoteEnded
    if (this.isServer && !complete && !this.spendReset()) return
    stream.close(this.user.errorOf(code, `stream reset: ${errorName(code)}`, code === errorCode.refusedStream), true)
    this.remember(streamId, 'theirs')
  }

  private settings(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): void {
    const size = end - start
    if (streamId !== 0) this.fail(errorCode.protocol, 'SETTINGS on a stream')
    else if ((flags & flag.ack) !== 0) {
      if (size !== 0) this.fail(errorCode.frameSize, 'SETTINGS acknowledgement with a payload')
      else if (this.settingsOut) this.settingsOut = false
      else this.spendIdle()
    } else if (size % 6 !== 0) this.fail(errorCode.frameSize, 'SETTINGS of a wrong size')
    else if (this.phase === 'settings' || this.spendIdle()) this.takeSettings(bytes, start, end)
  }

  private takeSettings(bytes: Uint8Array, start: number, end: number): void {
    const { peer, output } = this
    const before = peer.initialWindowSize
    const fault = applySettings(peer, bytes, start, end, !this.isServer)
    if (fault) {
      this.fail(fault.code, fault.reason)
      return
    }
    this.encoder.limit(peer.headerTableSize)
    const at = output.reserve(frameHeaderBytes)
    writeFrameHeader(output.bytes, at, 0, frameType.settings, flag.ack, 0)
    const change = peer.initialWindowSize - before
    if (change !== 0) {
      for (const stream of this.streams.all()) {
        if (!stream.widen(change)) {
          this.fail(errorCode.flowControl, 'a window wider than any may be')
          return
        }
      }
    }
    if (this.phase === 'settings') {
      this.phase = 'open'
      if (this.streams.size > 0) this.timers.disarm(this.timer)
      else this.timers.arm(this.timer, this.limits.idleTimeoutMs)
      this.user.ready()
    }
    this.serveWaiting()
  }

  private ping(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (streamId !== 0) this.fail(errorCode.protocol, 'PING on a stream')
    else if (end - start !== 8) this.fail(errorCode.frameSize, 'PING of a wrong size')
    else if ((flags & flag.ack) === 0) {
      if (this.spendIdle()) this.writePing(flag.ack, bytes.subarray(start, end))
    } else if (this.pingsOut === 0) this.spendIdle()
    else {
      this.pingsOut--
      if (this.unanswered >= 0) this.proven()
      if (this.leaving === 'announced' && bytes[start] === farewell[0]) this.sayLast()
    }
  }

  private goaway(streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (streamId !== 0) this.fail(errorCode.protocol, 'GOAWAY on a stream')
    else if (end - start < 8) this.fail(errorCode.frameSize, 'GOAWAY of a wrong size')
    else if (!this.spendIdle()) return
    else {
      const last = readUint31(bytes, start)
      const code = readUint32(bytes, start + 4)
      this.user.leaving()
      if (this.isServer) {
        if (this.leaving !== 'final') this.sayLast()
        return
      }
      this.leaving = 'final'
      for (const stream of this.streams.all()) {
        if (stream.id > last) stream.close(this.user.errorOf(code, `GOAWAY: ${errorName(code)}`, true), true)
      }
      if (this.streams.size === 0) this.leave()
    }
  }

  private windowUpdate(streamId: number, bytes: Uint8Array, start: number, end: number): void {
    if (end - start !== 4) {
      this.fail(errorCode.frameSize, 'WINDOW_UPDATE of a wrong size')
      return
    }
    const increment = readUint31(bytes, start)
    if (increment < smallIncrement && !this.spendIdle()) return
    if (this.unanswered >= 0) this.proven()
    if (streamId === 0) {
      if (increment === 0) this.fail(errorCode.protocol, 'WINDOW_UPDATE of nothing')
      else if ((this.sendWindow += increment) > maxWindowBytes)
        this.fail(errorCode.flowControl, 'a window wider than any may be')
      else this.serveWaiting()
      return
    }
    const stream = this.streams.get(streamId)
    if (!stream) {
      if (this.isIdle(streamId)) this.fail(errorCode.protocol, 'WINDOW_UPDATE on an idle stream')
      else if (increment >= smallIncrement) this.lateUpdate(increment)
    } else if (increment === 0) this.streamFault(stream, errorCode.protocol, 'WINDOW_UPDATE of nothing')
    else if (stream.widen(increment)) this.serveWaiting()
    else this.streamFault(stream, errorCode.flowControl, 'a window wider than any may be')
  }

  /** Room on a stream that is over. Clients that go on reading what was sent there make it, and may. */
  private lateUpdate(increment: number): void {
    if (increment <= this.lateRoom) this.lateRoom -= increment
    else this.spendIdle()
  }

  // --- for the streams

  buffered(bytes: number): void {
    this.bufferedBytes += bytes
    if (bytes < 0) this.creditConnection()
  }

  /** The connection's window does not wait for any stream's consumer, unless all together keep too much. */
  private creditConnection(): void {
    const { connectionWindowBytes, maxBufferedBytes } = this.limits
    if (this.owed * 2 < connectionWindowBytes || this.bufferedBytes > maxBufferedBytes) return
    if (this.phase === 'closing' || this.phase === 'closed') return
    this.writeWindowUpdate(0, this.owed)
    this.receiveWindow += this.owed
    this.owed = 0
  }

  wait(stream: Stream): void {
    this.waiting.add(stream)
  }

  stopWaiting(stream: Stream): void {
    this.waiting.delete(stream)
  }

  /** Those that wait take turns, one frame each. */
  private serveWaiting(): void {
    if (this.serving) return
    this.serving = true
    for (const stream of this.waiting) {
      this.waiting.delete(stream)
      const state = stream.goOn()
      if (state === 'connection') break
      if (state === 'turn') this.waiting.add(stream) // to the end: the loop comes to it again
    }
    this.serving = false
  }

  forget(stream: Stream, reset: boolean): void {
    this.streams.delete(stream.id)
    this.waiting.delete(stream)
    this.lateRoom += stream.sent
    this.idleFrames.earn(lateFrames)
    if (reset) {
      this.expectLate(stream)
      this.remember(stream.id, 'ours')
    } else this.resets.earn(1)
    if (this.streams.size > 0 || this.phase !== 'open') return
    if (this.leaving === 'final') this.leave()
    else {
      if (this.leaving === 'no') this.timers.arm(this.timer, this.limits.idleTimeoutMs)
      this.user.idle()
    }
  }

  /** All streams together have no more under way than the connection's window. */
  private expectLate(stream: Stream): void {
    this.lateData = Math.min(this.lateData + stream.mayCome, this.limits.connectionWindowBytes)
  }

  streamFault(stream: Stream, code: number, reason: string): void {
    this.user.fault(reason)
    stream.reset(code, this.user.errorOf(code, reason, false))
    // Only who opens streams can have more of them reset than is good for the other end.
    if (this.isServer) this.spendReset()
  }

  private remember(streamId: number, whose: 'ours' | 'theirs'): void {
    this.remembered.set(streamId, whose)
    if (this.remembered.size <= maxRemembered) return
    for (const oldest of this.remembered.keys()) {
      this.remembered.delete(oldest)
      this.forgetful = true
      return
    }
  }

  // --- frames out

  /** Opens a stream of ours. @returns undefined when there are no numbers left */
  open(): Stream | undefined {
    if (this.nextStream > maxStreamId) return undefined
    const stream = new Stream(this, this.nextStream, this.peer.initialWindowSize)
    this.nextStream += 2
    if (this.streams.size === 0 && this.phase === 'open') this.timers.disarm(this.timer)
    this.streams.add(stream)
    return stream
  }

  /** @param text field lines, each ending in CR LF */
  writeResponseHead(streamId: number, status: number, text: string, ended: boolean): void {
    const { encoder } = this
    const out = this.beginBlock(HpackEncoder.bound(text))
    let at = encoder.begin(out, this.frameAt)
    at = encoder.status(status, out, at)
    this.endBlock(streamId, encoder.fields(text, out, at), ended)
  }

  writeRequestHead(streamId: number, pseudo: RequestPseudo, text: string, ended: boolean): void {
    const { encoder } = this
    const { method, scheme, authority, path } = pseudo
    const more = method.length + authority.length + path.length + 64
    const out = this.beginBlock(HpackEncoder.bound(text) + more)
    let at = encoder.begin(out, this.frameAt)
    at = encoder.method(method, out, at)
    at = encoder.scheme(scheme, out, at)
    at = encoder.authority(authority, out, at)
    at = encoder.path(path, out, at)
    this.endBlock(streamId, encoder.fields(text, out, at), ended)
  }

  writeTrailers(streamId: number, text: string): void {
    const out = this.beginBlock(HpackEncoder.bound(text))
    const at = this.encoder.begin(out, this.frameAt)
    this.endBlock(streamId, this.encoder.fields(text, out, at), true)
  }

  /** A place for a block of at most `bound` octets: in the output, or apart when it may take more than one frame. */
  private beginBlock(bound: number): Uint8Array {
    if (bound <= minMaxFrameBytes) {
      this.frameAt = this.output.reserve(frameHeaderBytes + bound) + frameHeaderBytes
      return this.output.bytes
    }
    this.frameAt = 0
    this.scratch = new Uint8Array(bound)
    return this.scratch
  }

  private endBlock(streamId: number, end: number, ended: boolean): void {
    const { output, scratch } = this
    const endStream = ended ? flag.endStream : 0
    if (!scratch) {
      output.trim(end)
      const size = end - this.frameAt
      writeFrameHeader(
        output.bytes,
        this.frameAt - frameHeaderBytes,
        size,
        frameType.headers,
        flag.endHeaders | endStream,
        streamId,
      )
      return
    }
    this.scratch = undefined
    let at = 0
    do {
      const size = Math.min(end - at, minMaxFrameBytes)
      const where = output.reserve(frameHeaderBytes + size)
      const last = at + size === end ? flag.endHeaders : 0
      const type = at === 0 ? frameType.headers : frameType.continuation
      writeFrameHeader(output.bytes, where, size, type, (at === 0 ? endStream : 0) | last, streamId)
      output.bytes.set(scratch.subarray(at, at + size), where + frameHeaderBytes)
      at += size
    } while (at < end)
  }

  writeWindowUpdate(streamId: number, bytes: number): void {
    this.writeSmall(frameType.windowUpdate, streamId, bytes)
  }

  writeReset(streamId: number, code: number): void {
    this.writeSmall(frameType.rstStream, streamId, code)
  }

  private writeSmall(type: number, streamId: number, value: number): void {
    const at = this.output.reserve(frameHeaderBytes + 4)
    writeFrameHeader(this.output.bytes, at, 4, type, 0, streamId)
    writeUint32(this.output.bytes, at + frameHeaderBytes, value)
  }

  private askPing(payload: Uint8Array): void {
    this.pingsOut++
    this.writePing(0, payload)
  }

  private writePing(flags: number, payload: Uint8Array): void {
    const at = this.output.reserve(frameHeaderBytes + 8)
    writeFrameHeader(this.output.bytes, at, 8, frameType.ping, flags, 0)
    this.output.bytes.set(payload, at + frameHeaderBytes)
  }

  private writeGoaway(lastStreamId: number, code: number, reason: string): void {
    const at = this.output.reserve(frameHeaderBytes + 8 + reason.length)
    const { bytes } = this.output
    writeFrameHeader(bytes, at, 8 + reason.length, frameType.goaway, 0, 0)
    writeUint32(bytes, at + frameHeaderBytes, lastStreamId)
    writeUint32(bytes, at + frameHeaderBytes + 4, code)
    for (let i = 0; i < reason.length; i++) bytes[at + frameHeaderBytes + 8 + i] = reason.charCodeAt(i)
  }

  // --- signs of life

  /** The peer takes what we say: it has answered our PING, or made room for more of our data. */
  private proven(): void {
    this.unanswered = -1
    this.timers.arm(this.pingTimer, this.limits.pingIntervalMs)
  }

  private silence(): void {
    const { limits, timers } = this
    if (this.unanswered < 0) this.askPing(question)
    // Who talks is there, and may be slow to read; but who never reads is of no use either.
    else if (!this.talked || this.unanswered === deafAfter) {
      this.user.silent()
      this.lose(this.talked ? 'the peer does not hear us' : 'the peer is silent')
      return
    }
    this.unanswered++
    this.talked = false
    timers.arm(this.pingTimer, limits.pingTimeoutMs)
  }

  private outputDrained(): void {
    if (!this.output.blocked) this.timers.disarm(this.writeTimer)
    if (this.phase === 'closing') this.finishOutput()
    else this.serveWaiting()
  }

  // --- the end

  /** Lets the streams that are there, and those under way, come to their end, and closes then. RFC 9113 section 6.8. */
  drainStreams(): void {
    if (this.leaving !== 'no' || this.phase === 'closing' || this.phase === 'closed') return
    if (!this.isServer) {
      this.leaving = 'final'
      this.writeGoaway(0, errorCode.none, '')
      if (this.streams.size === 0) this.leave()
      return
    }
    this.leaving = 'announced'
    this.writeGoaway(maxStreamId, errorCode.none, '')
    this.askPing(farewell)
    this.timers.arm(this.timer, this.limits.goawayTimeoutMs)
  }

  private sayLast(): void {
    this.leaving = 'final'
    this.writeGoaway(this.lastPeerStream, errorCode.none, '')
    if (this.streams.size === 0) this.leave()
    else this.timers.disarm(this.timer)
  }

  private expire(): void {
    if (this.phase === 'open') {
      if (this.leaving === 'announced') this.sayLast()
      else this.leave()
    } else if (this.phase === 'closing') this.destroy()
    else this.fail(errorCode.settingsTimeout, 'no SETTINGS in time')
  }

  /** Nothing is under way: says so, and ends our side. */
  private leave(): void {
    if (this.phase === 'closing' || this.phase === 'closed') return
    if (this.isServer || this.leaving === 'no') this.writeGoaway(this.lastPeerStream, errorCode.none, '')
    this.farewell('connection closed by us')
  }

  /** A fault of the peer's that concerns the whole connection. @returns false */
  private fail(code: number, reason: string): false {
    if (this.phase === 'closing' || this.phase === 'closed') return false
    this.writeGoaway(this.lastPeerStream, code, reason)
    this.user.fault(reason)
    if (code === errorCode.enhanceYourCalm) this.user.flooded(reason)
    this.farewell(reason)
    return false
  }

  /** Says what has been written, then FIN, and waits for the peer's, for a while. */
  private farewell(reason: string): void {
    this.phase = 'closing'
    this.waiting.clear()
    this.user.leaving()
    this.closeStreams(reason)
    this.disarm()
    this.timers.arm(this.timer, this.limits.goawayTimeoutMs)
    this.finishOutput()
  }

  private finishOutput(): void {
    this.output.flush()
    if (!this.output.blocked) this.socket.end()
  }

  /** The connection is of no use any more. */
  private lose(reason: string): void {
    if (this.phase === 'closed') return
    this.socket.destroy()
    this.over(reason)
  }

  destroy(): void {
    this.lose('connection closed by us')
  }

  private over(reason: string): void {
    if (this.phase === 'closed') return
    this.phase = 'closed'
    this.output.close()
    this.closeStreams(reason)
    this.disarm()
    this.timers.remove(this.timer)
    this.user.over()
  }

  private closeStreams(reason: string): void {
    for (const stream of this.streams.all()) stream.close(this.user.errorOf(errorCode.none, reason, false), true)
  }

  private disarm(): void {
    for (const timer of [this.blockTimer, this.pingTimer, this.writeTimer]) this.timers.remove(timer)
  }

  private spendReset(): boolean {
    return this.resets.spend() || this.fail(errorCode.enhanceYourCalm, 'too many resets')
  }

  private spendIdle(): boolean {
    return this.idleFrames.spend() || this.fail(errorCode.enhanceYourCalm, 'too many frames that move nothing')
  }
}

/** Payloads of our PINGs: one asks whether the peer is there, the other whether it has seen our GOAWAY. */
const question = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)
const farewell = Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0)
