/** The only place where an error becomes a status. */
import { describeError, type ProxyError } from '../errors.ts'
import { createResponse } from '../http/response.ts'
import { grpcStatusOf, isGrpc } from './grpc.ts'

/** 508 is of RFC 5842; the rest of RFC 9110 section 15. */
export function statusOf(error: ProxyError): number {
  switch (error.kind) {
    case 'bad-request':
      return error.status
    case 'misdirected':
      return 421
    case 'no-config':
      return 503
    case 'no-route':
      return 404
    case 'unservable':
      return error.status
    case 'filter-failed':
      return 500
    case 'loop':
      return 508
    case 'upstream':
      if (unanswered(error)) return 504
      return error.phase === 'tls' || error.cause === 'malformed' || error.phase === 'body' ? 502 : 503
    case 'timeout':
      return 504
    case 'downstream-gone':
      return 499
    case 'cut-off':
      return 503
  }
}

/**
 * Answers for what went wrong: a line of text, or what a gRPC client understands.
 *
 * @param request the one that is answered; tells gRPC from the rest
 */
export function toResponse(error: ProxyError, request?: Request): Response {
  if (request && isGrpc(request)) {
    // Trailers-Only: gRPC over HTTP/2 (PROTOCOL-HTTP2.md), "Responses".
    return createResponse(200, [
      ['content-type', 'application/grpc'],
      ['grpc-status', String(grpcStatusOf(error))],
      ['grpc-message', publicText(error)],
    ])
  }
  const fields: [string, string][] = [
    ['content-type', 'text/plain; charset=utf-8'],
    ['x-content-type-options', 'nosniff'],
  ]
  if (error.kind === 'no-config') fields.push(['retry-after', '1'])
  if (error.kind === 'bad-request' && error.status === 405)
    fields.push(['allow', 'GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE'])
  return createResponse(statusOf(error), fields, `${publicText(error)}\n`)
}

/** What strangers may know: nothing of addresses, certificates or handlers. */
function publicText(error: ProxyError): string {
  switch (error.kind) {
    case 'bad-request':
      return error.reason
    case 'upstream':
      if (unanswered(error)) return 'gateway timeout'
      return error.cause === 'malformed' && (error.phase === 'head' || error.phase === 'body')
        ? 'invalid answer from the backend'
        : 'backend unavailable'
    case 'filter-failed':
      return 'internal error'
    case 'timeout':
      return 'gateway timeout'
    default:
      return describeError(error)
  }
}

/** Connected to, sent to, and silent. */
function unanswered(error: Extract<ProxyError, { kind: 'upstream' }>): boolean {
  return error.phase === 'head' && error.cause === 'timeout'
}
