/**
 * Puts text and the bytes behind it together, so that one small system call takes both. As a string, where a string is
 * cheaper; else in one piece of memory that all sockets share, which the system mostly has read when the call returns.
 */

/** Together no more than this: beyond it two copies cost more than the system's own gathering. */
export const jointBytes = 16_384
/** Strings of this size are made in no time; longer ones become work for the garbage collector. */
const stringBytes = 2_048

let memory = make()

/** @param head Latin-1, as `tail`; with the bytes in between at most {@link jointBytes} */
export function joint(head: string, body: Uint8Array, start: number, end: number, tail: string): string | Uint8Array {
  const size = end - start
  if (size < stringBytes) return head + Buffer.prototype.latin1Slice.call(body, start, end) + tail
  const before = head === '' ? 0 : memory.latin1Write(head, 0)
  memory.set(body.subarray(start, end), before)
  const behind = before + size
  return memory.subarray(0, tail === '' ? behind : behind + memory.latin1Write(tail, behind))
}

/** The system is still reading what was joined last. */
export function keepJoint(): void {
  memory = make()
}

/** As Node, Bun and Deno have it; their types leave it out. It does less than `write` with an encoding. */
interface Latin1Writer {
  latin1Write(text: string, offset: number): number
}

function make(): Buffer & Latin1Writer {
  return Buffer.allocUnsafeSlow(jointBytes) as Buffer & Latin1Writer
}
