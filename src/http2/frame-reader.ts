/**
 * Takes frames off a connection. DATA is handed on in the pieces in which it comes; every other frame whole, from where
 * it lies when it came in one piece.
 */
import { frameHeaderBytes, frameType, readUint24, readUint31 } from './frames.ts'

export interface FrameSink {
  /** A frame's header; `end` of it, when it has no payload, comes at once. @returns false when nothing more is wanted */
  frameBegun(type: number, flags: number, streamId: number, length: number): boolean
  /** A piece of a DATA frame's payload, padding and its length included. */
  dataPiece(bytes: Uint8Array, start: number, end: number): boolean
  /** A DATA frame is over. */
  dataEnded(): boolean
  /** The whole payload of any other frame. */
  frame(type: number, flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): boolean
}

export class FrameReader {
  private readonly sink: FrameSink
  private readonly header = new Uint8Array(frameHeaderBytes)
  private headerFilled = 0
  private inFrame = false
  private type = 0
  private flags = 0
  private streamId = 0
  private left = 0
  private payload: Uint8Array = noBytes
  private payloadFilled = 0

  constructor(sink: FrameSink) {
    this.sink = sink
  }

  /** Stops where the sink wants no more. */
  read(bytes: Uint8Array, start: number, end: number): void {
    let at = start
    while (at < end) {
      if (!this.inFrame) {
        at = this.readHeader(bytes, at, end)
        if (!this.inFrame) return
        if (!this.sink.frameBegun(this.type, this.flags, this.streamId, this.left)) return
        if (this.left > 0) continue
      }
      const size = Math.min(this.left, end - at)
      const goOn = this.type === frameType.data ? this.readData(bytes, at, size) : this.readWhole(bytes, at, size)
      if (!goOn) return
      at += size
    }
  }

  private readHeader(bytes: Uint8Array, at: number, end: number): number {
    if (this.headerFilled === 0 && end - at >= frameHeaderBytes) {
      this.begin(bytes, at)
      return at + frameHeaderBytes
    }
    while (at < end && this.headerFilled < frameHeaderBytes) this.header[this.headerFilled++] = bytes[at++]!
    if (this.headerFilled === frameHeaderBytes) {
      this.headerFilled = 0
      this.begin(this.header, 0)
    }
    return at
  }

  private begin(bytes: Uint8Array, at: number): void {
    this.inFrame = true
    this.left = readUint24(bytes, at)
    this.type = bytes[at + 3]!
    this.flags = bytes[at + 4]!
    this.streamId = readUint31(bytes, at + 5)
  }

  private readData(bytes: Uint8Array, at: number, size: number): boolean {
    this.left -= size
    if (size > 0 && !this.sink.dataPiece(bytes, at, at + size)) return false
    if (this.left > 0) return true
    this.inFrame = false
    return this.sink.dataEnded()
  }

  private readWhole(bytes: Uint8Array, at: number, size: number): boolean {
    if (this.payloadFilled === 0 && size === this.left) {
      this.inFrame = false
      return this.sink.frame(this.type, this.flags, this.streamId, bytes, at, at + size)
    }
    if (this.payloadFilled === 0) this.payload = new Uint8Array(this.left)
    this.payload.set(bytes.subarray(at, at + size), this.payloadFilled)
    this.payloadFilled += size
    this.left -= size
    if (this.left > 0) return true
    const { payload, payloadFilled } = this
    this.payload = noBytes
    this.payloadFilled = 0
    this.inFrame = false
    return this.sink.frame(this.type, this.flags, this.streamId, payload, 0, payloadFilled)
  }
}

const noBytes = new Uint8Array(0)
