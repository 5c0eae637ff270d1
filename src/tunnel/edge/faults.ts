/** What can be made to go wrong, on purpose: everything that the real edge or the network between does at times. */
import type { ConnectionError } from '../registration.ts'

/** For one connection, from its beginning. */
export interface ConnectionFaults {
  /** The control stream is never opened. */
  readonly withholdControl?: boolean
  /** Each of our RPC messages leaves so much later. */
  readonly rpcDelayMs?: number
  /** Each of our RPC messages has two segments, and a far pointer from one to the other. */
  readonly segmented?: boolean
  /** How whatever we write leaves, frames and RPC alike. */
  readonly pace?: Pace
  /** Garbage follows the greeting, and nothing else. */
  readonly babble?: boolean
  readonly registration?: RegistrationFault
  /** What becomes of the connector's report of its own configuration. */
  readonly localConfiguration?: 'never-answered' | 'exception'
  readonly unregistration?: UnregistrationFault
}

/** In pieces, one write each: a slow network, or one that cuts where nobody expects it. */
export interface Pace {
  readonly pieceBytes: number
  /** Between two pieces. */
  readonly delayMs: number
}

export type RegistrationFault =
  | { readonly kind: 'never-answered' }
  | { readonly kind: 'exception'; readonly reason: string }
  /** The RPC connection is aborted. */
  | { readonly kind: 'abort' }
  /** The answer is not RPC. */
  | { readonly kind: 'garbage' }
  | { readonly kind: 'error'; readonly error: ConnectionError }
  /** The transport connection ends as soon as success has been answered. */
  | { readonly kind: 'close-after' }

export type UnregistrationFault =
  | 'never-answered'
  | 'exception'
  /** The transport connection ends at once, whatever is in flight. */
  | 'close'

/** Neither a frame of HTTP/2 nor a message of Cap'n Proto: both would be of a size that nobody allows. */
export const garbage: Uint8Array = new Uint8Array(64).fill(0xff)

/** The answers of the edge's that are no success, ready made. @see cloudflared, tunnelrpc/pogs/errors.go */
export const registrationErrors = {
  duplicate: { cause: 'EDUPCONN', retryAfterMs: 0, shouldRetry: false },
  unauthorized: { cause: 'Unauthorized: Invalid tunnel secret', retryAfterMs: 0, shouldRetry: false },
  unknownTunnel: { cause: 'Unauthorized: Tunnel not found', retryAfterMs: 0, shouldRetry: false },
} as const satisfies Readonly<Record<string, ConnectionError>>

export function rateLimited(retryAfterMs: number): ConnectionError {
  return { cause: 'too many registrations', retryAfterMs, shouldRetry: true }
}
