/**
 * The field lines of the head before, kept for as long as a peer goes on sending the same ones.
 *
 * Clients of services send the same fields with every request of a connection, and file servers answer with the same
 * ones. Comparing bytes is a tenth of the work of reading them. A peer whose fields differ costs a few comparisons, and
 * then none.
 */
import { bytesOf, FieldScan, type Head } from '../http/head.ts'
import type { Socket } from '../runtime.ts'
import type { Http1Limits } from './limits.ts'

const maxBlockBytes = 2_048
/** Differing heads in a row after which a connection is not compared any more. */
const maxMisses = 8

export class HeadMemo {
  private block: Uint8Array | undefined
  private head: Head | undefined
  private misses = 0
  private seen = 0

  /**
   * @param start of the first field line
   * @param end   of the bytes that are there
   * @returns the bytes that the same field lines take, the empty line included; 0 when they are others
   */
  match(socket: Pick<Socket, 'equal'>, bytes: Uint8Array, start: number, end: number): number {
    const { block } = this
    if (block === undefined || socket.equal === undefined || end - start < block.length) return 0
    if (socket.equal(bytes, start, start + block.length, block)) {
      this.misses = 0
      return block.length
    }
    this.misses++
    this.block = this.head = undefined
    return 0
  }

  /** The head of the block that matched. It stands for itself: nothing of the start line is in it. */
  matched(socket: Pick<Socket, 'latin1'>, limits: Http1Limits): Head {
    if (this.head) return this.head
    const block = this.block!
    const text = socket.latin1(block, 0, block.length)
    const scan = new FieldScan()
    scan.run(bytesOf(text), undefined, 0, block.length, limits.maxFieldLines, limits.maxFieldLineBytes)
    return (this.head = scan.head(text, 0))
  }

  /** Remembers field lines that were found valid, from the second head of a connection on: most have one only. */
  remember(socket: Pick<Socket, 'equal'>, bytes: Uint8Array, start: number, end: number): void {
    if (socket.equal === undefined || this.misses >= maxMisses || this.seen++ === 0 || end - start > maxBlockBytes)
      return
    this.block = new Uint8Array(bytes.subarray(start, end)) // a copy; Node's Buffer.slice() makes none
    this.head = undefined
  }
}
