import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HeadReader } from '../../src/http1/connection.ts'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import { createMemorySocket } from '../support/memory-socket.ts'
import { cuts, inPieces, requestBytes } from './llhttp/arbitraries.ts'

/*
 * The reader has ways of its own for bytes that lie in a buffer used again and again (four at a time, with what earlier
 * reads left behind them), for fields that equal those of the head before, and for heads in pieces. All must read the same.
 */

const socket = createMemorySocket()

/** The heads at the start of some bytes, each as its start line and fields, up to the first that is none. */
function readAll(reader: HeadReader, place: (piece: string) => Uint8Array, pieces: readonly string[]): unknown[] {
  const heads: unknown[] = []
  for (const piece of pieces) {
    const bytes = place(piece)
    for (let at = 0; at < piece.length;) {
      const found = reader.read(socket, bytes, at, piece.length, defaultHttp1Limits)
      if (found === 'more') break
      if (typeof found === 'string' || typeof found.fields === 'string') return heads
      heads.push([found.text.slice(0, found.lineEnd), found.fields.fields(), found.fields.kinds])
      at = found.next
    }
  }
  return heads
}

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0))

test('a head is the same wherever, and in whatever pieces, it lies', () => {
  const used = new Uint8Array(4_096).fill(0x61)
  let read = 0
  fc.assert(
    fc.property(requestBytes, cuts, (text, where) => {
      const plain = readAll(new HeadReader(), bytesOf, [text])
      const reader = new HeadReader()
      const place = (piece: string): Uint8Array => {
        used.set(bytesOf(piece))
        return used
      }
      readAll(reader, place, ['GET / HTTP/1.1\r\nHost: a.example\r\n\r\n'.repeat(3)]) // so that it knows the buffer
      expect(readAll(reader, place, inPieces(text, where))).toEqual(plain)
      read += plain.length
    }),
    { numRuns: 1_500, interruptAfterTimeLimit: 5_000 },
  )
  expect(read).toBeGreaterThan(100)
})
