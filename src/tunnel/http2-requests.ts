/**
 * What the edge asks over HTTP/2, and who answers: requests and WebSockets go to our handler, the control stream and
 * configuration pushes to the connector, private network traffic to nobody.
 *
 * @see cloudflared, connection/http2.go (ServeHTTP)
 */
import { describeError, errorOf, ProxyFailure } from '../errors.ts'
import { type Body, bodyOfText } from '../http/body.ts'
import { BodyHolder } from '../http/holder.ts'
import { asEngineRequest, EngineRequest, engineRequest } from '../http/request.ts'
import { asEngineResponse, discard } from '../http/response.ts'
import { joinBodies } from '../http/upgrade.ts'
import { closableWebSocket, type ClosableWebSocket, goingAway } from '../http/websocket.ts'
import { type Exchange, type Handler } from '../runtime.ts'
import { type Log } from '../telemetry.ts'
import { EdgeExchange } from './edge-exchange.ts'
import { type ControlStream } from './edge-link.ts'
import { answerToEdge, connectorFailure, plainAnswer, switchToEdge } from './http2-answer.ts'
import { createControlStream } from './http2-control.ts'
import { formatConfigurationAnswer, parseConfigurationPush, type RemoteConfiguration } from './remote-configuration.ts'
import { ownFieldsOf } from './own-fields.ts'
import { classifyRequest } from './request-class.ts'
import { countRequest, type RequestCounts } from './request-counts.ts'
import { eyeballScheme } from './request-scheme.ts'

export interface EdgeRequestsOptions {
  readonly connIndex: number
  /** Answers eyeballs. */
  readonly handler: Handler
  readonly configuration: RemoteConfiguration
  readonly counts: RequestCounts
  readonly log: Log
  readonly onControl: (stream: ControlStream) => void
  /** Called when the last request in flight is over. */
  readonly onIdle: () => void
}

export interface EdgeRequests {
  readonly handler: Handler
  /** Requests in flight. */
  readonly active: number
  /** Says Close to every WebSocket: none would end by itself. */
  closeSessions(): void
}

/** A configuration is text that somebody typed; the reference client sets no limit. */
const maxPushBytes = 4 * 1024 * 1024

export function createEdgeRequests(options: EdgeRequestsOptions): EdgeRequests {
  const { connIndex, configuration, counts, log } = options
  const sessions = new Set<ClosableWebSocket>()
  let active = 0
  let controlled = false

  function serve(
    received: EngineRequest,
    carrier: Exchange,
    own: readonly string[],
    isWebSocket: boolean,
  ): Response | Promise<Response> {
    const exchange = new EdgeExchange(carrier, eyeballScheme(received.head), isWebSocket ? 'websocket' : undefined)
    active++
    const over = countRequest(counts, connIndex, active)
    exchange.onFinish((outcome) => {
      active--
      over(outcome)
      if (active === 0) options.onIdle()
    })
    // The handshake has no body; what the eyeball sends behind it is for the switched connection.
    const session = isWebSocket ? received.holder.take() : undefined
    const request = requestOf(received, exchange, own, isWebSocket)
    const answered = (response: Response): Response => {
      try {
        return answer(response, request.method, exchange, session)
      } catch (thrown) {
        discard(response)
        return failed(thrown)
      }
    }
    let response: Response | Promise<Response>
    try {
      response = options.handler(request as unknown as Request, exchange)
    } catch (thrown) {
      return failed(thrown)
    }
    return response instanceof Promise ? response.then(answered, failed) : answered(response)
  }

  function answer(response: Response, method: string, exchange: EdgeExchange, session: Body | undefined): Response {
    if (response.status !== 101) {
      session?.cancel()
      return answerToEdge(response, method)
    }
    const own = asEngineResponse(response)
    if (session === undefined || own.upgrade === undefined) {
      own.upgrade?.outgoing.fail({ kind: 'downstream-gone' })
      session?.cancel()
      throw new ProxyFailure({ kind: 'upstream', phase: 'head', cause: 'malformed', reason: 'unexpected 101' })
    }
    exchange.switched = true
    const webSocket = closableWebSocket(own.upgrade)
    sessions.add(webSocket)
    exchange.onFinish(() => sessions.delete(webSocket))
    return switchToEdge(own, joinBodies(session, webSocket.stream))
  }

  /** Not the routes' answer: our proxy answers its own failures itself, so this is a handler that threw. */
  function failed(thrown: unknown): Response {
    const error = errorOf(thrown)
    // Nobody is there any more: the transport ends the stream.
    if (error.kind === 'downstream-gone') throw new ProxyFailure(error)
    counts.errors++
    log.error('request failed', { error: describeError(error) })
    return connectorFailure()
  }

  function control(received: EngineRequest): Response {
    if (controlled) return connectorFailure()
    controlled = true
    const { stream, answer: body } = createControlStream(received.holder.take())
    // Once the answer has a reader, so that our first message follows its head.
    queueMicrotask(() => options.onControl(stream))
    return plainAnswer(200, [], body)
  }

  async function configure(received: EngineRequest): Promise<Response> {
    try {
      const push = parseConfigurationPush(await readText(received.holder.take(), maxPushBytes))
      const body = bodyOfText(formatConfigurationAnswer(configuration.update(push)))
      return plainAnswer(200, [['content-type', 'application/json']], body)
    } catch (thrown) {
      log.warn('configuration push not understood', {
        error: thrown instanceof Error ? thrown.message : String(thrown),
      })
      return connectorFailure()
    }
  }

  return {
    get active() {
      return active
    },
    closeSessions() {
      for (const session of sessions) session.close(goingAway)
    },
    handler(request, exchange) {
      const received = engineRequest(asEngineRequest(request))!
      const own = ownFieldsOf(received.head)
      switch (own.length === 0 ? 'http' : classifyRequest((name) => received.head.get(name))) {
        case 'http':
          return serve(received, exchange!, own, false)
        case 'websocket':
          return serve(received, exchange!, own, true)
        case 'control':
          return control(received)
        case 'configuration':
          return configure(received)
        case 'tcp':
          received.holder.take()?.cancel()
          return connectorFailure()
      }
    },
  }
}

/** The request as the eyeball sent it, without what the edge and the connector tell each other. */
function requestOf(
  received: EngineRequest,
  exchange: EdgeExchange,
  removed: readonly string[],
  isWebSocket: boolean,
): EngineRequest {
  const { head } = received
  const edited =
    removed.length === 0 && !isWebSocket
      ? head
      : head.edit({
          removed: isWebSocket ? [...removed, 'sec-websocket-version'] : removed,
          added: isWebSocket ? [['Sec-WebSocket-Version', '13']] : [],
        })
  const holder = isWebSocket ? new BodyHolder(undefined) : received.holder
  const { method, target, authority } = received
  return new EngineRequest(method, target, authority, exchange.scheme, edited, holder, exchange)
}

function readText(body: Body | undefined, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const decoder = new TextDecoder()
    let text = ''
    let size = 0
    if (body === undefined) {
      resolve('')
      return
    }
    body.start({
      data(bytes, start, end) {
        size += end - start
        if (size > maxBytes) {
          body.cancel()
          reject(new Error(`more than ${maxBytes} bytes`))
          return true
        }
        text += decoder.decode(bytes.subarray(start, end), { stream: true })
        return true
      },
      end: () => resolve(text + decoder.decode()),
      fail: (error) => reject(new ProxyFailure(error)),
    })
  })
}
