/** What a peer may ask of us before we say no, and how much is in flight. Every number is an option. */
import { defaultWindowBytes, maxMaxFrameBytes, maxWindowBytes, minMaxFrameBytes } from './frames.ts'

export interface Http2Limits {
  /** Streams that a peer may have open at once, and handlers that may run for it. */
  readonly maxConcurrentStreams: number
  /** Size of a header list as RFC 9113 section 6.5.2 counts it (32 more for each field); more is answered 431. */
  readonly maxHeaderListBytes: number
  /** Field lines of a head; more is answered 431. */
  readonly maxFieldLines: number
  /** Bytes of the request target; more is answered 414. */
  readonly maxTargetBytes: number
  /** Largest frame that a peer may send; 16,384 to 16,777,215. */
  readonly maxFrameBytes: number
  /** What a peer may send on one stream before its consumer has taken it. */
  readonly streamWindowBytes: number
  /** What a peer may send on all streams within one round trip. */
  readonly connectionWindowBytes: number
  /** Body bytes of one connection that wait for their consumers; beyond it, the connection's window is held back. */
  readonly maxBufferedBytes: number
  /** Frames that wait for a peer that does not read; beyond it, the connection is closed. */
  readonly maxOutputBytes: number
  /** From accepting a connection to its first SETTINGS, and from a HEADERS frame to the end of its header block. */
  readonly headTimeoutMs: number
  /** A connection without a stream. */
  readonly idleTimeoutMs: number
  /** Without a byte of a body that is due. */
  readonly bodyStallTimeoutMs: number
  /** Without the peer opening its window, or reading, while we have something to send. */
  readonly writeStallTimeoutMs: number
  /** After a GOAWAY that announces the end, until the connection is closed. */
  readonly goawayTimeoutMs: number
  /** How long after one sign that it hears us the peer is asked for another (PING); `Infinity` for never. */
  readonly pingIntervalMs: number
  /** How long it may take to give one; five times as long while it talks. */
  readonly pingTimeoutMs: number
  /** Streams that end by a reset, whoever sends it: so many at once, and so many a second after that. */
  readonly resetBurst: number
  readonly resetsPerSecond: number
  /**
   * Frames that move nothing (PING, SETTINGS, PRIORITY, empty DATA …): so many at once, so many a second, and two for each
   * stream, since some are late.
   */
  readonly idleFrameBurst: number
  readonly idleFramesPerSecond: number
}

/** For listeners and backends. */
export const defaultHttp2Limits: Http2Limits = {
  maxConcurrentStreams: 250,
  maxHeaderListBytes: 65_536,
  maxFieldLines: 200,
  maxTargetBytes: 16_384,
  maxFrameBytes: 16_384,
  streamWindowBytes: 262_144,
  connectionWindowBytes: 1_048_576,
  maxBufferedBytes: 8_388_608,
  maxOutputBytes: 4_194_304,
  headTimeoutMs: 10_000,
  idleTimeoutMs: 75_000,
  bodyStallTimeoutMs: 60_000,
  writeStallTimeoutMs: 60_000,
  goawayTimeoutMs: 1_000,
  pingIntervalMs: Infinity,
  pingTimeoutMs: 15_000,
  resetBurst: 500,
  resetsPerSecond: 50,
  idleFrameBurst: 2_000,
  idleFramesPerSecond: 500,
}

/**
 * For a connection that carries many people's requests: Cloudflare's edge to a connector. One of them who resets stream
 * after stream must not cost the others their connection. No limit of streams, and header lists of 1 MiB, as the
 * reference client has it (cloudflared: connection/http2.go).
 */
export const edgeHttp2Limits: Http2Limits = {
  ...defaultHttp2Limits,
  maxConcurrentStreams: 0xffff_ffff,
  maxHeaderListBytes: 1_048_576,
  maxFieldLines: 4_000,
  maxTargetBytes: 65_536,
  maxFrameBytes: 65_536,
  streamWindowBytes: 1_048_576,
  connectionWindowBytes: 4_194_304,
  maxBufferedBytes: 67_108_864,
  maxOutputBytes: 33_554_432,
  idleTimeoutMs: Infinity,
  writeStallTimeoutMs: 600_000, // somebody behind the edge may pause a download
  pingIntervalMs: 15_000,
  resetBurst: 20_000,
  resetsPerSecond: 2_000,
  idleFrameBurst: 20_000,
  idleFramesPerSecond: 5_000,
}

/** @throws RangeError for limits that the protocol has no room for */
export function checkLimits(limits: Http2Limits): void {
  const { maxFrameBytes, streamWindowBytes, connectionWindowBytes } = limits
  if (!(maxFrameBytes >= minMaxFrameBytes && maxFrameBytes <= maxMaxFrameBytes))
    throw new RangeError(`maxFrameBytes must be from ${minMaxFrameBytes} to ${maxMaxFrameBytes}`)
  // Less than the default would have to be waited for until the peer has taken note of it.
  for (const bytes of [streamWindowBytes, connectionWindowBytes])
    if (!(bytes >= defaultWindowBytes && bytes <= maxWindowBytes))
      throw new RangeError(`windows must be from ${defaultWindowBytes} to ${maxWindowBytes} bytes`)
}
