/**
 * The operator's door: `/config`, `/healthz`, `/readyz`, `/ready` and `/metrics`.
 *
 * Compatible with what the predecessor's controller expects of `PUT /config` and `GET /config`: the statuses, the order
 * of the checks (credentials, content type, body, version) and the first words of each answer.
 */
import { Hono, type Context } from 'hono'
import type { ConfigIssue } from '../config/issues.ts'
import { genuineRequest } from '../http/request.ts'
import type { Handler } from '../runtime.ts'
import type { Log } from '../telemetry.ts'
import { createAccess, type AccessOptions, type Denial } from './access.ts'
import { parseBody, readBody } from './body.ts'
import type { AdminControl, RenderedMetrics } from './control.ts'

export interface AdminOptions extends AccessOptions {
  readonly control: AdminControl
  readonly bodyLimitBytes: number
  /** Absent: `/metrics` is 404. */
  readonly metrics?: (() => Promise<RenderedMetrics>) | undefined
  readonly log: Log
}

const methodsOf: Readonly<Record<string, string>> = {
  '/config': 'GET, HEAD, PUT',
  '/healthz': 'GET, HEAD',
  '/readyz': 'GET, HEAD',
  '/ready': 'GET, HEAD',
  '/metrics': 'GET, HEAD',
}

export function createAdmin(options: AdminOptions): Handler {
  const { control, metrics, log } = options
  const access = createAccess(options)
  const app = new Hono()

  app.use(async (context, next) => {
    const denial = access.admit(context.req.raw)
    if (denial) return deny(denial)
    await next()
    context.res.headers.set('cache-control', 'no-store')
    context.res.headers.set('x-content-type-options', 'nosniff')
    return undefined
  })

  app.get('/healthz', () => plain(200, ''))

  app.get('/readyz', async (context) => {
    const { ready, reason = '' } = control.readiness()
    const status = ready ? 200 : 503
    if (!asks(context, 'verbose')) return plain(status, ready ? '' : `not ready: ${reason}`)
    const denial = await access.authorize(context.req.raw)
    if (denial) return deny(denial)
    return json(status, { ready, ...(ready ? {} : { reason }), ...control.describe() })
  })

  // Byte for byte what the reference client answers, for probes and scripts that ask it (cloudflared: metrics/readiness.go).
  app.get('/ready', () => {
    if (!control.connector) return plain(404, 'there is no tunnel; /readyz says whether requests are served')
    const { readyConnections, connectorId } = control.connector()
    const status = readyConnections > 0 ? 200 : 503
    const text = JSON.stringify({ status, readyConnections, connectorId })
    return new Response(text, { status, headers: { 'content-type': 'application/json' } })
  })

  app.get('/config', async (context) => {
    const denial = await access.authorize(context.req.raw)
    if (denial) return deny(denial)
    const state = { version: control.version(), ready: control.readiness().ready }
    return json(200, asks(context, 'full') ? { ...state, config: control.config() ?? null } : state)
  })

  app.put('/config', (context) => putConfig(context))

  app.get('/metrics', async () => {
    if (!metrics) return plain(404, 'metrics are switched off')
    const { contentType, text } = await metrics()
    return new Response(text, { headers: { 'content-type': contentType } })
  })

  app.notFound((context) => {
    const allow = methodsOf[context.req.path]
    return allow === undefined ? plain(404, 'not found') : plain(405, 'method not allowed', { allow })
  })

  app.onError((error) => {
    log.error('admin request failed', { error: error.message })
    return plain(500, 'internal server error')
  })

  async function putConfig(context: Context): Promise<Response> {
    const request = context.req.raw
    const denial = await access.authorize(request)
    if (denial) return deny(denial)
    const encoding = request.headers.get('content-encoding')
    if (
      !/^application\/json/i.test(request.headers.get('content-type') ?? '') ||
      (encoding && encoding !== 'identity')
    ) {
      return plain(415, 'unsupported content type: send application/json, without a content coding')
    }
    if (control.refusesPushes !== undefined) return plain(409, control.refusesPushes)
    const force = context.req.queries('force') ?? []
    if (force.some((value) => value !== 'true')) {
      return plain(400, 'force can only be "true": PUT /config?force=true, or PUT /config')
    }
    const bytes = await readBody(request, options.bodyLimitBytes)
    if (bytes === undefined) {
      return plain(
        413,
        `config body exceeds maximum size of ${options.bodyLimitBytes} bytes; --admin-body-limit raises it`,
      )
    }
    const parsed = parseBody(bytes)
    if (parsed.fault !== undefined) return plain(400, `invalid JSON: ${parsed.fault}`)
    const outcome = await control.push(parsed.value, force.length > 0)
    switch (outcome.kind) {
      case 'applied':
        return json(200, { version: outcome.version, diagnostics: outcome.diagnostics })
      case 'invalid':
        return plain(400, ['invalid config', ...outcome.issues.map(formatIssue)].join('\n'))
      case 'stale':
        return plain(
          409,
          `stale config version: ${outcome.version} is older than ${outcome.current}; PUT /config?force=true applies it nevertheless`,
        )
      case 'not-accepted':
        return plain(409, outcome.reason)
    }
  }

  return async (request) => {
    // Fetch has no TRACE, and the engine refuses CONNECT.
    if (request.method === 'TRACE') return plain(405, 'method not allowed', { allow: 'GET, HEAD' })
    return app.fetch(genuineRequest(request))
  }
}

/** `?name`, `?name=true`, `?name=1`; not `?name=false`. */
function asks(context: Context, name: string): boolean {
  const value = context.req.query(name)
  return value !== undefined && value !== 'false' && value !== '0'
}

/** One line: where, what, and how to put it right. */
export function formatIssue({ path, message, fix }: ConfigIssue): string {
  return `${path === '' ? 'config' : path}: ${message}${fix === undefined ? '' : `; ${fix}`}`
}

function deny({ status, reason }: Denial): Response {
  return plain(status, reason, status === 401 ? { 'www-authenticate': 'Bearer' } : {})
}

function plain(status: number, text: string, headers: Record<string, string> = {}): Response {
  return new Response(text === '' ? null : `${text}\n`, {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8', ...headers },
  })
}

function json(status: number, value: unknown): Response {
  return new Response(`${JSON.stringify(value, undefined, 2)}\n`, {
    status,
    headers: { 'content-type': 'application/json' },
  })
}
