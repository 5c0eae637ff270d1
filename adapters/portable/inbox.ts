/**
 * Stands between a socket's reads and an owner that may keep what it gets.
 *
 * Most bytes that are kept are given back before the next read: their owner only waits for a promise of its own. So
 * reading is stopped when a second read finds the first still kept, not before: stopping and starting costs more than the
 * rest of a small read.
 */
import type { SocketError, SocketEvents } from '../../src/runtime.ts'

export interface Tap {
  stop(): void
  start(): void
  /** Nobody keeps these bytes any more. */
  released(bytes: Uint8Array): void
}

export class Inbox {
  events: SocketEvents | undefined
  private readonly tap: Tap
  private kept: Uint8Array | undefined
  private waiting: Uint8Array | undefined // read while others were kept, or before there was an owner
  private waitingCount = 0
  private stopped = false
  private ended = false
  private endTold = false
  private closeTold = false
  private closed: { readonly error: SocketError | undefined } | undefined

  constructor(tap: Tap) {
    this.tap = tap
  }

  attach(events: SocketEvents): void {
    const first = this.events === undefined
    this.events = events
    if (first && (this.waiting !== undefined || this.ended || this.closed)) queueMicrotask(() => this.resume())
  }

  /** @returns true when the bytes may be overwritten; otherwise they are kept until `released` */
  read(bytes: Uint8Array, count: number): boolean {
    if (this.events === undefined || this.kept !== undefined) {
      this.waiting = bytes
      this.waitingCount = count
      this.pause()
      return false
    }
    if (this.events.data(bytes, 0, count)) return true
    this.kept = bytes
    return false
  }

  /** The peer's FIN; told when everything before it has been. */
  end(): void {
    this.ended = true
    this.settleEnd()
  }

  /** The socket is gone. What was read before is handed on first, unless the owner has given up the socket itself. */
  close(error: SocketError | undefined): void {
    this.closed ??= { error }
    if (this.waiting === undefined) this.tellClosed()
  }

  /** The owner wants no more. */
  abandon(): void {
    this.waiting = undefined
    this.endTold = true
    if (this.closed) this.tellClosed()
  }

  pause(): void {
    if (this.stopped || this.closed) return
    this.stopped = true
    this.tap.stop()
  }

  /** The owner gives back what it kept, and wants more. */
  resume(): void {
    const { kept, waiting } = this
    if (kept !== undefined) {
      this.kept = undefined
      this.tap.released(kept)
    }
    if (waiting !== undefined) {
      this.waiting = undefined
      if (!this.events!.data(waiting, 0, this.waitingCount)) {
        this.kept = waiting
        return
      }
      this.tap.released(waiting)
    }
    if (this.stopped && this.kept === undefined && !this.closed) {
      this.stopped = false
      this.tap.start()
    }
    this.settleEnd()
    if (this.closed && this.waiting === undefined) this.tellClosed()
  }

  private tellClosed(): void {
    if (this.closeTold || !this.events) return
    this.closeTold = true
    // Behind bytes that are kept still: their owner has seen all, and has to know that it was all.
    if (this.ended && !this.endTold) this.events.end()
    this.endTold = true
    this.events.close(this.closed?.error)
  }

  private settleEnd(): void {
    if (!this.ended || this.endTold || !this.events || this.kept !== undefined || this.waiting !== undefined) return
    this.endTold = true
    this.events.end()
  }
}
