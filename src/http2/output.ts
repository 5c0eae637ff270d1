/**
 * The way out of a connection. Frames are written into one buffer, which goes to the socket when the event loop's turn
 * ends, or when it is full: one write for everything that a turn produced.
 *
 * While the socket has a buffer of ours that it could not take at once, frames go into the next. Bodies stop when that
 * one is full; the frames that must go out (heads, answers to PING) may fill more, up to a limit.
 */
import type { Socket } from '../runtime.ts'

export const bufferBytes = 65_536

/** Buffers that nobody is using. */
const spare: Uint8Array[] = []
const maxSpare = 64

function takeBuffer(): Uint8Array {
  return spare.pop() ?? new Uint8Array(bufferBytes)
}

function giveBack(buffer: Uint8Array): void {
  if (spare.length < maxSpare) spare.push(buffer)
}

export interface OutputOptions {
  readonly socket: Socket
  readonly afterTurn: (f: () => void) => void
  readonly maxBytes: number
  /** More waits than the peer may make us keep. */
  readonly onOverflow: () => void
  /** The socket keeps a buffer of ours for a while. */
  readonly onBlocked: () => void
  /** It has taken it. */
  readonly onDrained: () => void
}

interface FullBuffer {
  readonly bytes: Uint8Array
  readonly length: number
}

export class Output {
  /** The buffer being filled; valid after `reserve`. */
  bytes: Uint8Array = none
  /** Counts buffers: an offset is good while this stays the same. */
  epoch = 0
  blocked = false
  closed = false
  private length = 0
  private readonly options: OutputOptions
  private scheduled = false
  private inFlight: Uint8Array | undefined
  private full: FullBuffer[] = []

  constructor(options: OutputOptions) {
    this.options = options
  }

  private readonly endOfTurn = (): void => {
    this.scheduled = false
    this.flush()
  }

  /** True when a body may add so many octets. */
  takes(size: number): boolean {
    return !this.blocked || (this.full.length === 0 && this.length + size <= bufferBytes)
  }

  /**
   * Makes room for `size` octets, at most `bufferBytes`.
   *
   * @returns where in `bytes` to write them
   */
  reserve(size: number): number {
    if (this.length + size > bufferBytes) this.next()
    if (this.bytes.length === 0) this.bytes = takeBuffer()
    if (!this.scheduled && !this.blocked && !this.closed) {
      this.scheduled = true
      this.options.afterTurn(this.endOfTurn)
    }
    const at = this.length
    this.length += size
    return at
  }

  /** Gives back the end of what was reserved last. */
  trim(end: number): void {
    this.length = end
  }

  /** Hands everything to the socket, unless it is still busy with what it has. */
  flush(): void {
    if (this.blocked || this.length === 0) return
    const { bytes, length } = this
    this.bytes = none
    this.length = 0
    this.epoch++
    this.send(bytes, length)
  }

  /** The socket has taken everything. */
  drained(): void {
    if (!this.blocked) return
    if (this.inFlight) giveBack(this.inFlight)
    this.inFlight = undefined
    this.blocked = false
    while (this.full.length > 0) {
      const { bytes, length } = this.full.shift()!
      this.send(bytes, length)
      if (this.blocked) break
    }
    this.flush()
    this.options.onDrained()
  }

  /** Nothing more goes out. Buffers that the socket may still be reading are left to it. */
  close(): void {
    this.closed = true
    if (this.bytes.length > 0) giveBack(this.bytes)
    for (const { bytes } of this.full) giveBack(bytes)
    this.bytes = none
    this.length = 0
    this.full = []
    this.epoch++
  }

  private next(): void {
    if (!this.blocked) {
      this.flush()
      return
    }
    this.full.push({ bytes: this.bytes, length: this.length })
    this.bytes = none
    this.length = 0
    this.epoch++
    if (this.full.length * bufferBytes > this.options.maxBytes) this.options.onOverflow()
  }

  private send(bytes: Uint8Array, length: number): void {
    if (this.closed || this.options.socket.write('', bytes, 0, length)) {
      giveBack(bytes)
      return
    }
    this.inFlight = bytes
    this.blocked = true
    this.options.onBlocked()
  }
}

const none = new Uint8Array(0)
