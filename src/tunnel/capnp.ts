/**
 * What the parts of our small Cap'n Proto share: the word, the limits, and the one error.
 *
 * Only what the tunnel needs is here: the unpacked stream encoding, structs, lists, text, data, far pointers and
 * capability indexes. There is no schema compiler; each struct's layout stands beside the functions that read and
 * write it.
 *
 * @see https://capnproto.org/encoding.html
 */

/** Every object in a message starts and ends on a word. */
export const wordBytes = 8

/** What one message may cost us. The peer chooses the sizes, so each of them has an end. */
export interface CapnpLimits {
  /** Segments of one message. The reference decoder's limit is 513. */
  readonly maxSegments: number
  /** Bytes of one message, its frame header not counted. */
  readonly maxMessageBytes: number
  /** How deep pointers may lead into pointers. */
  readonly maxDepth: number
}

export const defaultCapnpLimits: CapnpLimits = {
  maxSegments: 513,
  maxMessageBytes: 16 * 1024 * 1024,
  maxDepth: 64,
}

/** A peer's bytes that are no Cap'n Proto, or more of it than we accept. The text never quotes the bytes. */
export class MalformedMessageError extends Error {
  override readonly name = 'MalformedMessageError'
}
