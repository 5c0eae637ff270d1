import { describe, expect, test } from 'vitest'
import { type Body, type BodySink } from '../../src/http/body.ts'
import { type RawStream } from '../../src/http/upgrade.ts'
import { closableWebSocket, goingAway } from '../../src/http/websocket.ts'

/** An unmasked frame, as servers send them. */
function frame(size: number, masked = false): Uint8Array {
  const length =
    size < 126
      ? [size]
      : size < 65_536
        ? [126, size >> 8, size & 0xff]
        : [127, 0, 0, 0, 0, 0, size >> 16, (size >> 8) & 0xff, size & 0xff]
  if (masked) length[0]! |= 0x80
  const key = masked ? [1, 2, 3, 4] : []
  return Uint8Array.from([0x82, ...length, ...key, ...Array.from({ length: size }, (_, at) => at & 0xff)])
}

const close = [0x88, 2, 0x03, 0xe9]

/** The server's end, a client that reads, and what it read. */
function createScene() {
  let sink: BodySink | undefined
  let resumed = 0
  const incoming: Body = { length: undefined, start: (to) => void (sink = to), resume: () => resumed++, cancel() {} }
  const server: RawStream = { incoming, outgoing: { data: () => true, end() {}, fail() {} }, onWritable() {} }
  const { stream, close: closeIt } = closableWebSocket(server)
  const read: number[] = []
  const reader = { takes: true, ended: false }
  stream.incoming.start({
    data(bytes, start, end) {
      read.push(...bytes.subarray(start, end))
      return reader.takes
    },
    end: () => (reader.ended = true),
    fail() {},
  })
  return {
    read,
    reader,
    stream,
    close: () => closeIt(goingAway),
    say: (bytes: Uint8Array) => sink!.data(bytes, 0, bytes.length),
    end: () => sink!.end(),
    resumed: () => resumed,
  }
}

describe('a Close frame', () => {
  test('is said at once between frames', () => {
    const { say, close: closeIt, read } = createScene()
    say(frame(3))
    closeIt()
    expect(read).toEqual([...frame(3), ...close])
  })

  test.each([0, 1, 125, 126, 65_535, 65_536])(
    'waits for the end of a frame of %s bytes, wherever that is cut',
    (size) => {
      const whole = frame(size)
      for (const cut of [1, 2, 3, 5, Math.floor(whole.length / 2), whole.length - 1].filter(
        (at) => at > 0 && at < whole.length,
      )) {
        const { say, close: closeIt, read } = createScene()
        say(whole.subarray(0, cut))
        closeIt()
        expect(read).toHaveLength(cut)
        say(Uint8Array.from([...whole.subarray(cut), ...frame(9)]))
        expect(read).toEqual([...whole, ...close])
      }
    },
  )

  test('follows masked frames too', () => {
    const { say, close: closeIt, read } = createScene()
    say(frame(200, true).subarray(0, 50))
    closeIt()
    say(frame(200, true).subarray(50))
    expect(read).toEqual([...frame(200, true), ...close])
  })

  test('waits for a reader that is busy', () => {
    const { say, close: closeIt, read, reader, stream, resumed } = createScene()
    reader.takes = false
    expect(say(frame(3))).toBe(false)
    closeIt()
    expect(read).toEqual([...frame(3)])
    reader.takes = true
    stream.incoming.resume()
    expect(read).toEqual([...frame(3), ...close])
    expect(resumed()).toBe(1)
  })

  test('is the last that the client hears, and is said once', () => {
    const { say, close: closeIt, read, end, reader } = createScene()
    closeIt()
    closeIt()
    expect(say(frame(5))).toBe(true)
    expect(read).toEqual(close)
    end()
    expect(reader.ended).toBe(true)
  })
})
