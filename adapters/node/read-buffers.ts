/**
 * What a socket reads into. Most connections wait most of the time and then say little, so each starts with a small
 * buffer; one that fills it borrows a large one for as long as that is put to use.
 *
 * A buffer belongs to one socket at a time: bytes that somebody keeps stay as they are while that socket is paused.
 */
export interface ReadBuffers {
  /** For a new socket. */
  first(): Uint8Array
  /** For the next read, after one of `count` bytes into `current`, which nobody keeps any more. */
  next(current: Uint8Array, count: number): Uint8Array
  giveBack(buffer: Uint8Array): void
}

/** Large buffers kept for later; more are left to the garbage collector. */
const maxFree = 64

export function createReadBuffers(smallBytes: number, largeBytes: number): ReadBuffers {
  const free: Uint8Array[] = []
  /** A socket that has a large buffer still has its small one to go back to: it makes a new one, which is cheap. */
  const small = (): Uint8Array => Buffer.allocUnsafeSlow(smallBytes)
  const giveBack = (buffer: Uint8Array): void => {
    if (buffer.length === largeBytes && free.length < maxFree) free.push(buffer)
  }
  return {
    first: small,
    next(current, count) {
      if (current.length === smallBytes)
        return count < smallBytes ? current : (free.pop() ?? Buffer.allocUnsafeSlow(largeBytes))
      if (count >= smallBytes) return current
      giveBack(current)
      return small()
    },
    giveBack,
  }
}
