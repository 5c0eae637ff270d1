import { type CapnpLimits, defaultCapnpLimits, MalformedMessageError, wordBytes } from './capnp.ts'

/** One message, taken off its stream: its segments, each a whole number of words. */
export type Segments = readonly Uint8Array[]

/**
 * Finds the messages in a byte stream. The pieces may be cut anywhere and may hold several messages.
 *
 * ```
 * u32le  number of segments, minus one
 * u32le  size in words, for each segment
 * u32le  zero, when that leaves the header short of a whole word
 *        the segments, back to back
 * ```
 *
 * @see https://capnproto.org/encoding.html#serialization-over-a-stream
 */
export interface MessageFramer {
  /**
   * Takes bytes up to the end of the current message. The bytes are copied, so the caller may reuse them.
   *
   * @returns how many bytes were taken: fewer than given when a message is complete, in which case `take` has it
   * @throws MalformedMessageError when the header asks for more than the limits allow
   */
  push(bytes: Uint8Array, start: number, end: number): number
  /** The message that `push` completed, once. */
  take(): Segments | undefined
  /** Whether the stream could end here without cutting a message in two. */
  readonly betweenMessages: boolean
}

export function createMessageFramer(limits: CapnpLimits = defaultCapnpLimits): MessageFramer {
  let header: Uint8Array<ArrayBuffer> = new Uint8Array(wordBytes)
  let headerFilled = 0
  let headerBytes = wordBytes
  let sizesKnown = false
  let bodyBytes = 0
  let body: Uint8Array<ArrayBuffer> = new Uint8Array(0)
  let bodyFilled = 0
  let complete: Segments | undefined

  const restart = (): void => {
    header = new Uint8Array(wordBytes)
    headerFilled = 0
    headerBytes = wordBytes
    sizesKnown = false
    bodyBytes = 0
    body = new Uint8Array(0)
    bodyFilled = 0
  }

  const readHeaderSize = (): void => {
    const segments = u32(header, 0) + 1
    if (segments > limits.maxSegments) {
      throw new MalformedMessageError(`a message of ${segments} segments; the limit is ${limits.maxSegments}`)
    }
    headerBytes = (4 + 4 * segments + 7) & ~7
    if (headerBytes > wordBytes) {
      const longer = new Uint8Array(headerBytes)
      longer.set(header)
      header = longer
    }
  }

  const readSizes = (): void => {
    const segments = u32(header, 0) + 1
    // At most 513 sizes below 2^32 words each: the sum stays exact in a double.
    for (let index = 0; index < segments; index++) bodyBytes += u32(header, 4 + 4 * index) * wordBytes
    if (bodyBytes > limits.maxMessageBytes) {
      throw new MalformedMessageError(`a message of ${bodyBytes} bytes; the limit is ${limits.maxMessageBytes}`)
    }
    sizesKnown = true
  }

  /** Memory follows the bytes that came, never the size that was promised. */
  const makeRoom = (upTo: number): void => {
    if (upTo <= body.length) return
    const larger = new Uint8Array(Math.min(bodyBytes, Math.max(upTo, body.length * 2)))
    larger.set(body.subarray(0, bodyFilled))
    body = larger
  }

  const cut = (): Segments => {
    const segments: Uint8Array[] = []
    const count = u32(header, 0) + 1
    let at = 0
    for (let index = 0; index < count; index++) {
      const size = u32(header, 4 + 4 * index) * wordBytes
      segments.push(body.subarray(at, at + size))
      at += size
    }
    return segments
  }

  return {
    push(bytes, start, end) {
      if (complete) return 0
      let at = start
      for (;;) {
        if (sizesKnown) break
        const taken = Math.min(end - at, headerBytes - headerFilled)
        header.set(bytes.subarray(at, at + taken), headerFilled)
        headerFilled += taken
        at += taken
        if (headerFilled < headerBytes) return at - start
        if (headerBytes === wordBytes) readHeaderSize()
        if (headerFilled === headerBytes) readSizes()
      }
      const taken = Math.min(end - at, bodyBytes - bodyFilled)
      makeRoom(bodyFilled + taken)
      body.set(bytes.subarray(at, at + taken), bodyFilled)
      bodyFilled += taken
      at += taken
      if (bodyFilled === bodyBytes) {
        complete = cut()
        restart()
      }
      return at - start
    },
    take() {
      const message = complete
      complete = undefined
      return message
    },
    get betweenMessages() {
      return headerFilled === 0
    },
  }
}

/**
 * Puts the frame header before a message's segments, in one buffer so that it goes out in one write.
 *
 * @param preface bytes that stand before the message on its stream
 */
export function frameMessage(segments: Segments, preface: ArrayLike<number> = []): Uint8Array<ArrayBuffer> {
  const headerBytes = (4 + 4 * segments.length + 7) & ~7
  let total = preface.length + headerBytes
  for (const segment of segments) total += segment.length
  const framed = new Uint8Array(total)
  framed.set(preface)
  const view = new DataView(framed.buffer, preface.length)
  view.setUint32(0, segments.length - 1, true)
  let at = preface.length + headerBytes
  for (let index = 0; index < segments.length; index++) {
    const segment = segments[index]!
    view.setUint32(4 + 4 * index, segment.length / wordBytes, true)
    framed.set(segment, at)
    at += segment.length
  }
  return framed
}

function u32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}
