import { MalformedMessageError, wordBytes } from './capnp.ts'
import {
  compositeTag,
  type ElementSize,
  listBytes,
  type MessageReader,
  readPointer,
  type StructReader,
} from './capnp-reader.ts'
import {
  type ListWriter,
  pointerSlot,
  putBytes,
  type StructWriter,
  writeCapabilityAt,
  writeListAt,
  writeStructAt,
  writeStructsAt,
} from './capnp-writer.ts'

/**
 * Copies whatever a pointer of one message leads to behind a pointer of another, without knowing its schema. The
 * reader's budget and nesting limit hold here too.
 */
export function copyPointer(from: StructReader, index: number, to: StructWriter, toIndex: number): void {
  copyTo(from, index, pointerSlot(to, toIndex))
}

function copyTo(from: StructReader, index: number, slot: ListWriter): void {
  const pointer = readPointer(from, index)
  const { message } = from
  const depth = from.depth - 1
  if (depth < 0) throw new MalformedMessageError('a message that nests too deeply')
  switch (pointer.kind) {
    case 'null':
      return
    case 'capability':
      return writeCapabilityAt(slot, pointer.index)
    case 'struct': {
      const { segment, at, dataWords, pointerCount } = pointer
      const struct = readerAt(message, segment, at, dataWords, pointerCount, depth)
      return copyStruct(struct, writeStructAt(slot, dataWords, pointerCount))
    }
    case 'list': {
      const { segment, at, elementSize, count } = pointer
      if (elementSize === 7) return copyStructs(message, segment, at, count, depth, slot)
      return copyPlainList(message, segment, at, elementSize, count, depth, slot)
    }
  }
}

function copyStruct(from: StructReader, to: StructWriter): void {
  if (from.dataBytes > 0) {
    const bytes = from.message.segments[from.segment]!.subarray(from.data, from.data + from.dataBytes)
    putBytes({ message: to.message, segment: to.segment, at: to.data }, bytes)
  }
  for (let index = 0; index < from.pointerCount; index++) copyPointer(from, index, to, index)
}

function copyStructs(
  message: MessageReader,
  segment: number,
  at: number,
  contentWords: number,
  depth: number,
  slot: ListWriter,
): void {
  const { elements, dataWords, pointerCount } = compositeTag(message, segment, at, contentWords)
  const step = (dataWords + pointerCount) * wordBytes
  // Elements of no size carry nothing; writing the tag alone is enough, however many it counts.
  const copies = writeStructsAt(slot, elements, dataWords, pointerCount, step === 0 ? 0 : elements)
  for (const [element, copy] of copies.entries()) {
    const data = at + wordBytes + element * step
    copyStruct(readerAt(message, segment, data, dataWords, pointerCount, depth), copy)
  }
}

function copyPlainList(
  message: MessageReader,
  segment: number,
  at: number,
  elementSize: ElementSize,
  count: number,
  depth: number,
  slot: ListWriter,
): void {
  const bytes = listBytes(elementSize, count)
  const list = writeListAt(slot, elementSize, count, Math.ceil(bytes / wordBytes))
  if (elementSize !== 6) {
    putBytes(list, message.segments[segment]!.subarray(at, at + bytes))
    return
  }
  const pointers = readerAt(message, segment, at, 0, count, depth)
  for (let element = 0; element < count; element++) {
    copyTo(pointers, element, { ...list, at: list.at + element * wordBytes })
  }
}

function readerAt(
  message: MessageReader,
  segment: number,
  at: number,
  dataWords: number,
  pointerCount: number,
  depth: number,
): StructReader {
  const dataBytes = dataWords * wordBytes
  return { message, segment, data: at, dataBytes, pointers: at + dataBytes, pointerCount, depth }
}
