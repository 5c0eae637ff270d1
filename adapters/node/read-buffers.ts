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
  /** For the next read, while somebody keeps `current`. */
  other(current: Uint8Array): Uint8Array
  giveBack(buffer: Uint8Array): void
}

/** Bytes in buffers of a size that are kept for later; more are left to the garbage collector. */
const maxFreeBytes = 4 << 20

export function createReadBuffers(smallBytes: number, largeBytes: number): ReadBuffers {
  const freeSmall: Uint8Array[] = []
  const freeLarge: Uint8Array[] = []
  const small = (): Uint8Array => freeSmall.pop() ?? Buffer.allocUnsafeSlow(smallBytes)
  const large = (): Uint8Array => freeLarge.pop() ?? Buffer.allocUnsafeSlow(largeBytes)
  const giveBack = (buffer: Uint8Array): void => {
    const free = buffer.length === smallBytes ? freeSmall : freeLarge
    if (free.length * buffer.length < maxFreeBytes) free.push(buffer)
  }
  return {
    first: small,
    next(current, count) {
      if (current.length === smallBytes ? count < smallBytes : count >= smallBytes) return current
      giveBack(current)
      return current.length === smallBytes ? large() : small()
    },
    other: (current) => (current.length === smallBytes ? small() : large()),
    giveBack,
  }
}
