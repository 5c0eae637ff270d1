/** What both ends of an HTTP/1.1 connection do alike: find heads in the bytes, hold bytes that nobody wants yet. */
import { bytesOf } from '../http/head.ts'
import type { Socket } from '../runtime.ts'
import type { Http1Limits } from './limits.ts'

const headEnd = '\r\n\r\n'
const firstLook = 4_096

/**
 * Collects a head. Its text is searched once: what came in earlier pieces is only kept, so that a peer that sends byte by
 * byte costs us no more than its bytes.
 */
export class HeadReader {
  private partial = ''
  private tail = ''

  /** True in the middle of a head. */
  get started(): boolean {
    return this.partial !== ''
  }

  /** True when the line break behind the start line has come. */
  get hasStartLine(): boolean {
    return this.partial.includes('\n')
  }

  /**
   * Reads on.
   *
   * @returns the head's text with the offset of the empty line and the offset in `bytes` behind it; 'more' when it goes
   *   on in bytes to come; 'large' beyond the limit; 'bare-lf' when a line ends in LF alone
   */
  read(
    socket: Socket,
    bytes: Uint8Array,
    start: number,
    end: number,
    limits: Http1Limits,
  ): FoundHead | 'more' | 'large' | 'bare-lf' {
    if (this.partial === '') {
      // Nearly every head is whole and short. Robust servers skip empty lines before it: RFC 9112 section 2.2.
      while (start < end && (bytes[start] === 13 || bytes[start] === 10)) start++
      const look = Math.min(end, start + firstLook, start + limits.maxHeadBytes)
      const text = socket.latin1(bytes, start, look)
      const at = text.indexOf(headEnd)
      if (at >= 0) return { text, end: at + 2, next: start + at + 4, bytes, base: start }
      if (start === end) return 'more'
    }
    const limit = limits.maxHeadBytes - this.partial.length
    const piece = socket.latin1(bytes, start, Math.min(end, start + limit))
    const window = this.tail + piece
    const found = window.indexOf(headEnd)
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
      const at = this.partial.length - this.tail.length + found
      this.reset()
      return { text, end: at + 2, next: start + at + 4 - (text.length - piece.length), bytes: bytesOf(text), base: 0 }
    }
    this.partial += piece
    this.tail = window.slice(-3)
    return piece.length < end - start || this.partial.length >= limits.maxHeadBytes ? 'large' : 'more'
  }

  reset(): void {
    this.partial = ''
    this.tail = ''
  }
}

export interface FoundHead {
  readonly text: string
  /** Offset in `text` of the empty line's CR. */
  readonly end: number
  /** Offset in the bytes read behind the empty line. */
  readonly next: number
  /** What `text` was made of: `bytes[base]` is its first code unit. */
  readonly bytes: Uint8Array
  readonly base: number
}
