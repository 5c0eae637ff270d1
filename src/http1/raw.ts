/** A connection after `101`: bytes both ways, each direction ending by itself. */
import type { ProxyError } from '../errors.ts'
import type { Body, BodySink } from '../http/body.ts'
import type { RawStream } from '../http/upgrade.ts'
import type { Socket, SocketError, SocketEvents } from '../runtime.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'

export interface RawSocketOptions {
  readonly timers: Timers
  readonly idleTimeoutMs: number
  /** Bytes that came behind the head, ours to keep. */
  readonly unread?: Uint8Array | undefined
  /** The peer's FIN has come already, behind `unread`. */
  readonly ended?: boolean
  readonly onClose: (bytesIn: number, bytesOut: number, error: ProxyError | undefined) => void
}

/** Takes a socket over and gives it out as a {@link RawStream}. Reads on when somebody takes what comes in. */
export function takeRawSocket(socket: Socket, options: RawSocketOptions): RawStream & { destroy(): void } {
  const { timers, idleTimeoutMs, onClose } = options
  let unread = options.unread
  let sink: BodySink | undefined
  let writable: () => void = () => {}
  let kept = false // the sink keeps bytes
  let ended = options.ended ?? false // the peer's FIN came
  let endTold = false
  let finished = false // our FIN is out
  let closed = false
  let failure: ProxyError | undefined
  let bytesIn = 0
  let bytesOut = 0
  const timer: TimerEntry = createTimerEntry(() => socket.destroy())
  const touch = (): void => {
    if (idleTimeoutMs !== Infinity && !closed) timers.arm(timer, idleTimeoutMs)
  }
  const deliver = (bytes: Uint8Array, start: number, end: number): boolean => {
    bytesIn += end - start
    kept = !sink!.data(bytes, start, end)
    return !kept
  }
  const tellEnd = (): void => {
    if (!ended || !sink || kept || unread || endTold || failure) return
    endTold = true
    sink.end()
  }

  const events: SocketEvents = {
    data(bytes, start, end) {
      touch()
      if (sink && !kept) return deliver(bytes, start, end)
      // Came before the pause took effect.
      unread = joined(unread, bytes.subarray(start, end))
      socket.pause()
      return true
    },
    drain: () => writable(),
    end() {
      ended = true
      tellEnd()
    },
    close(error?: SocketError) {
      if (closed) return
      closed = true
      timers.remove(timer)
      if (error !== undefined || !ended || !finished) {
        failure = { kind: 'upstream', phase: 'body', cause: 'closed', reason: error?.message ?? 'connection closed' }
        sink?.fail(failure)
      }
      onClose(bytesIn, bytesOut, failure)
    },
  }

  /** Hands out what has been kept back, then reads on. */
  const goOn = (): void => {
    while (unread && !kept) {
      const bytes = unread
      unread = undefined
      deliver(bytes, 0, bytes.length)
    }
    if (kept) return
    tellEnd()
    if (!ended && !closed) socket.resume()
  }

  const incoming: Body = {
    length: undefined,
    start(to) {
      sink = to
      if (failure) to.fail(failure)
      else goOn()
    },
    resume() {
      if (!kept) return
      kept = false
      goOn()
    },
    cancel() {
      socket.destroy()
    },
  }
  const outgoing: BodySink = {
    data(bytes, start, end) {
      if (closed || finished) return true
      touch()
      bytesOut += end - start
      return socket.write('', bytes, start, end)
    },
    end() {
      if (closed || finished) return
      finished = true
      socket.end()
    },
    fail() {
      if (!closed) socket.destroy('reset')
    },
  }
  touch()
  socket.attach(events)
  socket.pause()
  return {
    incoming,
    outgoing,
    onWritable: (listener) => void (writable = listener),
    destroy: () => socket.destroy(),
  }
}

function joined(first: Uint8Array | undefined, second: Uint8Array): Uint8Array {
  const all = new Uint8Array((first?.length ?? 0) + second.length)
  if (first) all.set(first)
  all.set(second, first?.length ?? 0)
  return all
}
