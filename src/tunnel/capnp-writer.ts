import { MalformedMessageError, wordBytes } from './capnp.ts'
import { frameMessage } from './capnp-framing.ts'

/**
 * Builds a message front to back. Objects lie in the order in which they are asked for, so a caller that goes depth
 * first writes the bytes that the reference encoder writes. Unless asked otherwise a message has one segment.
 *
 * @see https://capnproto.org/encoding.html
 */
export interface MessageWriter {
  readonly segments: SegmentWriter[]
  readonly segmentWords: number
}

interface SegmentWriter {
  bytes: Uint8Array<ArrayBuffer>
  view: DataView
  used: number
  /** Words that may be used; the buffer grows up to it. */
  readonly capacity: number
}

/** A struct being written. Positions are bytes within its segment. */
export interface StructWriter {
  readonly message: MessageWriter
  readonly segment: number
  readonly data: number
  readonly pointers: number
}

/** A list's elements, or a struct's pointer section: where pointers stand, one word each. */
export interface ListWriter {
  readonly message: MessageWriter
  readonly segment: number
  readonly at: number
}

/** @param segmentWords begin a new segment where one would grow beyond this; for peers and tests that want several */
export function createMessage(segmentWords = maxSegmentWords): MessageWriter {
  const message: MessageWriter = { segments: [], segmentWords: Math.max(1, segmentWords) }
  addSegment(message, 1)
  message.segments[0]!.used = wordBytes
  return message
}

export function writeRoot(message: MessageWriter, dataWords: number, pointerCount: number): StructWriter {
  return writeStructAt({ message, segment: 0, at: 0 }, dataWords, pointerCount)
}

/** The message with its frame header, ready for the stream. */
export function finishMessage(message: MessageWriter, preface?: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const segments = message.segments.map((segment) => segment.bytes.subarray(0, segment.used))
  return frameMessage(segments, preface)
}

export function writeUint8(struct: StructWriter, byte: number, value: number): void {
  viewOf(struct).setUint8(struct.data + byte, value)
}

export function writeUint16(struct: StructWriter, byte: number, value: number): void {
  viewOf(struct).setUint16(struct.data + byte, value, true)
}

export function writeUint32(struct: StructWriter, byte: number, value: number): void {
  viewOf(struct).setUint32(struct.data + byte, value, true)
}

export const writeInt32 = writeUint32

export function writeUint64(struct: StructWriter, byte: number, value: bigint): void {
  viewOf(struct).setBigUint64(struct.data + byte, value, true)
}

export const writeInt64 = writeUint64

/** @param bit counted from the least significant bit of the data section's first byte */
export function writeBool(struct: StructWriter, bit: number, value: boolean): void {
  const view = viewOf(struct)
  const byte = struct.data + (bit >>> 3)
  const mask = 1 << (bit & 7)
  view.setUint8(byte, value ? view.getUint8(byte) | mask : view.getUint8(byte) & ~mask)
}

/** A new struct behind pointer `index`. One without data and pointers is written too, unlike a null pointer. */
export function writeStruct(
  struct: StructWriter,
  index: number,
  dataWords: number,
  pointerCount: number,
): StructWriter {
  return writeStructAt(pointerSlot(struct, index), dataWords, pointerCount)
}

/** A new List(struct) behind pointer `index`, with all its elements. */
export function writeStructs(
  struct: StructWriter,
  index: number,
  count: number,
  dataWords: number,
  pointerCount: number,
): readonly StructWriter[] {
  return writeStructsAt(pointerSlot(struct, index), count, dataWords, pointerCount)
}

/** Empty bytes leave the pointer null. */
export function writeData(struct: StructWriter, index: number, bytes: Uint8Array): void {
  if (bytes.length > 0) writeBytes(pointerSlot(struct, index), bytes, bytes.length)
}

/** A text in UTF-8; an empty one leaves the pointer null. */
export function writeText(struct: StructWriter, index: number, text: string): void {
  if (text !== '') writeTextBytes(pointerSlot(struct, index), utf8.encode(text))
}

/**
 * A text whose code units are its bytes, as header fields have them.
 *
 * @throws MalformedMessageError on a code unit above 0xFF: cut short, it could become a line break
 */
export function writeByteString(struct: StructWriter, index: number, text: string): void {
  const { length } = text
  if (length === 0) return
  const list = writeListAt(pointerSlot(struct, index), 2, length + 1, Math.ceil((length + 1) / wordBytes))
  const { bytes } = struct.message.segments[list.segment]!
  let seen = 0
  for (let unit = 0; unit < length; unit++) {
    const code = text.charCodeAt(unit)
    seen |= code
    bytes[list.at + unit] = code
  }
  if (seen > 0xff) throw new MalformedMessageError('a text of bytes with a code unit above 0xFF')
}

export function writeTexts(struct: StructWriter, index: number, texts: readonly string[]): void {
  const { message, segment, at } = writeListAt(pointerSlot(struct, index), 6, texts.length, texts.length)
  for (const [element, text] of texts.entries()) {
    if (text !== '') writeTextBytes({ message, segment, at: at + element * wordBytes }, utf8.encode(text))
  }
}

/** @param capability its position in the payload's capability table */
export function writeCapability(struct: StructWriter, index: number, capability: number): void {
  writeCapabilityAt(pointerSlot(struct, index), capability)
}

export function writeCapabilityAt(slot: ListWriter, capability: number): void {
  putPointer(slot, 3, capability)
}

export function pointerSlot({ message, segment, pointers }: StructWriter, index: number): ListWriter {
  return {
    message,
    segment,
    at: pointers + index * wordBytes,
  }
}

export function writeStructAt(slot: ListWriter, dataWords: number, pointerCount: number): StructWriter {
  const words = dataWords + pointerCount
  const high = dataWords | (pointerCount << 16)
  // An object without size needs no place; an offset of -1 keeps its pointer from looking like null.
  if (words === 0) {
    putPointer(slot, (-1 << 2) | 0, 0)
    return { message: slot.message, segment: slot.segment, data: slot.at, pointers: slot.at }
  }
  const { segment, at } = allocate(slot, words, 0, high)
  return { message: slot.message, segment, data: at, pointers: at + dataWords * wordBytes }
}

/** @param returned how many of the elements, from the first, the caller wants to write to */
export function writeStructsAt(
  slot: ListWriter,
  count: number,
  dataWords: number,
  pointerCount: number,
  returned = count,
): readonly StructWriter[] {
  const step = dataWords + pointerCount
  const { message, segment, at } = writeListAt(slot, 7, count * step, count * step + 1)
  putPointer({ message, segment, at }, count << 2, dataWords | (pointerCount << 16))
  return Array.from({ length: returned }, (_, element) => {
    const data = at + wordBytes + element * step * wordBytes
    return { message, segment, data, pointers: data + dataWords * wordBytes }
  })
}

/**
 * A new list of zeroes.
 *
 * @param count elements, or the words of content when the list is composite
 * @param words that it occupies, a composite list's tag included
 */
export function writeListAt(slot: ListWriter, elementSize: number, count: number, words: number): ListWriter {
  if (count >= 2 ** 29) throw new MalformedMessageError('a list with more than 2^29 elements')
  return { message: slot.message, ...allocate(slot, words, 1, elementSize | (count << 3)) }
}

/** Copies bytes into a list or a data section just written. */
export function putBytes({ message, segment, at }: ListWriter, bytes: Uint8Array): void {
  message.segments[segment]!.bytes.set(bytes, at)
}

function writeTextBytes(slot: ListWriter, bytes: Uint8Array): void {
  writeBytes(slot, bytes, bytes.length + 1)
}

function writeBytes(slot: ListWriter, bytes: Uint8Array, count: number): void {
  putBytes(writeListAt(slot, 2, count, Math.ceil(count / wordBytes)), bytes)
}

/** Finds room for an object and makes `slot` point to it: a far pointer and a landing pad when it is elsewhere. */
function allocate(slot: ListWriter, words: number, kind: number, high: number): { segment: number; at: number } {
  const { message } = slot
  const here = claim(message, slot.segment, words)
  if (here !== undefined) {
    putPointer(slot, (((here - slot.at) / wordBytes - 1) << 2) | kind, high)
    return { segment: slot.segment, at: here }
  }
  let segment = message.segments.length - 1
  let pad = segment === slot.segment ? undefined : claim(message, segment, words + 1)
  if (pad === undefined) {
    segment = addSegment(message, words + 1)
    pad = claim(message, segment, words + 1)!
  }
  putPointer(slot, pad | 2, segment)
  putPointer({ message, segment, at: pad }, kind, high)
  return { segment, at: pad + wordBytes }
}

function claim(message: MessageWriter, index: number, words: number): number | undefined {
  const segment = message.segments[index]!
  const at = segment.used
  const end = at + words * wordBytes
  if (end > segment.capacity * wordBytes) return undefined
  if (end > segment.bytes.length) {
    const larger = new Uint8Array(Math.min(segment.capacity * wordBytes, Math.max(end, segment.bytes.length * 2)))
    larger.set(segment.bytes.subarray(0, at))
    segment.bytes = larger
    segment.view = new DataView(larger.buffer)
  }
  segment.used = end
  return at
}

function addSegment(message: MessageWriter, atLeastWords: number): number {
  const capacity = Math.max(message.segmentWords, atLeastWords)
  const bytes = new Uint8Array(Math.min(capacity, Math.max(atLeastWords, 64)) * wordBytes)
  return message.segments.push({ bytes, view: new DataView(bytes.buffer), used: 0, capacity }) - 1
}

function putPointer({ message, segment, at }: ListWriter, low: number, high: number): void {
  const { view } = message.segments[segment]!
  view.setUint32(at, low >>> 0, true)
  view.setUint32(at + 4, high >>> 0, true)
}

function viewOf(struct: StructWriter): DataView {
  return struct.message.segments[struct.segment]!.view
}

/** A pointer's offset has 30 bits with a sign. */
const maxSegmentWords = 2 ** 28
const utf8 = new TextEncoder()
