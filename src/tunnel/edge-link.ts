/**
 * What an edge connection is made of, whichever transport carries it: a control stream, and requests that the transport
 * hands to a Handler by itself.
 */
import { type Address, type SocketError } from '../runtime.ts'
import { type EdgeAddress } from './discovery.ts'
import { type Transport } from './protocol.ts'

/** The stream that registration goes over. On HTTP/2 the edge opens it, on QUIC we do. */
export interface ControlStream {
  /** Sends a whole message at once; the bytes are the stream's from then on. */
  write(message: Uint8Array): void
  /** Ends our half. */
  end(): void
  /** Begins to read. Call once. */
  start(events: ControlEvents): void
}

export interface ControlEvents {
  /** Bytes of the edge's, valid during the call. */
  receive(bytes: Uint8Array, start: number, end: number): void
  /** The edge's half has ended or broken. Once. */
  lost(reason: string): void
}

export interface EdgeLinkEvents {
  control(stream: ControlStream): void
  /** The edge opens no more streams; those that run may finish. At most once, and over HTTP/2 alone (GOAWAY). */
  goAway(): void
  /** The transport connection is gone. Once, and last. */
  close(end: LinkEnd): void
}

export interface LinkEnd {
  /** For the log. */
  readonly reason: string
  /** It was given up because nothing came any more. */
  readonly silent: boolean
}

/** A transport connection to the edge. */
export interface EdgeLink {
  readonly local: Address
  /** Monotonic milliseconds when the edge was last heard of. */
  readonly heardAtMs: number
  /** Requests being served. */
  readonly activeRequests: number
  /**
   * Closes once nothing is in flight. Sessions that never end by themselves (WebSockets) are told to come to an end, or
   * are kept for as long as they like.
   */
  finish(sessions: 'end' | 'keep'): void
  /** Ends everything at once. */
  destroy(): void
}

/** Dials the edge. Rejects with a {@link DialFailure}. */
export interface EdgeTransport {
  readonly protocol: Transport
  connect(to: EdgeAddress, connIndex: number, events: EdgeLinkEvents): Promise<EdgeLink>
}

/** Why there is no transport connection. */
export class DialFailure extends Error {
  override readonly name = 'DialFailure'
  readonly failure: 'unreachable' | 'quic-blocked'
  constructor(failure: 'unreachable' | 'quic-blocked', reason: string) {
    super(reason)
    this.failure = failure
  }
}

/** The words of a runtime's error, for the log. */
export function describeSocketError({ code, message }: SocketError): string {
  return `${message} (${code})`
}
