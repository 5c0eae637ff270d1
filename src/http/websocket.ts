/**
 * Ending a WebSocket between its two ends: a Close frame at the next frame boundary, so that the client knows that this
 * server is going away and connects anew. RFC 6455 sections 5.2, 5.5.1 and 7.4.1.
 */
import type { Body, BodySink } from './body.ts'
import type { RawStream } from './upgrade.ts'

/** "An endpoint is going away, such as a server going down." */
export const goingAway = 1001

export interface ClosableWebSocket {
  /** The same connection, followed frame by frame. */
  readonly stream: RawStream
  /**
   * Says Close to whoever reads `stream.incoming`, once, and drops what the server still sends. The client's answer goes
   * to the server, which then ends the connection.
   */
  close(code: number): void
}

export function closableWebSocket(server: RawStream): ClosableWebSocket {
  const frames = new FrameFollower()
  let sink: BodySink | undefined
  let kept = false
  let code: number | undefined
  let said = false

  function pass(bytes: Uint8Array, start: number, end: number): boolean {
    kept = !sink!.data(bytes, start, end)
    return !kept
  }

  /** Control frames may stand between the fragments of a message, so every frame's end will do. */
  function sayClose(): void {
    if (code === undefined || said || kept || sink === undefined || !frames.between) return
    said = true
    const frame = closeFrame(code)
    pass(frame, 0, frame.length)
  }

  const incoming: Body = {
    length: undefined,
    start(to) {
      sink = to
      server.incoming.start({
        data(bytes, start, end) {
          if (said) return true
          if (code === undefined) {
            frames.follow(bytes, start, end)
            return pass(bytes, start, end)
          }
          const until = frames.followToEnd(bytes, start, end)
          if (!frames.between) return pass(bytes, start, end)
          said = true
          return passJoined(bytes.subarray(start, until), closeFrame(code))
        },
        end: () => to.end(),
        fail: (error) => to.fail(error),
      })
      sayClose()
    },
    resume() {
      kept = false
      sayClose()
      if (!kept) server.incoming.resume()
    },
    cancel: (reason) => server.incoming.cancel(reason),
  }

  function passJoined(first: Uint8Array, second: Uint8Array): boolean {
    const joined = new Uint8Array(first.length + second.length)
    joined.set(first)
    joined.set(second, first.length)
    return pass(joined, 0, joined.length)
  }

  return {
    stream: { incoming, outgoing: server.outgoing, onWritable: (listener) => server.onWritable(listener) },
    close(with_) {
      code ??= with_
      sayClose()
    },
  }
}

/** A server's frames are not masked. */
function closeFrame(code: number): Uint8Array {
  return Uint8Array.of(0x88, 2, code >> 8, code & 0xff)
}

/** Knows where frames end, in bytes cut anywhere. */
class FrameFollower {
  /** Of the header that is being read; its first bytes say how long it is. */
  private readonly header = new Uint8Array(14)
  private filled = 0
  private payload = 0

  /** Nothing of a frame has come that has not come whole. */
  get between(): boolean {
    return this.filled === 0 && this.payload === 0
  }

  follow(bytes: Uint8Array, start: number, end: number): void {
    let at = start
    while (at < end) at = this.step(bytes, at, end)
  }

  /** @returns behind the first frame that ends here, or `end` */
  followToEnd(bytes: Uint8Array, start: number, end: number): number {
    let at = start
    while (at < end) {
      at = this.step(bytes, at, end)
      if (this.between) return at
    }
    return end
  }

  private step(bytes: Uint8Array, at: number, end: number): number {
    if (this.payload > 0) {
      const taken = Math.min(this.payload, end - at)
      this.payload -= taken
      return at + taken
    }
    const { header } = this
    header[this.filled++] = bytes[at]!
    if (this.filled >= 2 && this.filled === headerBytes(header[1]!)) {
      this.payload = payloadBytes(header)
      this.filled = 0
    }
    return at + 1
  }
}

function headerBytes(second: number): number {
  const short = second & 0x7f
  return 2 + (short === 126 ? 2 : short === 127 ? 8 : 0) + ((second & 0x80) === 0 ? 0 : 4)
}

function payloadBytes(header: Uint8Array): number {
  const short = header[1]! & 0x7f
  if (short < 126) return short
  let length = 0
  for (let i = 2; i < (short === 126 ? 4 : 10); i++) length = length * 256 + header[i]!
  return length
}
