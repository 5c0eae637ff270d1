import type { Filter as FilterConfig } from '../../src/config/proxy-config.ts'
import { compileFilters, type CompiledFilters, type MirrorTarget, type RouteContext } from '../../src/filters/filter.ts'
import { targetOf, withHeaders } from '../../src/http/request.ts'
import { withResponseHeaders } from '../../src/http/response.ts'

export function compiled(...configs: readonly FilterConfig[]): CompiledFilters {
  const filters = compileFilters(configs)
  if ('failed' in filters) throw new Error(filters.failed)
  return filters
}

export interface TestContext extends RouteContext {
  readonly mirrored: { readonly request: Request; readonly target: MirrorTarget }[]
}

export function contextOf(received: Request, change: Partial<RouteContext> = {}): TestContext {
  const mirrored: TestContext['mirrored'] = []
  return {
    exchange: undefined,
    received,
    target: targetOf(received),
    pathPrefix: '',
    listener: undefined,
    clientScheme: 'http',
    random: () => 0,
    mirror: (request, target) => void mirrored.push({ request, target }),
    mirrored,
    ...change,
  }
}

/** As a proxy does it: edits if that is all there is, otherwise the function. */
export async function filterRequest(
  filters: CompiledFilters,
  request: Request,
  context: RouteContext = contextOf(request),
): Promise<Request | Response> {
  if (filters.requestEdits) return withHeaders(request, filters.requestEdits)
  return filters.request ? await filters.request(request, context) : request
}

export async function filterResponse(
  filters: CompiledFilters,
  response: Response,
  context: RouteContext,
): Promise<Response> {
  if (filters.responseEdits) return withResponseHeaders(response, filters.responseEdits)
  return filters.response ? await filters.response(response, context) : response
}

export async function forwarded(filters: CompiledFilters, request: Request, context?: RouteContext): Promise<Request> {
  const result = await filterRequest(filters, request, context)
  if (result instanceof Response) throw new Error(`answered ${result.status} instead of forwarding`)
  return result
}

export async function answered(filters: CompiledFilters, request: Request, context?: RouteContext): Promise<Response> {
  const result = await filterRequest(filters, request, context)
  if (!(result instanceof Response)) throw new Error('forwarded instead of answering')
  return result
}
