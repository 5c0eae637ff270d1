/** A socket that writes in pieces, at its own pace: a slow network, or frames that are cut where nobody expects it. */
import type { Socket } from '../../runtime.ts'
import { createTimerEntry, type Timers } from '../../timers.ts'
import { type Pace } from './faults.ts'

export function paced(socket: Socket, { pieceBytes, delayMs }: Pace, timers: Timers): Socket {
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
      blocked = !socket.write('', piece, 0, piece.length)
      if (delayMs > 0) {
        resting = true
        timers.arm(next, delayMs)
      }
    }
    if (waiting.length > 0 || blocked) return
    if (ending) socket.end()
    else if (owed) {
      owed = false
      drained()
    }
  }

  return {
    get local() {
      return socket.local
    },
    get remote() {
      return socket.remote
    },
    get tls() {
      return socket.tls
    },
    attach(events) {
      drained = () => events.drain()
      socket.attach({
        data: (bytes, start, end) => events.data(bytes, start, end),
        drain() {
          blocked = false
          flow()
        },
        end: () => events.end(),
        close(error) {
          timers.remove(next)
          waiting.length = 0
          events.close(error)
        },
      })
    },
    latin1: (bytes, start, end) => socket.latin1(bytes, start, end),
    write(head, body, start = 0, end = 0, tail = '') {
      const size = body ? end - start : 0
      const bytes = new Uint8Array(head.length + size + tail.length)
      for (let at = 0; at < head.length; at++) bytes[at] = head.charCodeAt(at)
      if (body) bytes.set(body.subarray(start, end), head.length)
      for (let at = 0; at < tail.length; at++) bytes[head.length + size + at] = tail.charCodeAt(at)
      waiting.push(bytes)
      flow()
      owed = waiting.length > 0 || blocked
      return !owed
    },
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    end() {
      ending = true
      if (waiting.length === 0 && !blocked) socket.end()
    },
    destroy: (reason) => socket.destroy(reason),
  }
}
