/**
 * HPACK's Huffman code. RFC 7541 section 5.2 and appendix B.
 *
 * The code is canonical: ordered by length and then by symbol, code words count up. So the lengths say it all, and
 * the decoder's table is made of them when it is first needed.
 */

/** Bits of the code word of each octet, and of EOS behind them. */
// oxfmt-ignore
const codeLengths: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
]

const endOfString = 256
const failed = -1
const emits = 1 << 16

interface Decoder {
  /** For each state and half an octet: the next state, and in the bits above it what comes out. */
  readonly steps: Int32Array
  /** 1 for each state in which a string may end: nothing but the first bits of EOS since the last symbol. */
  readonly accepting: Uint8Array
}

let decoder: Decoder | undefined

/**
 * Decodes a string.
 *
 * @param out has room for 8/5 of the octets read
 * @returns the offset in `out` behind the last octet, or -1 for a string that no encoder may make
 */
export function decodeHuffman(bytes: Uint8Array, start: number, end: number, out: Uint8Array, at: number): number {
  const { steps, accepting } = (decoder ??= buildDecoder())
  let state = 0
  for (let i = start; i < end; i++) {
    const octet = bytes[i]!
    let step = steps[(state << 4) | (octet >>> 4)]!
    if (step >= emits) out[at++] = step >>> 8
    else if (step === failed) return -1
    step = steps[((step & 0xff) << 4) | (octet & 15)]!
    if (step >= emits) out[at++] = step >>> 8
    else if (step === failed) return -1
    state = step & 0xff
  }
  return accepting[state] === 1 ? at : -1
}

/** A state is an inner node of the code's tree; there are 256 of them. */
function buildDecoder(): Decoder {
  const children: [number, number][] = [[0, 0]] // an inner node's number, or -1 - symbol; 0 where nothing is yet
  let code = 0
  for (let length = 1; length <= 30; length++) {
    code <<= 1
    for (let symbol = 0; symbol <= endOfString; symbol++) {
      if (codeLengths[symbol] === length) insert(children, code++, length, symbol)
    }
  }
  const accepting = new Uint8Array(children.length)
  for (let node = 0, depth = 0; depth < 8; depth++) {
    accepting[node] = 1
    node = children[node]![1]
  }
  const steps = new Int32Array(children.length * 16)
  for (let state = 0; state < children.length; state++) {
    for (let half = 0; half < 16; half++) steps[(state << 4) | half] = walk(children, state, half)
  }
  return { steps, accepting }
}

function insert(children: [number, number][], code: number, length: number, symbol: number): void {
  let node = 0
  for (let bit = length - 1; bit > 0; bit--) {
    const side = (code >>> bit) & 1
    if (children[node]![side] === 0) {
      children[node]![side as 0 | 1] = children.length
      children.push([0, 0])
    }
    node = children[node]![side]!
  }
  children[node]![(code & 1) as 0 | 1] = -1 - symbol
}

function walk(children: readonly [number, number][], state: number, half: number): number {
  let node = state
  let emitted = 0
  for (let bit = 3; bit >= 0; bit--) {
    const next = children[node]![(half >>> bit) & 1]!
    if (next >= 0) node = next
    else {
      const symbol = -1 - next
      if (symbol === endOfString) return failed
      emitted = emits | (symbol << 8)
      node = 0
    }
  }
  return emitted | node
}
