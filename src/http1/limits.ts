/** What a peer may ask of us before we say no. Every number is an option; these are the defaults. */
import { maxHeadText } from '../http/head.ts'

export interface Http1Limits {
  /** Bytes of the request target; more is answered 414. RFC 9112 section 3 asks for 8,000 at least. */
  readonly maxTargetBytes: number
  /** Bytes of one field line; more is answered 431. */
  readonly maxFieldLineBytes: number
  /** Bytes of a whole head; more is answered 431. */
  readonly maxHeadBytes: number
  /** Field lines of a head; more is answered 431. */
  readonly maxFieldLines: number
  /** Bytes of a trailer section; and of a body's chunk extensions, beyond as many as its data has. */
  readonly maxTrailerBytes: number
  /** From the first byte of a head to its last; later is answered 408. */
  readonly headTimeoutMs: number
  /** A kept connection without a request. */
  readonly idleTimeoutMs: number
  /** Without a byte of a body that is due. */
  readonly bodyStallTimeoutMs: number
  /** Without the peer taking a byte that we want to send. */
  readonly writeStallTimeoutMs: number
  /** Body bytes read and thrown away after an early answer, so that the answer is not lost to a reset. */
  readonly maxDrainBytes: number
  /** The same in time. */
  readonly drainTimeoutMs: number
  /** How long a client that has sent its FIN behind a whole request is kept while there is nothing to write to it. */
  readonly halfClosedTimeoutMs: number
  /** From a request for an upgrade to the head of its answer. */
  readonly upgradeTimeoutMs: number
  /** An upgraded connection without a byte in either direction; `Infinity` for never. */
  readonly upgradeIdleTimeoutMs: number
}

export const defaultHttp1Limits: Http1Limits = {
  maxTargetBytes: 16_384,
  maxFieldLineBytes: 32_768,
  maxHeadBytes: 65_536,
  maxFieldLines: 200,
  maxTrailerBytes: 16_384,
  headTimeoutMs: 10_000,
  idleTimeoutMs: 75_000,
  bodyStallTimeoutMs: 60_000,
  writeStallTimeoutMs: 60_000,
  maxDrainBytes: 1 << 20,
  drainTimeoutMs: 5_000,
  halfClosedTimeoutMs: 1_000,
  upgradeTimeoutMs: 30_000,
  upgradeIdleTimeoutMs: Infinity,
}

/** @throws RangeError for a head that our representation can't hold */
export function checkLimits(limits: Http1Limits): void {
  if (!(limits.maxHeadBytes <= maxHeadText && limits.maxTrailerBytes <= maxHeadText))
    throw new RangeError(`maxHeadBytes and maxTrailerBytes can be ${maxHeadText} at most`)
}
