/** A stream of a QUIC connection: what the peer sent goes to its owner, what the owner writes goes to quiche. */
import type { QuicStream, QuicStreamEvents } from '../../../src/runtime.ts'
import { readHalf, writeHalf, type NativeConnection } from './binding.ts'

/** What a stream needs of its connection. */
export interface Carrier {
  readonly native: NativeConnection
  /** Bytes are read into it, and lent. */
  readonly readBuffer: Uint8Array
  /** The owner of a stream has kept the read buffer; the next read needs another one. */
  replaceReadBuffer(): void
  returnReadBuffer(buffer: Uint8Array): void
  /** Calls `settle` soon, and nothing of the stream's events before. */
  settleSoon(stream: QuicheStream): void
  /** Calls `flush` whenever there may be room. */
  flushLater(stream: QuicheStream): void
  /** Both halves are over. */
  forget(stream: QuicheStream): void
  /** Calls `check` again before long. */
  checkLater(): void
  /** There is something to send. */
  wake(): void
}

interface Piece {
  readonly bytes: Uint8Array
  start: number
  readonly end: number
}

const nothing = new Uint8Array(0)
/** Of one stream in one turn of the event loop, so that others get theirs. */
const readTurnBytes = 262_144
const writeTurnBytes = 65_536
/**
 * What is no longer wanted is read on for a moment. quiche 0.18 never lets go of a stream that it told the peer to stop
 * if the peer's end was on its way already, and it nearly always is.
 */
const discardMs = 200
const discardBytes = 65_536
/** A peer that gives a stream up says so for both halves within this time. */
const silentEndMs = 40
/** By then the peer has answered STOP_SENDING with a reset. */
const stopAnsweredMs = 1_000

export class QuicheStream implements QuicStream {
  readonly id: number
  private readonly carrier: Carrier
  private events: QuicStreamEvents | undefined
  private reading: 'open' | 'discarding' | 'over' = 'open'
  private writing: 'open' | 'ending' | 'over' = 'open'
  /** The read buffer that the owner keeps. */
  private kept: Uint8Array | undefined
  /** The peer's FIN has been read, if not told. */
  private ended = false
  /** The peer has stopped us, or the stream is gone. */
  private stopped = false
  /** Our FIN has been given to quiche. */
  private finSent = false
  /** The connection is gone, which has been told. */
  private abandoned = false
  /** Nobody was there to be told that the peer's half was reset. */
  private lost = false
  /** While the owner keeps bytes, quiche has more of them. */
  private unread = false
  /** Since when the peer's half has been over without a word. */
  private silentSinceMs: number | undefined
  private discarded = 0
  private discardTimer: NodeJS.Timeout | undefined
  private readonly queue: Piece[] = []

  constructor(id: number, carrier: Carrier) {
    this.id = id
    this.carrier = carrier
  }

  // --- the owner's side

  attach(events: QuicStreamEvents): void {
    this.events = events
    if (this.lost) queueMicrotask(() => events.reset())
    else this.carrier.settleSoon(this)
    this.lost = false
  }

  write(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
    if (this.writing !== 'open') return true
    if (this.queue.length === 0) {
      start += this.send(bytes, start, end, false)
      if (start === end) return true
    }
    this.queue.push({ bytes, start, end })
    this.carrier.flushLater(this)
    return false
  }

  resume(): void {
    const { kept } = this
    if (kept === undefined) return
    this.kept = undefined
    this.unread = false
    this.carrier.returnReadBuffer(kept)
    this.carrier.settleSoon(this)
  }

  end(): void {
    if (this.writing !== 'open') return
    this.writing = 'ending'
    if (this.queue.length > 0) return
    this.send(nothing, 0, 0, true)
    this.finSent = true
    this.written()
  }

  reset(): void {
    if (this.writing === 'over') return
    this.shutdown(writeHalf)
    this.written()
  }

  stopReading(): void {
    if (this.reading !== 'open') return
    // The owner is done with it, whether it says so or not.
    this.kept = undefined
    if (this.ended) {
      this.readOver()
      return
    }
    this.reading = 'discarding'
    this.discardTimer = setTimeout(() => this.stop(), discardMs)
    this.discardTimer.unref()
    this.carrier.settleSoon(this)
  }

  // --- the connection's side; each may call the owner

  /** @returns whether there is more, which other streams go before */
  read(): boolean {
    const { carrier, id } = this
    let budget = readTurnBytes
    while (budget > 0) {
      if (this.reading === 'over') return false
      if (this.reading === 'open' && (this.events === undefined || this.kept)) return this.probe()
      if (this.ended) return this.finished()
      const { readBuffer } = carrier
      let received: readonly [number, boolean] | null
      try {
        received = carrier.native.streamRecv(id, readBuffer)
      } catch {
        return this.wasReset()
      }
      if (received === null) return false
      const [count, fin] = received
      budget -= count
      this.ended = fin
      if (this.reading === 'discarding') {
        this.discarded += count
        if (!fin && this.discarded > discardBytes) this.stop()
      } else if (count > 0 && !this.events!.data(readBuffer, 0, count)) {
        carrier.replaceReadBuffer()
        // Unless it has lost interest meanwhile.
        if (this.isReading()) this.kept = readBuffer
      }
    }
    return true
  }

  /** @returns whether some was written, and more waits */
  flush(): boolean {
    let budget = writeTurnBytes
    for (let piece = this.queue[0]; piece && budget > 0; piece = this.queue[0]) {
      const until = Math.min(piece.end, piece.start + budget)
      const last = this.queue.length === 1 && until === piece.end
      const count = this.send(piece.bytes, piece.start, until, last && this.writing === 'ending')
      piece.start += count
      budget -= count
      if (piece.start === piece.end) this.queue.shift()
      else if (piece.start < until) return false
    }
    if (this.stopped) return false
    if (this.queue.length > 0) return true
    if (this.writing === 'ending') {
      this.finSent = true
      this.written()
    } else if (this.writing === 'open') this.events?.drain()
    return false
  }

  get waits(): boolean {
    return this.queue.length > 0
  }

  /** Finds out what quiche only says when it is asked. */
  check(): void {
    if (this.writing !== 'over' && this.obstacle() !== undefined) {
      this.stopped = true
      this.settle()
    }
    this.checkEnd()
  }

  /** Tells what has come up outside of the connection's turn, and reads on. */
  settle(): void {
    if (this.stopped && this.writing !== 'over') {
      this.queue.length = 0
      this.written()
      this.events?.stopped()
    }
    if (this.read()) this.carrier.settleSoon(this)
  }

  /** The connection is gone. What was written to its end may still go out. */
  gone(): void {
    clearTimeout(this.discardTimer)
    const isNews = !this.abandoned && (this.reading !== 'over' || this.writing !== 'over')
    this.abandoned = true
    this.reading = 'over'
    if (this.writing === 'open') this.writing = 'over'
    if (this.writing === 'over') this.queue.length = 0
    this.kept = undefined
    if (!isNews) return
    if (this.events) this.events.reset()
    else this.lost = true
  }

  // ---

  /** Why nothing can be written any more: the peer has stopped us, or the stream is gone for quiche. */
  private obstacle(): string | undefined {
    try {
      this.carrier.native.streamCapacity(this.id)
      return undefined
    } catch (error) {
      return (error as Error).message
    }
  }

  /**
   * quiche 0.18 does not tell an end that comes with bytes which have been read before, as in a packet sent again; nor a
   * reset behind an end that was known, which takes what is unread away. The first is no more than an end, the second must
   * not be taken for one: who resets after the end has given up on the answer, too.
   */
  private checkEnd(): void {
    const { native } = this.carrier
    const { id } = this
    if (this.reading === 'over' || this.ended || !this.events) return
    if (!native.streamFinished(id) || native.streamReadable(id)) return
    const nowMs = performance.now()
    this.silentSinceMs ??= nowMs
    if (this.unread || this.stopped || this.obstacle()?.startsWith('StreamStopped')) {
      this.wasReset()
    } else if (nowMs - this.silentSinceMs < silentEndMs) {
      this.carrier.checkLater()
    } else {
      this.ended = true
      this.carrier.settleSoon(this)
    }
  }

  private isReading(): boolean {
    return this.reading === 'open'
  }

  /** Of bytes that are not read now: they may have come to an end, or to nothing. */
  private probe(): boolean {
    if (this.ended) return false
    if (!this.carrier.native.streamFinished(this.id)) {
      this.unread = this.carrier.native.streamReadable(this.id)
      return false
    }
    try {
      const received = this.carrier.native.streamRecv(this.id, nothing)
      this.ended = received !== null && received[1]
      return false
    } catch {
      return this.wasReset()
    }
  }

  private finished(): false {
    const tell = this.isReading()
    this.readOver()
    if (tell) this.events?.end()
    return false
  }

  private wasReset(): false {
    const tell = this.isReading()
    this.kept = undefined
    this.readOver()
    if (!tell) return false
    if (this.events) this.events.reset()
    else this.lost = true
    return false
  }

  private readOver(): void {
    clearTimeout(this.discardTimer)
    this.reading = 'over'
    this.forgetWhenOver()
  }

  private written(): void {
    this.writing = 'over'
    this.queue.length = 0
    this.carrier.wake()
    this.forgetWhenOver()
  }

  private forgetWhenOver(): void {
    if (this.reading === 'over' && this.writing === 'over') this.carrier.forget(this)
  }

  /** STOP_SENDING. */
  private stop(): void {
    if (this.reading !== 'discarding') return
    this.shutdown(readHalf)
    this.readOver()
    this.carrier.wake()
    setTimeout(() => this.collect(), stopAnsweredMs).unref()
  }

  /**
   * quiche 0.18 looks only at acknowledgements whether a stream that was stopped is over, and ours may have come before
   * the peer's reset. Our FIN once more, which is nothing new to the peer, is acknowledged again.
   */
  private collect(): void {
    const { native } = this.carrier
    if (!this.finSent) return
    try {
      if (!native.streamFinished(this.id)) return
      native.streamCapacity(this.id)
      native.streamSend(this.id, nothing, true)
      this.carrier.wake()
    } catch {
      // It is gone already.
    }
  }

  private shutdown(half: number): void {
    try {
      this.carrier.native.streamShutdown(this.id, half, 0)
    } catch {
      // It is over already.
    }
  }

  /** @returns how many bytes are done with */
  private send(bytes: Uint8Array, start: number, end: number, fin: boolean): number {
    try {
      const sent = this.carrier.native.streamSend(this.id, bytes.subarray(start, end), fin)
      if (sent !== null) this.carrier.wake()
      return sent ?? 0
    } catch {
      // Stopped by the peer, or gone with the connection, which is told by itself.
      this.stopped = true
      this.carrier.settleSoon(this)
      return end - start
    }
  }
}
