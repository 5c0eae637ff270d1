/** A QUIC connection whose streams are written in pieces, at their own pace: packets that end where nobody expects it. */
import type { QuicConnection, QuicStream } from '../../runtime.ts'
import { createTimerEntry, type Timers } from '../../timers.ts'
import { type Pace } from './faults.ts'

export function paced(connection: QuicConnection, pace: Pace, timers: Timers): QuicConnection {
  return {
    local: connection.local,
    remote: connection.remote,
    tls: connection.tls,
    attach: (events) =>
      connection.attach({
        stream: (stream) => events.stream(pacedStream(stream, pace, timers)),
        close: (error) => events.close(error),
      }),
    openStream: async () => pacedStream(await connection.openStream(), pace, timers),
    close: () => connection.close(),
  }
}

function pacedStream(stream: QuicStream, { pieceBytes, delayMs }: Pace, timers: Timers): QuicStream {
  const waiting: Uint8Array[] = []
  let ending = false
  let blocked = false
  let resting = false
  /** The owner waits to be told that it may write. */
  let owed = false
  let drained: () => void = () => {}
  const next = createTimerEntry(() => {
    resting = false
    flow()
  })

  function flow(): void {
    while (waiting.length > 0 && !blocked && !resting) {
      const first = waiting[0]!
      const piece = first.subarray(0, pieceBytes)
      if (piece.length < first.length) waiting[0] = first.subarray(piece.length)
      else waiting.shift()
      blocked = !stream.write(piece)
      if (delayMs > 0) {
        resting = true
        timers.arm(next, delayMs)
      }
    }
    if (waiting.length > 0 || blocked) return
    if (ending) stream.end()
    else if (owed) {
      owed = false
      drained()
    }
  }

  function drop(): void {
    timers.remove(next)
    waiting.length = 0
  }

  return {
    attach(events) {
      drained = () => events.drain()
      stream.attach({
        data: (bytes, start, end) => events.data(bytes, start, end),
        end: () => events.end(),
        drain() {
          blocked = false
          flow()
        },
        reset: () => events.reset(),
        stopped() {
          drop()
          events.stopped()
        },
      })
    },
    write(bytes, start = 0, end = bytes.length) {
      waiting.push(bytes.slice(start, end))
      flow()
      owed = waiting.length > 0 || blocked
      return !owed
    },
    resume: () => stream.resume(),
    end() {
      ending = true
      flow()
    },
    reset(isEvident) {
      drop()
      stream.reset(isEvident)
    },
    stopReading: () => stream.stopReading(),
  }
}
