/** Bytes that both ends know, so that each can tell whether what came is what was sent, without keeping it. */
import { createRandom } from '../../support/random.ts'

const periodBytes = 1 << 20
/** Not a power of two, so that a piece that is lost or sent twice shifts the rest. */
const usedBytes = periodBytes - 3

const pattern = ((): Buffer => {
  const random = createRandom(7)
  return Buffer.from(Uint8Array.from({ length: usedBytes }, () => random.between(0, 255)))
})()

/** As many of the bytes from a position on as lie in one piece, up to `most`. */
export function patternAt(position: number, most: number): Buffer {
  const from = position % usedBytes
  return pattern.subarray(from, Math.min(from + most, usedBytes))
}

/** @returns whether the bytes are those that stand at the position */
export function isPattern(bytes: Uint8Array, position: number): boolean {
  for (let done = 0; done < bytes.length;) {
    const expected = patternAt(position + done, bytes.length - done)
    if (expected.compare(bytes, done, done + expected.length) !== 0) return false
    done += expected.length
  }
  return true
}
