import { type CapnpLimits, defaultCapnpLimits, MalformedMessageError, wordBytes } from './capnp.ts'
import { type Segments } from './capnp-framing.ts'

/**
 * Reads a message in place. Nothing is parsed before it is asked for, every offset is checked when it is followed,
 * and two budgets end what a hostile message can start: nesting, and the sum of words reached through pointers (many
 * pointers to one object would otherwise turn a small message into a large one).
 *
 * Absent data reads as zero and absent pointers as empty, which is how older and newer peers understand each other.
 *
 * @see https://capnproto.org/encoding.html
 */
export interface MessageReader {
  readonly segments: Segments
  readonly views: readonly DataView[]
  /** Words that may still be reached through pointers. */
  budgetWords: number
}

/** A struct in a message. Positions are bytes within its segment. */
export interface StructReader {
  readonly message: MessageReader
  readonly segment: number
  readonly data: number
  readonly dataBytes: number
  readonly pointers: number
  readonly pointerCount: number
  /** How many pointers may still be followed below this struct. */
  readonly depth: number
}

/** What a pointer is, once far pointers are resolved. */
export type Pointer =
  | { readonly kind: 'null' }
  | {
      readonly kind: 'struct'
      readonly segment: number
      readonly at: number
      readonly dataWords: number
      readonly pointerCount: number
    }
  | {
      readonly kind: 'list'
      readonly segment: number
      readonly at: number
      readonly elementSize: ElementSize
      readonly count: number
    }
  | { readonly kind: 'capability'; readonly index: number }

/** 0 void, 1 bit, 2 byte, 3 two bytes, 4 four bytes, 5 eight bytes, 6 pointer, 7 composite. */
export type ElementSize = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7

const nullPointer: Pointer = { kind: 'null' }

/** The message's root struct. */
export function readRoot(segments: Segments, limits: CapnpLimits = defaultCapnpLimits): StructReader {
  let words = 0
  for (const segment of segments) words += segment.length / wordBytes
  const message: MessageReader = {
    segments,
    views: segments.map((segment) => new DataView(segment.buffer, segment.byteOffset, segment.byteLength)),
    // An encoder writes each object once; four visits leave room for objects that several readers look at.
    budgetWords: Math.max(1024, 4 * words),
  }
  const first = segments[0]
  if (first === undefined || first.length < wordBytes) throw new MalformedMessageError('a message without a root')
  const root: StructReader = {
    message,
    segment: 0,
    data: 0,
    dataBytes: 0,
    pointers: 0,
    pointerCount: 1,
    depth: limits.maxDepth,
  }
  return readStruct(root, 0)
}

export function readUint8(struct: StructReader, byte: number): number {
  return byte < struct.dataBytes ? viewOf(struct).getUint8(struct.data + byte) : 0
}

export function readUint16(struct: StructReader, byte: number): number {
  return byte + 2 <= struct.dataBytes ? viewOf(struct).getUint16(struct.data + byte, true) : 0
}

export function readUint32(struct: StructReader, byte: number): number {
  return byte + 4 <= struct.dataBytes ? viewOf(struct).getUint32(struct.data + byte, true) : 0
}

export function readInt32(struct: StructReader, byte: number): number {
  return readUint32(struct, byte) | 0
}

export function readUint64(struct: StructReader, byte: number): bigint {
  return byte + 8 <= struct.dataBytes ? viewOf(struct).getBigUint64(struct.data + byte, true) : 0n
}

export function readInt64(struct: StructReader, byte: number): bigint {
  return BigInt.asIntN(64, readUint64(struct, byte))
}

/** @param bit counted from the least significant bit of the data section's first byte */
export function readBool(struct: StructReader, bit: number): boolean {
  return ((readUint8(struct, bit >>> 3) >>> (bit & 7)) & 1) === 1
}

/** The struct behind a pointer. A null pointer gives an empty struct, whose every field reads as its default. */
export function readStruct(struct: StructReader, index: number): StructReader {
  const pointer = readPointer(struct, index)
  const depth = descend(struct)
  const { message } = struct
  if (pointer.kind === 'null')
    return { message, segment: 0, data: 0, dataBytes: 0, pointers: 0, pointerCount: 0, depth }
  if (pointer.kind !== 'struct') throw new MalformedMessageError(`a ${pointer.kind} where a struct belongs`)
  const { segment, at, dataWords, pointerCount } = pointer
  const dataBytes = dataWords * wordBytes
  return { message, segment, data: at, dataBytes, pointers: at + dataBytes, pointerCount, depth }
}

/** The elements of a List(struct). A list of a smaller kind is read as structs with one field, as the format asks. */
export function readStructs(struct: StructReader, index: number): readonly StructReader[] {
  const pointer = readPointer(struct, index)
  if (pointer.kind === 'null') return []
  const { message } = struct
  const { segment, at, count, elementSize } = listPointer(pointer)
  const depth = descend(struct)
  if (elementSize === 1) throw new MalformedMessageError('a list of bits where a list of structs belongs')
  const elements: StructReader[] = []
  if (elementSize === 7) {
    const { elements: length, dataWords, pointerCount } = compositeTag(message, segment, at, count)
    const dataBytes = dataWords * wordBytes
    const step = dataBytes + pointerCount * wordBytes
    // Elements of no size take nothing from the message, so they are taken from the budget.
    if (step === 0) spend(message, length)
    for (let element = 0, data = at + wordBytes; element < length; element++, data += step) {
      elements.push({ message, segment, data, dataBytes, pointers: data + dataBytes, pointerCount, depth })
    }
    return elements
  }
  if (elementSize === 0) spend(message, count)
  const dataBytes = elementSize === 6 ? 0 : bytesOf(elementSize)
  const step = elementSize === 6 ? wordBytes : dataBytes
  for (let element = 0, data = at; element < count; element++, data += step) {
    elements.push({ message, segment, data, dataBytes, pointers: data, pointerCount: elementSize === 6 ? 1 : 0, depth })
  }
  return elements
}

/** The bytes of a Data, as a view of the message. Null reads as empty. */
export function readData(struct: StructReader, index: number): Uint8Array {
  const pointer = readPointer(struct, index)
  if (pointer.kind === 'null') return emptyBytes
  const { segment, at, count, elementSize } = listPointer(pointer)
  if (elementSize !== 2) throw new MalformedMessageError('a list of another kind where bytes belong')
  return struct.message.segments[segment]!.subarray(at, at + count)
}

/** The bytes of a Text, its closing NUL not among them. */
export function readTextBytes(struct: StructReader, index: number): Uint8Array {
  const bytes = readData(struct, index)
  if (bytes.length === 0) return bytes
  if (bytes[bytes.length - 1] !== 0) throw new MalformedMessageError('a text without its closing NUL')
  return bytes.subarray(0, -1)
}

/** A Text as UTF-8. Bytes that are no UTF-8 become U+FFFD, since a bad character is no reason to lose a connection. */
export function readText(struct: StructReader, index: number): string {
  return utf8.decode(readTextBytes(struct, index))
}

/** The elements of a List(Text). */
export function readTexts(struct: StructReader, index: number): readonly string[] {
  return readStructs(struct, index).map((element) => readText(element, 0))
}

/** Resolves a pointer: follows far pointers, checks the bounds of what it points to, and takes that from the budget. */
export function readPointer(struct: StructReader, index: number): Pointer {
  return index < struct.pointerCount
    ? resolve(struct.message, struct.segment, struct.pointers + index * wordBytes)
    : nullPointer
}

export interface CompositeTag {
  readonly elements: number
  readonly dataWords: number
  readonly pointerCount: number
}

/** The tag word before a composite list's elements. */
export function compositeTag(message: MessageReader, segment: number, at: number, contentWords: number): CompositeTag {
  const view = message.views[segment]!
  const low = view.getUint32(at, true)
  if ((low & 3) !== 0) throw new MalformedMessageError('a composite list whose tag is no struct')
  const elements = low >>> 2
  const dataWords = view.getUint16(at + 4, true)
  const pointerCount = view.getUint16(at + 6, true)
  if (elements * (dataWords + pointerCount) > contentWords) {
    throw new MalformedMessageError('a composite list with more elements than content')
  }
  return { elements, dataWords, pointerCount }
}

/** Takes words from the message's budget. */
export function spend(message: MessageReader, words: number): void {
  message.budgetWords -= words
  if (message.budgetWords < 0) throw new MalformedMessageError('a message that leads to more than it contains')
}

/** Bytes that a list occupies, a composite list's tag included. */
export function listBytes(elementSize: ElementSize, count: number): number {
  switch (elementSize) {
    case 0:
      return 0
    case 1:
      return Math.ceil(count / 8)
    case 6:
      return count * wordBytes
    case 7:
      return (count + 1) * wordBytes
    default:
      return count * bytesOf(elementSize)
  }
}

function resolve(message: MessageReader, segment: number, at: number): Pointer {
  const view = message.views[segment]!
  const low = view.getUint32(at, true)
  const high = view.getUint32(at + 4, true)
  if (low === 0 && high === 0) return nullPointer
  if ((low & 3) !== 2) return near(message, segment, at + wordBytes, low, high)

  const pad = (low >>> 3) * wordBytes
  const padView = segmentView(message, high)
  const double = (low & 4) !== 0
  if (pad + (double ? 2 : 1) * wordBytes > padView.byteLength) throw outOfBounds()
  spend(message, double ? 2 : 1)
  const padLow = padView.getUint32(pad, true)
  const padHigh = padView.getUint32(pad + 4, true)
  if (!double) {
    if ((padLow & 3) > 1) throw new MalformedMessageError('a far pointer whose landing pad is no struct or list')
    return near(message, high, pad + wordBytes, padLow, padHigh)
  }
  if ((padLow & 7) !== 2)
    throw new MalformedMessageError('a double far pointer without a far pointer in its landing pad')
  segmentView(message, padHigh)
  const tagLow = padView.getUint32(pad + wordBytes, true)
  if ((tagLow & 3) > 1) throw new MalformedMessageError('a double far pointer whose tag is no struct or list')
  return located(message, padHigh, (padLow >>> 3) * wordBytes, tagLow, padView.getUint32(pad + wordBytes + 4, true))
}

/** @param origin the byte after the pointer, from which its offset counts */
function near(message: MessageReader, segment: number, origin: number, low: number, high: number): Pointer {
  if ((low & 3) === 3) {
    if (low !== 3) throw new MalformedMessageError('a pointer of an unknown kind')
    return { kind: 'capability', index: high }
  }
  if ((low & 3) === 2) throw new MalformedMessageError('a far pointer where none may stand')
  return located(message, segment, origin + (low >> 2) * wordBytes, low, high)
}

function located(message: MessageReader, segment: number, at: number, low: number, high: number): Pointer {
  const size = message.views[segment]!.byteLength
  if ((low & 3) === 0) {
    const dataWords = high & 0xffff
    const pointerCount = high >>> 16
    const words = dataWords + pointerCount
    if (at < 0 || at + words * wordBytes > size) throw outOfBounds()
    spend(message, words + 1)
    return { kind: 'struct', segment, at, dataWords, pointerCount }
  }
  const elementSize = (high & 7) as ElementSize
  const count = high >>> 3
  const bytes = listBytes(elementSize, count)
  if (at < 0 || at + bytes > size) throw outOfBounds()
  spend(message, Math.ceil(bytes / wordBytes) + 1)
  return { kind: 'list', segment, at, elementSize, count }
}

function descend(struct: StructReader): number {
  if (struct.depth <= 0) throw new MalformedMessageError('a message that nests too deeply')
  return struct.depth - 1
}

function listPointer(pointer: Pointer): Pointer & { kind: 'list' } {
  if (pointer.kind !== 'list') throw new MalformedMessageError(`a ${pointer.kind} where a list belongs`)
  return pointer
}

function bytesOf(elementSize: ElementSize): number {
  return elementSize < 2 || elementSize > 5 ? 0 : 1 << (elementSize - 2)
}

function segmentView(message: MessageReader, segment: number): DataView {
  const view = message.views[segment]
  if (view === undefined) throw new MalformedMessageError('a far pointer to a segment that is not there')
  return view
}

function viewOf(struct: StructReader): DataView {
  return struct.message.views[struct.segment]!
}

function outOfBounds(): MalformedMessageError {
  return new MalformedMessageError('a pointer out of bounds')
}

const emptyBytes = new Uint8Array(0)
const utf8 = new TextDecoder('utf-8', { fatal: false, ignoreBOM: true })
