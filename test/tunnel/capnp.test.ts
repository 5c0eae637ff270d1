import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { copyPointer } from '../../src/tunnel/capnp-copy.ts'
import { createMessageFramer, frameMessage, type Segments } from '../../src/tunnel/capnp-framing.ts'
import {
  readBool,
  readData,
  readInt32,
  readInt64,
  readPointer,
  readRoot,
  readStruct,
  readStructs,
  readText,
  readTexts,
  readUint16,
  readUint32,
  readUint64,
  readUint8,
  type StructReader,
} from '../../src/tunnel/capnp-reader.ts'
import {
  createMessage,
  finishMessage,
  type StructWriter,
  writeBool,
  writeCapability,
  writeData,
  writeInt64,
  writeRoot,
  writeStruct,
  writeStructs,
  writeText,
  writeTexts,
  writeUint16,
  writeUint32,
  writeUint8,
} from '../../src/tunnel/capnp-writer.ts'
import { defaultCapnpLimits, MalformedMessageError } from '../../src/tunnel/capnp.ts'
import { concat, segmentsOf } from './messages.ts'
import { fromHex, toHex, vectors } from './vectors.ts'

const all = Object.entries(vectors)

describe('messages in a stream', () => {
  test.each([1, 2, 3, 7, 8, 9, 64, 1000])(
    'pieces of %i bytes, several messages to a piece or several pieces to one',
    (size) => {
      const stream = concat(...all.map(([, bytes]) => bytes))
      const framer = createMessageFramer()
      const found: string[] = []
      for (let start = 0; start < stream.length; start += size) {
        // Lent bytes: what is reused afterwards must not show.
        const piece = stream.slice(start, start + size)
        for (let at = 0; at < piece.length;) {
          at += framer.push(piece, at, piece.length)
          const message = framer.take()
          if (message !== undefined) found.push(toHex(frameMessage(message)))
        }
        piece.fill(0xff)
      }
      expect(found).toEqual(all.map(([, bytes]) => toHex(bytes)))
      expect(framer.betweenMessages).toBe(true)
    },
  )

  test('what follows a message stays with the caller', () => {
    const framer = createMessageFramer()
    const bytes = concat(vectors.connectRequest, fromHex('6869'))
    expect(framer.push(bytes, 0, bytes.length)).toBe(vectors.connectRequest.length)
    expect(framer.push(bytes, vectors.connectRequest.length, bytes.length)).toBe(0)
    expect(framer.take()).toHaveLength(1)
    expect(framer.take()).toBeUndefined()
  })

  test('a stream that ends inside a message is told from one that ends after it', () => {
    const framer = createMessageFramer()
    framer.push(vectors.abort, 0, 3)
    expect(framer.betweenMessages).toBe(false)
    framer.push(vectors.abort, 3, vectors.abort.length)
    expect(framer.betweenMessages).toBe(true)
  })

  test.each([
    ['one segment: no padding', 1, 8],
    ['two segments: padded to a word', 2, 16],
    ['three segments', 3, 16],
    ['the most that the reference decoder takes', 513, 2056],
  ])('the header of %s', (_, count, headerBytes) => {
    const segments = Array.from({ length: count }, (_, index) => new Uint8Array(8).fill(index & 0xff))
    const framed = frameMessage(segments)
    expect(framed).toHaveLength(headerBytes + 8 * count)
    expect(segmentsOf(framed)).toEqual([segments])
  })

  test.each([
    ['more segments than the limit', 'ffffffff00000000'],
    ['one segment above the limit', '01020000 00000000'],
    ['more bytes than the limit', '00000000 01002000'],
    ['sizes whose sum would overflow 32 bits', '01000000 ffffffff ffffffff 00000000'],
  ])('refused from the header alone: %s', (_, hex) => {
    const bytes = fromHex(hex)
    expect(() => createMessageFramer().push(bytes, 0, bytes.length)).toThrow(MalformedMessageError)
  })
})

/** A root struct of `dataWords + pointerCount` and whatever words follow, as hex. */
function rootOf(sizes: string, ...words: readonly string[]): StructReader {
  return readRoot([fromHex(`00000000${sizes}${words.join('')}`)])
}

describe('defaults', () => {
  test('fields beyond the struct read as zero and empty', () => {
    const root = rootOf('01000000', '0807060504030201')
    expect(readUint64(root, 0)).toBe(0x0102030405060708n)
    expect(readUint8(root, 7)).toBe(1)
    expect([readUint8(root, 8), readUint16(root, 8), readUint32(root, 8), readInt32(root, 8)]).toEqual([0, 0, 0, 0])
    expect(readUint64(root, 8)).toBe(0n)
    expect(readBool(root, 64)).toBe(false)
    expect(readText(root, 0)).toBe('')
    expect(readData(root, 5)).toHaveLength(0)
    expect(readStructs(root, 0)).toEqual([])
    expect(readTexts(root, 0)).toEqual([])
    expect(readText(readStruct(readStruct(root, 0), 0), 0)).toBe('')
  })

  test('a null root is an empty struct', () => {
    expect(readUint32(readRoot([new Uint8Array(8)]), 0)).toBe(0)
  })

  test('data beyond the fields that we know is ignored', () => {
    const root = rootOf('02000100', '0100000000000000', 'ffffffffffffffff', '0000000000000000')
    expect(readUint32(root, 0)).toBe(1)
    expect(readPointer(root, 0).kind).toBe('null')
  })

  test('an empty text and empty bytes are written as null, an empty struct is not', () => {
    const message = createMessage()
    const root = writeRoot(message, 0, 4)
    writeText(root, 0, '')
    writeData(root, 1, new Uint8Array(0))
    writeStruct(root, 2, 0, 0)
    const read = readRoot(segmentsOf(finishMessage(message))[0]!)
    expect([0, 1, 2, 3].map((index) => readPointer(read, index).kind)).toEqual(['null', 'null', 'struct', 'null'])
    expect(toHex(finishMessage(message))).toContain('fcffffff00000000')
  })
})

describe('lists of another size than expected (schema evolution)', () => {
  test('a list of plain values reads as structs of one field', () => {
    // Root 0+1: a list of three 2-byte values.
    const root = rootOf('00000100', '010000001b000000', '0100020003000000')
    expect(readStructs(root, 0).map((element) => readUint16(element, 0))).toEqual([1, 2, 3])
    expect(readStructs(root, 0).map((element) => readUint32(element, 0))).toEqual([0, 0, 0])
  })

  test('a list of texts reads as structs whose first field is a text, and the other way round', () => {
    const message = createMessage()
    const root = writeRoot(message, 0, 2)
    writeTexts(root, 0, ['a', '', 'ccc'])
    for (const [index, element] of writeStructs(root, 1, 2, 1, 1).entries()) writeText(element, 0, `t${index}`)
    const read = readRoot(segmentsOf(finishMessage(message))[0]!)
    expect(readStructs(read, 0).map((element) => readText(element, 0))).toEqual(['a', '', 'ccc'])
    expect(readTexts(read, 1)).toEqual(['t0', 't1'])
  })
})

describe('far pointers', () => {
  const hi = '6869000000000000'
  /** A list pointer to a text of three bytes (`hi` and NUL) at the given offset. */
  const textPointer = (offset: number): string => `0${offset * 4 + 1}0000001a000000`

  test.each<[string, Segments]>([
    [
      'one landing pad in another segment',
      // Segment 1: the pad at word 1, then the text.
      [fromHex('0000000000000100 0a00000001000000'), fromHex('ffffffffffffffff' + textPointer(0) + hi)],
    ],
    ['a pad in the same segment', [fromHex('0000000000000100 1200000000000000' + textPointer(0) + hi)]],
    [
      'a double one: the pad names segment 2, the tag says what is there',
      [
        fromHex('0000000000000100 0600000001000000'),
        fromHex('0a00000002000000 010000001a000000'),
        fromHex('ffffffffffffffff' + hi),
      ],
    ],
  ])('a text behind %s', (_, segments) => {
    expect(readText(readRoot(segments), 0)).toBe('hi')
  })

  test('a root that is far', () => {
    const segments = [fromHex('0200000001000000'), fromHex('0000000001000000 2a00000000000000')]
    expect(readUint32(readRoot(segments), 0)).toBe(42)
  })

  test('a composite list behind a double far pointer', () => {
    const segments = [
      fromHex('0000000000000100 0600000001000000'),
      fromHex('0200000002000000 0100000017000000'),
      fromHex('0800000001000000 0100000000000000 0200000000000000'),
    ]
    expect(readStructs(readRoot(segments), 0).map((element) => readUint8(element, 0))).toEqual([1, 2])
  })

  test.each<[string, Segments]>([
    ['a segment that is not there', [fromHex('0000000000000100 0200000001000000')]],
    ['a pad out of bounds', [fromHex('0000000000000100 0a00000001000000'), fromHex('0000000000000000')]],
    ['a double pad half out of bounds', [fromHex('0000000000000100 0600000001000000'), fromHex('0200000000000000')]],
    ['a pad that is far again', [fromHex('0000000000000100 0200000001000000'), fromHex('0200000001000000')]],
    [
      'a double pad that is no far pointer',
      [fromHex('0000000000000100 0600000001000000'), fromHex('0000000001000000 0000000001000000')],
    ],
    [
      'a double pad whose content is double far',
      [fromHex('0000000000000100 0600000001000000'), fromHex('0600000001000000 0000000001000000')],
    ],
  ])('refused: %s', (_, segments) => {
    expect(() => readStruct(readRoot(segments), 0)).toThrow(MalformedMessageError)
  })
})

describe('hostile messages end in one error', () => {
  test.each([
    ['no words at all', []],
    ['an empty first segment', [new Uint8Array(0)]],
    ['a root beyond the end', [fromHex('0000000001000000')]],
    ['a root before the beginning', [fromHex('f8ffffff01000000 0000000000000000')]],
    ['a root that is a list', [fromHex('0100000002000000')]],
    ['a root that is a capability', [fromHex('0300000000000000')]],
    ['a pointer of an unknown kind', [fromHex('0700000000000000')]],
  ])('%s', (_, segments) => {
    expect(() => readRoot(segments)).toThrow(MalformedMessageError)
  })

  test.each([
    ['a text without its NUL', () => readText(rootOf('00000100', '0100000012000000', '6869000000000000'), 0)],
    ['a list longer than the message', () => readData(rootOf('00000100', '01000000faffffff'), 0)],
    ['a struct where bytes belong', () => readData(rootOf('00000100', '0000000001000000', '0000000000000000'), 0)],
    ['bits where structs belong', () => readStructs(rootOf('00000100', '0100000009000000', '0000000000000000'), 0)],
    [
      'a composite list with more elements than content',
      () => readStructs(rootOf('00000100', '010000000f000000', '0800000001000000', '0000000000000000'), 0),
    ],
    [
      'a composite list whose tag is a list',
      () => readStructs(rootOf('00000100', '010000000f000000', '0500000001000000', '0000000000000000'), 0),
    ],
    ['a billion structs of no size', () => readStructs(rootOf('00000100', '0100000007000000', 'fcffffff00000000'), 0)],
    ['half a billion voids', () => readStructs(rootOf('00000100', '01000000f8ffffff'), 0)],
  ])('%s', (_, read) => {
    expect(read).toThrow(MalformedMessageError)
  })

  test('a struct inside itself ends at the nesting limit', () => {
    // The pointer's offset of -2 leads back to the root struct.
    let struct = rootOf('00000100', 'f8ffffff00000100')
    expect(() => {
      for (;;) struct = readStruct(struct, 0)
    }).toThrow(/nests too deeply/)
  })

  test('many pointers to one object end at the budget', () => {
    // 1000 pointers to one text of 8000 bytes: 8 MB out of 16 KB.
    const message = createMessage()
    const root = writeRoot(message, 0, 1000)
    writeText(root, 999, 'x'.repeat(8000 - 1))
    const framed = finishMessage(message)
    const view = new DataView(framed.buffer)
    for (let index = 0; index < 999; index++) {
      view.setUint32(16 + 8 * index, ((999 - index) << 2) | 1, true)
      view.setUint32(20 + 8 * index, 2 | (8000 << 3), true)
    }
    const read = readRoot(segmentsOf(framed)[0]!)
    expect(readText(read, 0)).toHaveLength(7999)
    expect(() => {
      for (let index = 1; index < 1000; index++) readText(read, index)
    }).toThrow(/leads to more than it contains/)
  })
})

interface Tree {
  readonly number: number
  readonly big: bigint
  readonly flags: readonly boolean[]
  readonly text: string
  readonly data: Uint8Array
  readonly texts: readonly string[]
  readonly capability: number
  readonly children: readonly Tree[]
}

const tree = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.record({
    number: fc.integer({ min: 0, max: 0xffffffff }),
    big: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    flags: fc.array(fc.boolean(), { minLength: 16, maxLength: 16 }),
    text: fc.string({ unit: 'grapheme', maxLength: 40 }),
    data: fc.uint8Array({ maxLength: 40 }),
    texts: fc.array(fc.string({ maxLength: 12 }), { maxLength: 5 }),
    capability: fc.integer({ min: 0, max: 0xffffffff }),
    children: fc.oneof({ maxDepth: 3 }, fc.constant([]), fc.array(tie('tree'), { maxLength: 3 })),
  }),
})).tree

/** 3+5: number u32@0, flags from bit 32, big i64@8, small u8@16. */
function writeTree(struct: StructWriter, value: Tree): void {
  writeUint32(struct, 0, value.number)
  for (const [index, flag] of value.flags.entries()) writeBool(struct, 32 + index, flag)
  writeInt64(struct, 8, value.big)
  writeUint8(struct, 16, value.number & 0xff)
  writeUint16(struct, 18, value.number & 0xffff)
  writeText(struct, 0, value.text)
  writeData(struct, 1, value.data)
  writeTexts(struct, 2, value.texts)
  writeCapability(struct, 3, value.capability)
  for (const [index, child] of writeStructs(struct, 4, value.children.length, 3, 5).entries()) {
    writeTree(child, value.children[index]!)
  }
}

function readTree(struct: StructReader): Tree {
  expect(readUint8(struct, 16)).toBe(readUint32(struct, 0) & 0xff)
  expect(readUint16(struct, 18)).toBe(readUint32(struct, 0) & 0xffff)
  const capability = readPointer(struct, 3)
  return {
    number: readUint32(struct, 0),
    big: readInt64(struct, 8),
    flags: Array.from({ length: 16 }, (_, index) => readBool(struct, 32 + index)),
    text: readText(struct, 0),
    data: readData(struct, 1).slice(),
    texts: readTexts(struct, 2),
    capability: capability.kind === 'capability' ? capability.index : -1,
    children: readStructs(struct, 4).map(readTree),
  }
}

describe('round trips', () => {
  test('whatever is written is read again, in one segment or in as many as there are objects', () => {
    fc.assert(
      fc.property(tree, fc.integer({ min: 1, max: 300 }), (value, segmentWords) => {
        for (const words of [undefined, segmentWords]) {
          const message = createMessage(words)
          writeTree(writeRoot(message, 3, 5), value)
          const [segments] = segmentsOf(finishMessage(message))
          expect(readTree(readRoot(segments!, { ...defaultCapnpLimits, maxSegments: 100_000 }))).toEqual(value)
        }
      }),
      { numRuns: 300 },
    )
  })

  test('a copy made without the schema says the same', () => {
    fc.assert(
      fc.property(tree, fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 300 }), (value, from, to) => {
        const original = createMessage(from)
        writeTree(writeStruct(writeRoot(original, 0, 1), 0, 3, 5), value)
        const read = readRoot(segmentsOf(finishMessage(original))[0]!)
        const copy = createMessage(to)
        copyPointer(read, 0, writeRoot(copy, 0, 1), 0)
        expect(readTree(readStruct(readRoot(segmentsOf(finishMessage(copy))[0]!), 0))).toEqual(value)
      }),
      { numRuns: 200 },
    )
  })
})

/** Follows everything there is to follow, the way the copier does. */
function walk(segments: Segments): void {
  const root = readRoot(segments)
  const pointers = Math.min(root.pointerCount, 64)
  const copy = writeRoot(createMessage(), 0, pointers)
  for (let index = 0; index < pointers; index++) copyPointer(root, index, copy, index)
}

/** Reads what no schema promised to be there. */
function guess(segments: Segments): void {
  const root = readRoot(segments)
  readText(root, 0)
  for (const element of readStructs(root, 1)) readText(element, 0)
}

describe('fuzz: an error of ours or a value, never anything else', () => {
  /** Counts both outcomes, so that a fuzz that tries nothing but garbage shows. */
  const createCounter = () => {
    const counts = { values: 0, malformed: 0 }
    const count = (read: () => void): void => {
      try {
        read()
        counts.values++
      } catch (error) {
        if (!(error instanceof MalformedMessageError)) throw error
        counts.malformed++
      }
    }
    const expectBoth = (): void => {
      expect(counts.values).toBeGreaterThan(1000)
      expect(counts.malformed).toBeGreaterThan(1000)
    }
    return { count, expectBoth }
  }

  test('random words', () => {
    const { count, expectBoth } = createCounter()
    const word = fc.oneof(
      fc.uint8Array({ minLength: 8, maxLength: 8 }),
      // Words that look like pointers to somewhere near.
      fc
        .tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: -3, max: 12 }), fc.integer({ min: 0, max: 255 }))
        .map(([kind, offset, high]) => {
          const bytes = new Uint8Array(8)
          const view = new DataView(bytes.buffer)
          view.setInt32(0, (offset << 2) | (kind & 7), true)
          view.setUint32(4, kind > 7 ? high : (high & 3) | ((high >> 2) << 16), true)
          return bytes
        }),
    )
    const segment = fc.array(word, { maxLength: 24 }).map((words) => concat(...words))
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), ([first, ...others]) => {
        const segments = [concat(fromHex('0000000001000300'), new Uint8Array(32), first!), ...others]
        segments[0]!.set(first!.subarray(0, 24), 16)
        count(() => walk(segments))
        count(() => guess(segments))
      }),
      { numRuns: 20_000 },
    )
    expectBoth()
  })

  test('known messages with a few bytes changed', () => {
    const { count, expectBoth } = createCounter()
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }))
    fc.assert(
      fc.property(fc.constantFrom(...all), fc.array(change, { minLength: 1, maxLength: 4 }), ([, bytes], changes) => {
        const changed = bytes.slice(8)
        for (const [at, byte] of changes) changed[at % changed.length] = byte
        count(() => walk([changed]))
        count(() => guess([changed]))
      }),
      { numRuns: 20_000 },
    )
    expectBoth()
  })
})
