/** What both ends of an HTTP/1.1 connection do alike: find heads in the bytes, whole or in pieces. */
import { bytesOf, FieldScan, type Head, type HeadFault } from '../http/head.ts'
import type { Socket } from '../runtime.ts'
import { HeadMemo } from './head-memo.ts'
import type { Http1Limits } from './limits.ts'

/** A head with its start line still to be read. */
export interface FoundHead {
  /** From the start line on. */
  readonly text: string
  /** What `text` was made of: `bytes[base]` is its first code unit. */
  readonly bytes: Uint8Array
  readonly base: number
  /** Offset of the start line's CR in `text`. */
  readonly lineEnd: number
  readonly fields: Head | HeadFault
  /** Offset in the bytes read behind the empty line; without meaning where the fields are faulty. */
  readonly next: number
}

type HeadProblem = 'more' | 'large' | 'large-line' | 'bare-lf'

/** One for all connections: what it finds is used up before it is asked again. */
const scan = new FieldScan()

/**
 * Reads heads. Nearly every one is whole and is scanned where it lies. One that comes in pieces is only kept until its end
 * is there, so that a peer that sends byte by byte costs us no more than its bytes.
 */
export class HeadReader {
  private readonly memo = new HeadMemo()
  private partial = ''
  private tail = ''
  private words: Int32Array | undefined
  private lastBytes: Uint8Array | undefined

  /** True in the middle of a head. */
  get started(): boolean {
    return this.partial !== ''
  }

  /**
   * Reads on.
   *
   * @returns 'more' when the head goes on in bytes to come; 'large' beyond the limit, 'large-line' when not even the start
   *   line has come to its end; 'bare-lf' when a line ends in LF alone
   */
  read(socket: Socket, bytes: Uint8Array, start: number, end: number, limits: Http1Limits): FoundHead | HeadProblem {
    let from = start
    if (this.partial === '') {
      // Robust servers skip empty lines before a request: RFC 9112 section 2.2.
      while (from < end && (bytes[from] === 13 || bytes[from] === 10)) from++
      if (from === end) return 'more'
      const found = this.find(socket, bytes, this.wordsOf(bytes, end), from, end, limits)
      if (found !== 'more') return found
    }
    return this.collect(socket, bytes, from, end, limits)
  }

  reset(): void {
    this.partial = ''
    this.tail = ''
  }

  private find(
    socket: Pick<Socket, 'latin1' | 'equal'>,
    bytes: Uint8Array,
    words: Int32Array | undefined,
    start: number,
    end: number,
    limits: Http1Limits,
  ): FoundHead | HeadProblem {
    let i = start
    let c = bytes[i]!
    while (c !== 13 && c !== 10 && i < end) c = bytes[++i]!
    if (i + 1 >= end) return 'more'
    if (c === 10 || bytes[i + 1] !== 10) return 'bare-lf'
    const lineEnd = i - start
    const { memo } = this
    const same = memo.match(socket, bytes, i + 2, end)
    if (same > 0) {
      if (i + same - start > limits.maxHeadBytes) return lineEnd < limits.maxHeadBytes ? 'large' : 'large-line'
      const text = socket.latin1(bytes, start, i + 2)
      return { text, bytes, base: start, lineEnd, fields: memo.matched(socket, limits), next: i + 2 + same }
    }
    const fault = scan.run(bytes, words, i + 2, end, limits.maxFieldLines, limits.maxFieldLineBytes)
    if (fault === 'more') return 'more'
    if (fault !== undefined) {
      return { text: socket.latin1(bytes, start, i + 2), bytes, base: start, lineEnd, fields: fault, next: end }
    }
    if (scan.end - start > limits.maxHeadBytes) return lineEnd < limits.maxHeadBytes ? 'large' : 'large-line'
    memo.remember(socket, bytes, i + 2, scan.end + 2)
    const text = socket.latin1(bytes, start, scan.end)
    return { text, bytes, base: start, lineEnd, fields: scan.head(text, start), next: scan.end + 2 }
  }

  private collect(
    socket: Socket,
    bytes: Uint8Array,
    start: number,
    end: number,
    limits: Http1Limits,
  ): FoundHead | HeadProblem {
    const before = this.partial.length
    const piece = socket.latin1(bytes, start, Math.min(end, start + limits.maxHeadBytes - before))
    const window = this.tail + piece
    const found = window.indexOf('\r\n\r\n')
    const searched = found >= 0 ? found : window.length
    for (
      let i = window.indexOf('\n', Math.max(this.tail.length, 1));
      i >= 0 && i < searched;
      i = window.indexOf('\n', i + 1)
    ) {
      if (window.charCodeAt(i - 1) !== 13) return 'bare-lf'
    }
    if (found >= 0) {
      const text = this.partial + piece
      const length = before - this.tail.length + found + 4
      this.reset()
      const whole = this.find(
        { latin1: (_, from, to) => text.slice(from, to) },
        bytesOf(text),
        undefined,
        0,
        length,
        limits,
      )
      return typeof whole === 'string' ? whole : { ...whole, next: start + length - before }
    }
    this.partial += piece
    this.tail = window.slice(-3)
    if (piece.length === end - start && this.partial.length < limits.maxHeadBytes) return 'more'
    return this.partial.includes('\n') ? 'large' : 'large-line'
  }

  /**
   * The same memory in words, where a socket reads into the same buffer again and again. One that is full was made for
   * this read alone, and an idle connection must not hold on to it.
   */
  private wordsOf(bytes: Uint8Array, end: number): Int32Array | undefined {
    if (end === bytes.length) return undefined
    if (bytes !== this.lastBytes) {
      this.lastBytes = bytes
      this.words = undefined
    } else if (this.words === undefined && bytes.byteOffset === 0) {
      this.words = new Int32Array(bytes.buffer, 0, bytes.buffer.byteLength >> 2)
    }
    return this.words
  }
}
