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
  readonly registration?: RegistrationFault
  readonly unregistration?: UnregistrationFault
}

export type RegistrationFault =
  | { readonly kind: 'never-answered' }
  | { readonly kind: 'exception'; readonly reason: string }
  /** The RPC connection is aborted. */
  | { readonly kind: 'abort' }
  | { readonly kind: 'error'; readonly error: ConnectionError }
  /** The transport connection ends as soon as success has been answered. */
  | { readonly kind: 'close-after' }

export type UnregistrationFault =
  | 'never-answered'
  | 'exception'
  /** The transport connection ends at once, whatever is in flight. */
  | 'close'

/** The answers of the edge's that are no success, ready made. @see cloudflared, tunnelrpc/pogs/errors.go */
export const registrationErrors = {
  duplicate: { cause: 'EDUPCONN', retryAfterMs: 0, shouldRetry: false },
  unauthorized: { cause: 'Unauthorized: Invalid tunnel secret', retryAfterMs: 0, shouldRetry: false },
  unknownTunnel: { cause: 'Unauthorized: Tunnel not found', retryAfterMs: 0, shouldRetry: false },
} as const satisfies Readonly<Record<string, ConnectionError>>

export function rateLimited(retryAfterMs: number): ConnectionError {
  return { cause: 'too many registrations', retryAfterMs, shouldRetry: true }
}
