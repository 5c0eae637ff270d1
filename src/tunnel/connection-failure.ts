import { type ConnectionError } from './registration.ts'

/** Why an edge connection is not there, as far as the next attempt depends on it. */
export type ConnectionFailure =
  /** TCP, TLS or QUIC could not be set up. */
  | 'unreachable'
  /** QUIC was given no answer at all, or the system won't send its datagrams: UDP is blocked on the way. */
  | 'quic-blocked'
  /** The edge took the connection and then fell silent, or never opened the control stream. */
  | 'silent'
  /** It was up, and the edge closed it or the network did. */
  | 'lost'
  /** The edge server has a connection of this connector already. */
  | 'duplicate'
  /** The edge refused the registration for now. */
  | 'retry-later'
  /** The edge refused the credentials; a tunnel created a moment ago may not be known everywhere yet. */
  | 'unauthorized'
  /** The edge refused the registration, and expects no better next time. */
  | 'refused'
  /** The registration got no usable answer. */
  | 'rpc'
  /** We ended it ourselves. */
  | 'cancelled'

export interface FailureHandling {
  /** Whether the next attempt goes to another address. */
  readonly rotates: boolean
  /** Whether the address itself is in doubt, which may mean its whole IP version. */
  readonly addressInDoubt: boolean
  /** Whether another protocol might do better: at once, after several in a row, or never. */
  readonly fallback: 'at-once' | 'after-dial-failures' | 'after-retries' | 'never'
}

/**
 * What each failure means for the next attempt. Unlike the reference client's, a duplicate connection does not cast
 * doubt on its address, and one that never opened its control stream does.
 *
 * @see cloudflared, supervisor/tunnel.go (selectNextProtocol) and edgediscovery/edgediscovery.go
 */
export const failureHandling: Readonly<Record<ConnectionFailure, FailureHandling>> = {
  unreachable: { rotates: true, addressInDoubt: true, fallback: 'after-dial-failures' },
  'quic-blocked': { rotates: true, addressInDoubt: true, fallback: 'at-once' },
  silent: { rotates: true, addressInDoubt: true, fallback: 'after-retries' },
  lost: { rotates: false, addressInDoubt: false, fallback: 'after-retries' },
  duplicate: { rotates: true, addressInDoubt: false, fallback: 'never' },
  'retry-later': { rotates: false, addressInDoubt: false, fallback: 'after-retries' },
  unauthorized: { rotates: false, addressInDoubt: false, fallback: 'never' },
  refused: { rotates: false, addressInDoubt: false, fallback: 'never' },
  rpc: { rotates: false, addressInDoubt: false, fallback: 'never' },
  cancelled: { rotates: false, addressInDoubt: false, fallback: 'never' },
}

/** The edge's words for a second connection of one connector to one of its servers. */
export const duplicateCause = 'EDUPCONN'

/** @see cloudflared, connection/errors.go and tunnelrpc/pogs/errors.go */
export function classifyRegistrationError({ cause, shouldRetry }: ConnectionError): ConnectionFailure {
  if (cause === duplicateCause) return 'duplicate'
  if (shouldRetry) return 'retry-later'
  return cause.includes('Unauthorized') ? 'unauthorized' : 'refused'
}
