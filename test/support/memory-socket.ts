import { Inbox } from '../../adapters/portable/inbox.ts'
import type { Socket, SocketError } from '../../src/runtime.ts'

export interface MemorySocket extends Socket {
  /** What was written so far, as text. */
  readonly written: string
  readonly finished: boolean
  /** The owner has sent its FIN, or given up the socket. */
  readonly ends: Promise<void>
  readonly destroyed: false | 'closed' | 'reset'
  /** Bytes from the peer, in exactly these pieces; held back while the owner has stopped reading. */
  feed(...pieces: readonly string[]): void
  /** The peer's FIN. */
  feedEnd(): void
  close(error?: SocketError): void
  /** While true, `write` says that the system has not taken the bytes. */
  stuck: boolean
  drain(): void
}

/** A socket without a network, so that a test decides where reads begin and end. */
export function createMemorySocket(): MemorySocket {
  const queue: string[] = []
  let reading = true
  let ending = false
  let written = ''
  let finished = false
  let tellEnd = (): void => {}
  const ends = new Promise<void>((resolve) => (tellEnd = resolve))
  let destroyed: false | 'closed' | 'reset' = false
  const pump = (): void => {
    while (reading && queue.length > 0 && !destroyed) {
      const piece = queue.shift()!
      inbox.read(
        Uint8Array.from(piece, (c) => c.charCodeAt(0)),
        piece.length,
      )
    }
    if (ending && queue.length === 0) {
      ending = false
      inbox.end()
    }
  }
  const inbox = new Inbox({
    stop: () => void (reading = false),
    start() {
      reading = true
      queueMicrotask(pump)
    },
    released() {},
  })
  const close = (error?: SocketError): void => inbox.close(error)
  return {
    local: { host: '192.0.2.1', port: 80 },
    remote: { host: '192.0.2.2', port: 50_000 },
    stuck: false,
    attach: (events) => inbox.attach(events),
    equal: (bytes, start, end, others) =>
      end - start === others.length && others.every((byte, i) => bytes[start + i] === byte),
    latin1: (bytes, start, end) => String.fromCharCode(...bytes.subarray(start, end)),
    write(head, body, start = 0, end = 0, tail = '') {
      written += head + (body ? String.fromCharCode(...body.subarray(start, end)) : '') + tail
      return !this.stuck
    },
    pause: () => inbox.pause(),
    resume: () => inbox.resume(),
    end() {
      finished = true
      tellEnd()
    },
    destroy(reason) {
      if (destroyed) return
      destroyed = reason ?? 'closed'
      tellEnd()
      inbox.abandon()
      queueMicrotask(() => close())
    },
    get written() {
      return written
    },
    ends,
    get finished() {
      return finished
    },
    get destroyed() {
      return destroyed
    },
    feed(...pieces) {
      queue.push(...pieces)
      pump()
    },
    feedEnd() {
      ending = true
      pump()
    },
    close,
    drain() {
      this.stuck = false
      inbox.events?.drain()
    },
  }
}
