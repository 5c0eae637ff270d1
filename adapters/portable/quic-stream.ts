/**
 * Our `QuicStream` over a runtime's own, whose halves are promises: reading is a loop that waits while the owner keeps
 * bytes, writing a queue that hands on one piece at a time.
 */
import type { QuicStream, QuicStreamEvents } from '../../src/runtime.ts'

/** The halves of a runtime's stream. */
export interface StreamPort {
  /** @returns what has come; undefined at the peer's FIN. Rejects when it was reset or the connection is gone */
  read(): Promise<readonly Uint8Array[] | undefined>
  /** Resolves when more may be written and `bytes` be touched. Rejects when nobody will read them. */
  write(bytes: Uint8Array): Promise<unknown>
  /** FIN. */
  end(): void
  /** RESET_STREAM. Where that cannot be sent: FIN if an early end would be evident, else nothing. */
  reset(isEvident: boolean): void
  /** STOP_SENDING. */
  stopReading(): void
  /** Whether the peer has sent STOP_SENDING, where that can be asked. */
  readonly isStopped?: boolean
}

/**
 * For a runtime that takes in all that the peer sends, read or not: how much of it may wait for owners. A stream that
 * would go beyond is given up, since nothing else bounds the memory.
 */
export interface UnreadBudget {
  readonly streamBytes: number
  /** Of all the streams of the connection together. */
  readonly connectionBytes: number
  /** Waiting now, of all the streams. */
  usedBytes: number
}

/** Up to here small writes are copied, so that their owner need not wait. */
const copiedBytes = 65_536

export class PumpedStream implements QuicStream {
  private readonly port: StreamPort
  private readonly unread: UnreadBudget | undefined
  private readonly onOver: (stream: PumpedStream) => void
  private events: QuicStreamEvents | undefined
  private lost = false
  private lossTold = false

  private reading: 'not-yet' | 'open' | 'over' = 'not-yet'
  private readonly inbox: Uint8Array[] = []
  private inboxBytes = 0
  /** The owner keeps bytes. */
  private held = false
  private finReceived = false
  private wake: () => void = () => {}

  private writing: 'open' | 'ending' | 'over' = 'open'
  private outbox: Uint8Array[] = []
  private outboxBytes = 0
  private pumping = false
  /** The owner waits for `drain`. */
  private blocked = false

  /** @param onOver is told when both halves are over */
  constructor(port: StreamPort, unread: UnreadBudget | undefined, onOver: (stream: PumpedStream) => void) {
    this.port = port
    this.unread = unread
    this.onOver = onOver
  }

  attach(events: QuicStreamEvents): void {
    this.events = events
    if (this.lost) queueMicrotask(() => this.tellLoss())
    else if (this.reading === 'not-yet') {
      this.reading = 'open'
      void this.readOn()
    } else queueMicrotask(() => this.deliver())
  }

  resume(): void {
    if (!this.held) return
    this.held = false
    queueMicrotask(() => this.deliver())
  }

  write(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
    if (this.writing !== 'open' || start === end) return true
    const isSmall = this.outboxBytes + end - start <= copiedBytes
    this.outbox.push(isSmall ? bytes.slice(start, end) : bytes.subarray(start, end))
    this.outboxBytes += end - start
    if (!isSmall) this.blocked = true
    if (!this.pumping) void this.pump()
    return isSmall
  }

  end(): void {
    if (this.writing !== 'open') return
    this.writing = 'ending'
    if (!this.pumping) this.finishWriting()
  }

  reset(isEvident = false): void {
    if (this.writing === 'over') return
    this.stopWriting()
    this.port.reset(isEvident)
    this.settle()
  }

  stopReading(): void {
    if (this.reading === 'over') return
    const hasEnded = this.finReceived
    this.closeReading()
    if (!hasEnded) this.port.stopReading()
    this.settle()
  }

  /** For a runtime that has to be asked. */
  lookForStop(): void {
    if (this.writing !== 'over' && this.port.isStopped) this.stopped()
  }

  /**
   * The connection is gone, or about to be. What the peer had sent to its end is whole all the same.
   *
   * @returns tells the owner
   */
  cut(): () => void {
    if (this.reading === 'over' && this.writing === 'over') return () => {}
    const wasWriting = this.writing !== 'over'
    this.stopWriting()
    if (this.finReceived) {
      return () => {
        if (wasWriting) this.events?.stopped()
        this.settle()
      }
    }
    this.closeReading()
    this.lost = true
    return () => this.tellLoss()
  }

  // --- reading

  private async readOn(): Promise<void> {
    while (this.reading === 'open') {
      const pieces = await this.port.read().catch(() => 'lost' as const)
      if (this.reading !== 'open') return
      if (pieces === 'lost') {
        this.lose()
        return
      }
      if (pieces === undefined) {
        this.finReceived = true
        this.deliver()
        return
      }
      for (const piece of pieces) this.take(piece)
      this.deliver()
      if (this.inboxBytes === 0 && !this.held) continue
      if (this.unread === undefined) await new Promise<void>((resolve) => (this.wake = resolve))
      else if (this.isBeyond(this.unread)) {
        this.port.stopReading()
        this.lose()
      }
    }
  }

  private take(piece: Uint8Array): void {
    this.inbox.push(piece)
    this.count(piece.length)
  }

  private count(bytes: number): void {
    this.inboxBytes += bytes
    if (this.unread) this.unread.usedBytes += bytes
  }

  private isBeyond({ streamBytes, connectionBytes, usedBytes }: UnreadBudget): boolean {
    return this.inboxBytes > streamBytes || usedBytes > connectionBytes
  }

  private deliver(): void {
    while (this.reading === 'open' && !this.held) {
      const piece = this.inbox.shift()
      if (piece === undefined) break
      this.count(-piece.length)
      this.held = !this.events!.data(piece, 0, piece.length)
    }
    if (this.reading !== 'open' || this.held) return
    if (this.finReceived) {
      this.closeReading()
      this.events!.end()
      this.settle()
    } else this.wake()
  }

  private closeReading(): void {
    this.reading = 'over'
    this.inbox.length = 0
    this.count(-this.inboxBytes)
    this.wake()
  }

  private lose(): void {
    this.closeReading()
    this.lost = true
    this.tellLoss()
    this.settle()
  }

  private tellLoss(): void {
    if (this.lossTold || !this.events) return
    this.lossTold = true
    this.events.reset()
  }

  // --- writing

  private async pump(): Promise<void> {
    this.pumping = true
    while (this.outbox.length > 0) {
      const piece = this.next()
      const isTaken = await this.port.write(piece).then(
        () => true,
        () => false,
      )
      this.outboxBytes -= piece.length
      if (isTaken) continue
      this.pumping = false
      this.stopped()
      return
    }
    this.pumping = false
    this.outboxBytes = 0
    if (this.blocked) {
      this.blocked = false
      this.events?.drain()
    }
    if (this.writing === 'ending' && !this.pumping) this.finishWriting()
  }

  /** What waited together leaves together. */
  private next(): Uint8Array {
    const first = this.outbox.shift()!
    if (this.outbox.length === 0 || this.outboxBytes > copiedBytes) return first
    const joined = new Uint8Array(this.outboxBytes)
    let at = 0
    for (const piece of [first, ...this.outbox.splice(0)]) {
      joined.set(piece, at)
      at += piece.length
    }
    return joined
  }

  private finishWriting(): void {
    this.writing = 'over'
    this.port.end()
    this.settle()
  }

  private stopWriting(): void {
    this.writing = 'over'
    this.blocked = false
    this.outbox.length = 0
  }

  /** The peer reads no more. */
  private stopped(): void {
    if (this.writing === 'over') return
    this.stopWriting()
    this.events?.stopped()
    this.settle()
  }

  private settle(): void {
    if (this.reading === 'over' && this.writing === 'over') this.onOver(this)
  }
}
