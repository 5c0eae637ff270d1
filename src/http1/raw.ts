/** A connection after `101`: bytes both ways, each direction ending by itself. */
import type { ProxyError } from '../errors.ts'
import type { Body, BodySink } from '../http/body.ts'
import type { RawStream } from '../http/upgrade.ts'
import type { Socket, SocketError, SocketEvents } from '../runtime.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'

export interface RawSocketOptions {
  readonly timers: Timers
  readonly idleTimeoutMs: number
  /** Bytes that came behind the head. */
  readonly unread?: Uint8Array | undefined
  readonly onClose: (bytesIn: number, bytesOut: number, error: ProxyError | undefined) => void
}

/** Takes a socket over and gives it out as a {@link RawStream}. */
export function takeRawSocket(socket: Socket, options: RawSocketOptions): RawStream & { destroy(): void } {
  const { timers, idleTimeoutMs, onClose } = options
  let unread = options.unread
  let sink: BodySink | undefined
  let writable: () => void = () => {}
  let kept = false // the sink keeps bytes of ours
  let ended = false // the peer's FIN came
  let closed: ProxyError | 'ok' | undefined
  let finished = false // our FIN is out
  let bytesIn = 0
  let bytesOut = 0
  const timer: TimerEntry = createTimerEntry(() => socket.destroy())
  const touch = (): void => {
    if (idleTimeoutMs !== Infinity) timers.arm(timer, idleTimeoutMs)
  }

  const events: SocketEvents = {
    data(bytes, start, end) {
      touch()
      if (!sink) {
        kept = true
        unread = bytes.subarray(start, end)
        return false
      }
      bytesIn += end - start
      kept = !sink.data(bytes, start, end)
      return !kept
    },
    drain: () => writable(),
    end() {
      ended = true
      sink?.end()
    },
    close(error?: SocketError) {
      timers.remove(timer)
      if (closed !== undefined) return
      const clean = error === undefined && ended && finished
      const why: ProxyError = {
        kind: 'upstream',
        phase: 'body',
        cause: 'closed',
        reason: error?.message ?? 'connection closed',
      }
      closed = clean ? 'ok' : why
      if (!ended) sink?.fail(why)
      onClose(bytesIn, bytesOut, clean ? undefined : why)
    },
  }

  const incoming: Body = {
    length: undefined,
    start(to) {
      sink = to
      const first = unread
      unread = undefined
      kept = false
      if (first && first.length > 0) {
        bytesIn += first.length
        kept = !to.data(first, 0, first.length)
      }
      if (ended) to.end()
      else if (closed !== undefined && closed !== 'ok') to.fail(closed)
      if (!kept && closed === undefined) socket.resume()
    },
    resume() {
      if (!kept || closed !== undefined) return
      kept = false
      socket.resume()
    },
    cancel: () => socket.destroy(),
  }
  const outgoing: BodySink = {
    data(bytes, start, end) {
      if (closed !== undefined) return true
      touch()
      bytesOut += end - start
      return socket.write('', bytes, start, end)
    },
    end() {
      if (closed !== undefined) return
      finished = true
      socket.end()
    },
    fail() {
      if (closed === undefined) socket.destroy('reset')
    },
  }
  touch()
  socket.attach(events)
  return {
    incoming,
    outgoing,
    onWritable: (listener) => void (writable = listener),
    destroy: () => socket.destroy(),
  }
}
