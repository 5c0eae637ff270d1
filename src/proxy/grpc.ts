/** What is different about gRPC: how errors are told, and that it is HTTP/2 and nothing else. */
import type { Backend } from '../backends/backends.ts'
import type { ProxyError } from '../errors.ts'
import { engineRequest } from '../http/request.ts'

/**
 * `application/grpc`, with a suffix or parameters, but not `application/grpc-web`.
 *
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md (Requests)
 */
export function isGrpc(request: Request): boolean {
  const type = engineRequest(request)?.head.get('content-type') ?? request.headers.get('content-type')
  return type !== null && /^application\/grpc(?:$|[+;])/i.test(type)
}

/** Where a request goes: over TLS a backend is asked for HTTP/2 only by what cannot do without. */
export function backendFor(request: Request, backend: Backend): Backend {
  return backend.forGrpc !== undefined && isGrpc(request) ? backend.forGrpc : backend
}

/**
 * The status that a gRPC client is told: UNIMPLEMENTED without a rule, UNAVAILABLE without a backend, whatever the
 * HTTP status would have been.
 *
 * @see Gateway API GRPCRouteRule.matches and GRPCRouteRule.backendRefs
 * @see https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
 */
export function grpcStatusOf(error: ProxyError): number {
  switch (error.kind) {
    case 'no-route':
      return 12
    case 'timeout':
      return 4
    case 'bad-request':
    case 'filter-failed':
    case 'loop':
    case 'misdirected':
      return 13
    default:
      return 14
  }
}
