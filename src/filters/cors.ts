/**
 * Cross-origin resource sharing, decided by the gateway alone: it answers preflights, and replaces whatever a backend
 * says about it.
 *
 * The gateway tells; the browser enforces. Requests are not refused by origin, method or header, nor are the fields
 * withheld from a request that carries credentials: a browser sends those only where it will insist on
 * `Access-Control-Allow-Credentials` anyway, while a script's own `Authorization` is no credential in Fetch's sense.
 *
 * @see Gateway API HTTPCORSFilter, GEP-1767; Fetch standard, "HTTP extensions"
 */
import type { Cors } from '../config/proxy-config.ts'
import type { HeaderEdits } from '../http/edits.ts'
import { forEachMember, isFieldValue, isToken } from '../http/fields.ts'
import { createResponse, withResponseHeaders } from '../http/response.ts'
import { fieldValue, fieldValues } from '../http/values.ts'
import type { Field } from '../runtime.ts'
import { compileOrigins } from './cors-origins.ts'
import type { Filter, RouteContext } from './shape.ts'

/** Gateway API HTTPCORSFilter.maxAge */
const defaultMaxAgeSeconds = 5

/** Everything a backend might say in our place. */
const corsFields: readonly string[] = [
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-allow-headers',
  'access-control-allow-methods',
  'access-control-expose-headers',
  'access-control-max-age',
]
const silence: HeaderEdits = { removed: corsFields, added: [] }

export function cors(config: Cors): Filter {
  const { maxAge = defaultMaxAgeSeconds } = config
  const credentials = config.allowCredentials === true
  const isAllowed = compileOrigins(config.allowOrigins ?? [])
  const anyOrigin = !credentials && (config.allowOrigins ?? []).includes('*')
  const methods = listing(config.allowMethods ?? [], credentials)
  const headers = listing(config.allowHeaders ?? [], credentials)
  const exposed = exposedFields(config.exposeHeaders ?? [], credentials)

  /** What every answer to an allowed origin says; undefined for other origins and requests without one. */
  function grant(request: Request): Field[] | undefined {
    const origin = originOf(request)
    if (origin === undefined || !isAllowed(origin)) return undefined
    const fields: Field[] = [['Access-Control-Allow-Origin', anyOrigin ? '*' : origin]]
    if (credentials) fields.push(['Access-Control-Allow-Credentials', 'true'])
    if (exposed !== undefined) fields.push(['Access-Control-Expose-Headers', exposed])
    return fields
  }

  function preflight(received: Request): Response | undefined {
    if (!isPreflight(received)) return undefined
    const fields = grant(received) ?? []
    if (fields.length > 0) {
      const allowedMethods = methods(requested(received, 'access-control-request-method', isToken))
      if (allowedMethods !== undefined) fields.push(['Access-Control-Allow-Methods', allowedMethods])
      const allowedHeaders = headers(requested(received, 'access-control-request-headers', isTokenList))
      if (allowedHeaders !== undefined) fields.push(['Access-Control-Allow-Headers', allowedHeaders])
      fields.push(['Access-Control-Max-Age', String(maxAge)])
    }
    fields.push(['Vary', 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers'])
    return createResponse(204, fields)
  }

  function actual(response: Response, { received }: RouteContext): Response {
    const added = grant(received) ?? []
    // Without this a cache would give one origin's answer, or that to no origin at all, to another origin.
    if (!variesByOrigin(response)) added.push(['Vary', 'Origin'])
    return withResponseHeaders(response, added.length === 0 ? silence : { removed: corsFields, added })
  }

  return {
    intercept: preflight,
    response: actual,
    // A page cannot follow a redirect, nor tell a 503 from a dead network, unless these say it may look.
    ownAnswer: (response, context) => (isPreflight(context.received) ? response : actual(response, context)),
  }
}

/** Fetch standard, "CORS-preflight request". */
function isPreflight(request: Request): boolean {
  return (
    request.method === 'OPTIONS' &&
    originOf(request) !== undefined &&
    (fieldValue(request, 'access-control-request-method') ?? '') !== ''
  )
}

/** The one visible word that an Origin is; undefined when there is none, or something else. */
function originOf(request: Request): string | undefined {
  const origin = fieldValue(request, 'origin')
  return origin !== null && /^[!-+\--~]+$/.test(origin) && origin !== '*' ? origin : undefined
}

/**
 * The value of Allow-Methods or Allow-Headers: the configured list; for `*` whatever was asked for, since a browser takes
 * `*` literally where there are credentials, and never takes it for `Authorization`.
 */
function listing(
  configured: readonly string[],
  credentials: boolean,
): (requested: string | undefined) => string | undefined {
  if (configured.includes('*')) return (requested) => requested ?? (credentials ? undefined : '*')
  const list = configured.length === 0 ? undefined : configured.join(', ')
  return () => list
}

function exposedFields(configured: readonly string[], credentials: boolean): string | undefined {
  if (configured.includes('*') && !credentials) return '*'
  const named = configured.filter((name) => name !== '*')
  return named.length === 0 ? undefined : named.join(', ')
}

/** What a preflight asks for, when that may be repeated in an answer. */
function requested(request: Request, name: string, isValid: (value: string) => boolean): string | undefined {
  const value = fieldValue(request, name)
  return value !== null && isValid(value) ? value : undefined
}

function isTokenList(value: string): boolean {
  let valid = isFieldValue(value)
  let count = 0
  forEachMember(value, (member) => {
    count++
    valid &&= isToken(member)
  })
  return valid && count > 0
}

function variesByOrigin(response: Response): boolean {
  let found = false
  for (const value of fieldValues(response, 'vary')) {
    forEachMember(value, (member) => {
      if (member === 'origin' || member === '*') found = true
    })
  }
  return found
}
