/** Where eyeballs come in: a hostname leads to a tunnel, a tunnel to its connections, and the least busy one serves. */
import { describeError, errorOf, type ProxyError } from '../../errors.ts'
import { headOf } from '../../http/head.ts'
import { asEngineRequest, engineRequest } from '../../http/request.ts'
import { createResponse, responseOf } from '../../http/response.ts'
import type { RawStream } from '../../http/upgrade.ts'
import type { Exchange, Field } from '../../runtime.ts'
import { type Log } from '../../telemetry.ts'
import { isSendableField } from '../response-headers.ts'
import { type ConnectorConnection } from './connection.ts'
import { createRay, passOn } from './eyeball.ts'
import { connectionOptions } from './hop-by-hop.ts'
import { type StreamAnswer } from './link.ts'
import { createPipe, type Pipe } from './pipe.ts'
import { type Tunnel, type Tunnels } from './tunnels.ts'

export interface FrontOptions {
  readonly tunnels: Tunnels
  /** All connections, in the order they came. */
  readonly connections: Iterable<ConnectorConnection>
  readonly location: string
  /** Returns a number in [0, 1). */
  readonly random: () => number
  readonly log: Log
}

/** For tests that want one connection in particular. */
export interface FetchOptions {
  readonly connection?: ConnectorConnection
}

export type EyeballFetch = (request: Request, exchange?: Exchange, options?: FetchOptions) => Promise<Response>

/** @see https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors/ */
const noConnectorStatus = 530

/** Connections that one request may be tried on, where the one before says that it did not act on it. */
const maxAttempts = 3

export function createFront(options: FrontOptions): EyeballFetch {
  const { tunnels, random, location, log } = options

  return async (request, exchange, { connection: wanted } = {}) => {
    const received = engineRequest(asEngineRequest(request))!
    const ray = createRay(random, location)
    const tunnel = tunnels.byHost(received.authority.replace(/:\d+$/, ''))
    if (!tunnel) return explain(noConnectorStatus, ray, 'no tunnel has this hostname')
    const isWebSocket =
      exchange?.upgrade?.toLowerCase() === 'websocket' && received.method === 'GET' && !received.holder.exists
    const facts = { scheme: exchange?.scheme ?? received.scheme, address: exchange?.peer.host ?? '127.0.0.1', ray }
    const repeatable = wanted === undefined && !received.holder.exists
    const tried = new Set<ConnectorConnection>()
    for (;;) {
      const connection = wanted ?? leastBusy(options.connections, tunnel, tried)
      if (!connection) return explain(noConnectorStatus, ray, 'error 1033: no connector serves this tunnel')
      tried.add(connection)
      log.debug('request passed on', { ray, path: received.target.split('?', 1)[0], connection: connection.id })
      const session = isWebSocket ? createPipe() : undefined
      try {
        const answer = await connection.send({
          kind: isWebSocket ? 'websocket' : 'http',
          request: passOn(received, facts, session?.body),
          onAbort: abortsOf(request, exchange),
        })
        return respond(answer, ray, session)
      } catch (thrown) {
        const error = errorOf(thrown)
        if (repeatable && tried.size < maxAttempts && isUnprocessed(error)) continue
        // It may have been given back, to be sent again.
        received.holder.take()?.cancel()
        if (error.kind !== 'downstream-gone') log.warn('request lost', { ray, error: describeError(error) })
        return explain(502, ray, 'the connection to the connector broke')
      }
    }
  }
}

function respond(answer: StreamAnswer, ray: string, session: Pipe | undefined): Response {
  if (answer.source === 'connector') {
    session?.body.cancel()
    return answer.rateLimited
      ? explain(429, ray, 'the connector has too many flows')
      : explain(502, ray, 'the connector failed')
  }
  const { status, body } = answer
  const hop = connectionOptions(answer.fields.find(([name]) => name.toLowerCase() === 'connection')?.[1] ?? null)
  const kept = answer.fields.filter(
    (field) => isSendableField(field) && (!hop.has(field[0].toLowerCase()) || isSwitchField(field, status)),
  )
  const head = headOf([...kept, ['CF-RAY', ray]])
  if (status !== 101) {
    session?.body.cancel()
    return responseOf(status, '', head, body)
  }
  const upgrade: RawStream = {
    incoming: body!,
    outgoing: session!.sink,
    onWritable: (listener) => session!.onWritable(listener),
  }
  return responseOf(101, '', head, undefined, upgrade)
}

function isSwitchField([name]: Field, status: number): boolean {
  return status === 101 && name.toLowerCase() === 'upgrade'
}

function leastBusy(
  connections: Iterable<ConnectorConnection>,
  tunnel: Tunnel,
  tried: ReadonlySet<ConnectorConnection>,
): ConnectorConnection | undefined {
  let best: ConnectorConnection | undefined
  for (const connection of connections) {
    const { inFlight, served, phase, frozen } = connection
    // A server of the edge's that hangs takes no eyeballs either.
    if (connection.tunnel !== tunnel || phase !== 'registered' || frozen || tried.has(connection)) continue
    if (!best || inFlight < best.inFlight || (inFlight === best.inFlight && served < best.served)) best = connection
  }
  return best
}

/** The connector says that it has not acted on the request, or never saw it. RFC 9113 section 8.7. */
function isUnprocessed(error: ProxyError): boolean {
  return error.kind === 'upstream' && error.unprocessed === true
}

function abortsOf(request: Request, exchange: Exchange | undefined): (listener: () => void) => void {
  if (exchange) return (listener) => exchange.onAbort(listener)
  const { signal } = request
  return (listener) => {
    if (signal.aborted) listener()
    else signal.addEventListener('abort', listener, { once: true })
  }
}

function explain(status: number, ray: string, text: string): Response {
  const fields: Field[] = [
    ['Content-Type', 'text/plain; charset=utf-8'],
    ['Cache-Control', 'no-store'],
    ['CF-RAY', ray],
  ]
  return createResponse(status, fields, `${text}\n`)
}
