import { printable } from './printable.ts'
import { type RpcException } from './rpc-messages.ts'

/** Why a call got no results, or why an RPC connection ended. */
export type RpcFailure =
  /** The other end's method, or its bootstrap, answered with an exception. */
  | { readonly kind: 'exception'; readonly exception: RpcException }
  /** The other end aborted the connection. */
  | { readonly kind: 'aborted'; readonly reason: string }
  /** The stream ended or broke. */
  | { readonly kind: 'lost'; readonly reason: string }
  /** The other end broke the protocol, and we ended the connection. */
  | { readonly kind: 'protocol'; readonly reason: string }
  | { readonly kind: 'timeout'; readonly timeoutMs: number }
  /** Too many calls wait for an answer. */
  | { readonly kind: 'busy' }
  /** We closed the connection ourselves. */
  | { readonly kind: 'closed' }

/** Carries an {@link RpcFailure} through promises; a method may throw one of kind `exception` to choose its answer. */
export class RpcError extends Error {
  override readonly name = 'RpcError'
  readonly failure: RpcFailure
  constructor(failure: RpcFailure) {
    super(describeRpcFailure(failure))
    this.failure = failure
  }
}

export function describeRpcFailure(failure: RpcFailure): string {
  switch (failure.kind) {
    case 'exception':
      return `the peer answered with an exception (${failure.exception.type}): ${printable(failure.exception.reason)}`
    case 'aborted':
      return `the peer aborted: ${printable(failure.reason)}`
    case 'lost':
      return `the stream is gone: ${failure.reason}`
    case 'protocol':
      return `the peer broke the protocol: ${failure.reason}`
    case 'timeout':
      return `no answer within ${failure.timeoutMs} ms`
    case 'busy':
      return 'too many calls wait for an answer'
    case 'closed':
      return 'the connection was closed'
  }
}
