/**
 * Everything that can go wrong with traffic, as a closed union.
 *
 * Adapters map their runtime's codes to it once; nobody matches on messages. `proxy/respond.ts` alone turns an error
 * into a status.
 */
export type ProxyError =
  /** The client's message cannot be served as HTTP. The connection closes after the answer. */
  | {
      readonly kind: 'bad-request'
      readonly status: 400 | 405 | 408 | 413 | 414 | 417 | 431 | 501 | 505
      readonly reason: string
    }
  /** RFC 9110 section 15.5.20: this connection is not for that host. */
  | { readonly kind: 'misdirected' }
  /** No config has been applied yet. */
  | { readonly kind: 'no-config' }
  | { readonly kind: 'no-route' }
  /** Known since the config was compiled: a bad filter, a bad reference, no ready endpoints. */
  | { readonly kind: 'unservable'; readonly status: number; readonly reason: string }
  /** A filter or handler threw. */
  | { readonly kind: 'filter-failed'; readonly reason: string }
  /** The request has passed through this process before. */
  | { readonly kind: 'loop' }
  | {
      readonly kind: 'upstream'
      /** Where it broke: waiting for a free connection, name look-up, dialling, TLS, sending, before or inside the answer. */
      readonly phase: 'pool' | 'dns' | 'connect' | 'tls' | 'send' | 'head' | 'body'
      /** 'closed': the peer went away; 'malformed': it spoke, but not HTTP we accept. */
      readonly cause: 'closed' | 'malformed' | 'refused' | 'timeout' | 'forbidden' | 'overloaded'
      readonly reason: string
      /** A kept connection that died before the first byte of an answer, with no byte of the request's body spent. */
      readonly stale?: boolean
      /** With `stale`: not one byte was sent, or the peer says that it has not acted on it (RFC 9113 section 8.7), so any method may be sent again. */
      readonly unprocessed?: boolean
    }
  /** A deadline of the route passed. `limit` says which. GEP-1742. */
  | { readonly kind: 'timeout'; readonly limit: 'request' | 'backendRequest'; readonly timeoutMs: number }
  /** The client left; there is nobody to tell. */
  | { readonly kind: 'downstream-gone' }
  /** We ended the connection below it: a stop waits no longer, or a connection to the edge is given up. */
  | { readonly kind: 'cut-off' }

/** Carries a {@link ProxyError} through promises. */
export class ProxyFailure extends Error {
  readonly error: ProxyError
  constructor(error: ProxyError) {
    super(describeError(error))
    this.name = 'ProxyFailure'
    this.error = error
  }
}

/** One line for a log. Holds no bytes of the client's that were not checked. */
export function describeError(error: ProxyError): string {
  switch (error.kind) {
    case 'bad-request':
      return `bad request: ${error.reason}`
    case 'misdirected':
      return 'misdirected request'
    case 'no-config':
      return 'no config applied yet'
    case 'no-route':
      return 'no matching route'
    case 'unservable':
      return error.reason
    case 'filter-failed':
      return `filter failed: ${error.reason}`
    case 'loop':
      return 'request loop'
    case 'upstream':
      return `upstream ${error.phase}: ${error.reason}`
    case 'timeout':
      return `${error.limit} timeout after ${error.timeoutMs} ms`
    case 'downstream-gone':
      return 'client left'
    case 'cut-off':
      return 'cut off by us'
  }
}

/** The error inside what was thrown; anything but a {@link ProxyFailure} counts as a failing filter or handler. */
export function errorOf(thrown: unknown): ProxyError {
  if (thrown instanceof ProxyFailure) return thrown.error
  return { kind: 'filter-failed', reason: thrown instanceof Error ? thrown.message : String(thrown) }
}
