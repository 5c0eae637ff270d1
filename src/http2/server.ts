/**
 * The server end of HTTP/2 (RFC 9113) on any {@link Socket}, whoever dialled it: a listener's, or an edge connection
 * that we opened ourselves.
 *
 * A handler gets a lazily read Request and its {@link Exchange} for each stream, and answers with any Response, at once
 * or later.
 */
import { errorOf, ProxyFailure, type ProxyError } from '../errors.ts'
import type { Body } from '../http/body.ts'
import { hopByHopKinds, kind, type Head } from '../http/head.ts'
import { BodyHolder } from '../http/holder.ts'
import { EngineRequest } from '../http/request.ts'
import { asEngineResponse, createResponse, responseOf, discard, type EngineResponse } from '../http/response.ts'
import { trailersOfRequest } from '../http/trailers.ts'
import { joinBodies } from '../http/upgrade.ts'
import type { Address, Handler, Socket, SocketEvents } from '../runtime.ts'
import { StreamExchange, type ExchangeOptions } from './exchange.ts'
import type { FieldBlock } from './field-block.ts'
import { errorCode } from './frames.ts'
import { checkLimits, type Http2Limits } from './limits.ts'
import { bad, requestOf, type RequestHead } from './message.ts'
import { Session, type SessionUser } from './session.ts'
import type { Stream, StreamUser } from './stream.ts'
import { createHandshake, handshakeOnly, type WebSocketHandshake } from './websocket.ts'

export interface Http2ServerOptions extends ExchangeOptions {
  readonly handler: Handler
  readonly limits: Http2Limits
  /** Lets clients open WebSockets (RFC 8441). A handler sees them as over HTTP/1.1, and answers 101. Default false. */
  readonly webSockets?: boolean
  /** The runtime's: what one turn of the event loop produces goes out in one write. */
  readonly afterTurn: (f: () => void) => void
  /** Answers a request that the engine itself must refuse, when no handler has seen it. Defaults to a line of text. */
  readonly refuse?: (error: ProxyError) => Response
  /** Told of each refused message, each handler that threw, and each peer that broke the protocol. */
  readonly onError?: (error: ProxyError, peer: Address) => void
  /** Told of each connection that is closed because its peer asked too much of us; `onError` was told too. */
  readonly onFlood?: (reason: string, peer: Address) => void
  /** Told once of each client that opens no more streams (GOAWAY); those that run are finished. */
  readonly onGoAway?: () => void
  /** Told of each client that is given up because it gives no sign of life. */
  readonly onSilent?: () => void
}

export interface Http2Server {
  /** The socket's bytes begin with the client's preface. */
  accept(socket: Socket): SocketEvents
  readonly connections: ReadonlySet<{ destroy(): void }>
  /** Tells every client to go elsewhere (GOAWAY), and closes each connection when its last exchange is over. */
  drain(): void
  /** Ends every connection at once; what was in flight ends as `cut-off`. */
  destroy(): void
}

/** @throws RangeError for limits that can't be kept */
export function createHttp2Server(options: Http2ServerOptions): Http2Server {
  checkLimits(options.limits)
  const connections = new Set<ServerConnection>()
  const shared: Shared = { draining: false, connections, dateSecond: 0, dateLine: '' }
  return {
    connections,
    accept(socket) {
      const connection = new ServerConnection(socket, options, shared)
      connections.add(connection)
      if (shared.draining) connection.session.drainStreams()
      return connection.session
    },
    drain() {
      shared.draining = true
      for (const connection of connections) connection.session.drainStreams()
    },
    destroy() {
      for (const connection of connections) connection.cutOff()
    },
  }
}

interface Shared {
  draining: boolean
  readonly connections: Set<ServerConnection>
  dateSecond: number
  dateLine: string
}

const gone: ProxyError = { kind: 'downstream-gone' }

class ServerConnection implements SessionUser {
  readonly session: Session
  readonly socket: Socket
  readonly options: Http2ServerOptions
  /** Exchanges whose stream is open or whose handler has not answered. */
  running = 0
  /** How exchanges end with the connection. */
  private ending: ProxyError = gone
  private readonly shared: Shared

  constructor(socket: Socket, options: Http2ServerOptions, shared: Shared) {
    this.socket = socket
    this.options = options
    this.shared = shared
    const { timers, limits, afterTurn } = options
    this.session = new Session(
      { socket, side: 'server', timers, limits, afterTurn, extendedConnect: options.webSockets },
      this,
    )
  }

  opened(stream: Stream): boolean {
    // Handlers of streams that were reset count until they have noticed, or resets would be a way around the limit.
    if (this.running >= this.options.limits.maxConcurrentStreams) return false
    this.running++
    stream.user = new ServerStream(this, stream)
    return true
  }

  errorOf(): ProxyError {
    return this.ending
  }

  ready(): void {}
  idle(): void {}

  silent(): void {
    this.options.onSilent?.()
  }

  leaving(): void {
    // Where it is not usable any more, it is we who leave.
    if (this.session.usable) this.options.onGoAway?.()
  }

  fault(reason: string): void {
    this.options.onError?.(bad(400, reason), this.socket.remote)
  }

  flooded(reason: string): void {
    this.options.onFlood?.(reason, this.socket.remote)
  }

  over(): void {
    this.shared.connections.delete(this)
  }

  /** Nobody waits for it any more. */
  cutOff(): void {
    this.ending = { kind: 'cut-off' }
    this.destroy()
  }

  destroy(): void {
    this.session.destroy()
  }

  refusal(error: ProxyError): Response {
    try {
      return (this.options.refuse ?? plainRefusal)(error)
    } catch {
      return plainRefusal(error)
    }
  }

  /** RFC 9110 section 6.6.1: whoever forwards a message without a Date adds one. */
  dateLine(): string {
    const { shared } = this
    const second = Math.floor(Date.now() / 1000)
    if (second !== shared.dateSecond) {
      shared.dateSecond = second
      shared.dateLine = `date: ${new Date(second * 1000).toUTCString()}\r\n`
    }
    return shared.dateLine
  }
}

class ServerStream implements StreamUser {
  private readonly connection: ServerConnection
  private readonly stream: Stream
  private exchange: StreamExchange | undefined
  private bodiless = false // the request is HEAD
  private handling = false // the handler has not answered
  private pendingStatus = 0
  private pendingText = ''
  private handshake: WebSocketHandshake | undefined
  /** What the client of a WebSocket sends. */
  private session: Body | undefined
  /** A call of gRPC: whoever has something to say says it, after a pause of hours if need be. */
  private conversation = false

  constructor(connection: ServerConnection, stream: Stream) {
    this.connection = connection
    this.stream = stream
  }

  head(block: FieldBlock, ended: boolean): void {
    const { connection, stream } = this
    const request = requestOf(block, connection.options.limits, connection.options.webSockets ?? false)
    if (typeof request === 'string') {
      connection.session.streamFault(stream, errorCode.protocol, request)
      return
    }
    if ('kind' in request) {
      connection.options.onError?.(request, connection.socket.remote)
      stream.receiveHead(undefined, ended)
      this.write(asEngineResponse(connection.refusal(request)), false)
      return
    }
    if (ended && request.length) {
      connection.session.streamFault(stream, errorCode.protocol, 'content-length without a body')
      return
    }
    this.begin(request, ended)
  }

  private begin(request: RequestHead, ended: boolean): void {
    const { connection, stream } = this
    const { options } = connection
    const received = stream.receiveHead(request.length, ended)
    let { method, head } = request
    let body: Body | undefined = received
    if (request.isWebSocket) {
      this.handshake = createHandshake(head)
      this.session = received
      // What the client sends behind its handshake is for the switched connection.
      method = 'GET'
      head = this.handshake.head
      body = undefined
    }
    this.conversation = body !== undefined && request.length === undefined && isGrpc(head)
    const exchange = new StreamExchange(
      connection.socket,
      options,
      request.awaitsContinue && body !== undefined,
      request.isWebSocket ? 'websocket' : undefined,
      (status, text) => connection.session.writeResponseHead(stream.id, status, text, false),
    )
    this.exchange = exchange
    this.bodiless = method === 'HEAD'
    const made = new EngineRequest(
      method,
      request.target,
      request.authority,
      options.scheme,
      head,
      new BodyHolder(body),
      exchange,
    ) as unknown as Request
    this.handling = true
    let answer: Response | Promise<Response>
    try {
      answer = options.handler(made, exchange)
    } catch (thrown) {
      this.handlerFailed(thrown)
      return
    }
    if (answer instanceof Promise) {
      answer.then(
        (response) => this.respond(response),
        (thrown: unknown) => this.handlerFailed(thrown),
      )
    } else this.respond(answer)
  }

  private handled(): void {
    if (!this.handling) return
    this.handling = false
    if (this.stream.closed) this.connection.running--
  }

  private respond(answer: Response): void {
    this.handled()
    const { exchange, stream } = this
    if (stream.closed || exchange?.answered) {
      discard(answer)
      return
    }
    let response: EngineResponse
    try {
      response = asEngineResponse(answer)
      if (this.handshake && isSuccess(response.status)) {
        void this.switchProtocols(response, this.handshake)
        return
      }
      if (response.status < 200) {
        throw new TypeError(`${response.status} is no final status`)
      }
    } catch (thrown) {
      discard(answer)
      this.handlerFailed(thrown)
      return
    }
    this.write(response, this.bodiless)
  }

  /** RFC 8441 section 5: what is 101 over HTTP/1.1 is 200 here, so that nothing else may be. */
  private async switchProtocols(response: EngineResponse, handshake: WebSocketHandshake): Promise<void> {
    const { upgrade, head } = response
    const accepted = response.status === 101 && upgrade !== undefined && (await handshake.accepts(head))
    const { exchange, stream, session } = this
    if (!accepted || session === undefined || stream.closed || exchange?.answered) {
      discard(response as unknown as Response)
      const reason = 'no WebSocket handshake'
      this.handlerFailed(new ProxyFailure({ kind: 'upstream', phase: 'head', cause: 'malformed', reason }))
      return
    }
    const fields = head.edit({ removed: handshakeOnly, added: [] })
    this.write(asEngineResponse(responseOf(200, '', fields, joinBodies(session, upgrade))), false, 101)
  }

  /** @param told the status that the exchange ends with */
  private write(response: EngineResponse, toHead: boolean, told = response.status): void {
    const { exchange, stream, connection } = this
    const { status, head } = response
    if (exchange) {
      exchange.answered = true
      exchange.status = told
    }
    // Whatever was watched for was the request's; the answer's own progress is watched from here on.
    stream.unwatch()
    if (told !== 101) this.session?.cancel()
    const body = response.holder.take()
    const bodiless = toHead || status === 204 || status === 304
    const length = body ? body.length : 0
    const declared = head.edited('content-length')
      ? head.get('content-length')
      : (head.received(kind.contentLength) ?? null)
    let dropped = hopByHopKinds
    let framing = ''
    if (bodiless && status !== 204) {
      // An answer to HEAD, and a 304, may say how long the body would have been. RFC 9110 section 8.6.
      if (declared === null ? length && status !== 304 : !/^\d{1,16}$/.test(declared)) {
        dropped |= kind.contentLength
        if (length) framing = `content-length: ${length}\r\n`
      }
    } else if (bodiless || length === undefined) dropped |= kind.contentLength
    else if (declared !== String(length)) {
      dropped |= kind.contentLength
      framing = `content-length: ${length}\r\n`
    }
    if ((head.kinds & kind.date) === 0 && !(head.edits && head.has('date'))) framing += connection.dateLine()
    this.pendingStatus = status
    this.pendingText = head.serialize(dropped) + framing
    if (bodiless) body?.cancel()
    stream.send(bodiless ? undefined : body)
  }

  acceptTrailers(received: Head): Head {
    return trailersOfRequest(received)
  }

  writeHead(ended: boolean): void {
    const text = this.pendingText
    this.pendingText = ''
    this.connection.session.writeResponseHead(this.stream.id, this.pendingStatus, text, ended)
  }

  private handlerFailed(thrown: unknown): void {
    this.handled()
    const { exchange, stream, connection } = this
    if (stream.closed || !exchange || exchange.answered) return
    const error = errorOf(thrown)
    if (error.kind === 'downstream-gone') {
      stream.reset(errorCode.cancel, error)
      return
    }
    connection.options.onError?.(error, connection.socket.remote)
    const again = exchange.error !== undefined // the answer to a failure failed
    exchange.error ??= error
    const refusal = again ? plainRefusal(error) : connection.refusal(error)
    this.write(asEngineResponse(refusal), this.bodiless)
  }

  received(): void {}

  sent(): void {
    this.finish(undefined)
    const { stream } = this
    // Nobody reads the rest of the request: the client may stop sending it. RFC 9113 section 8.1.
    if (!stream.remoteEnded) stream.abandon(errorCode.none)
  }

  broken(error: ProxyError, headPending: boolean): void {
    const { exchange, stream } = this
    if (exchange && headPending) {
      exchange.answered = false
      this.handlerFailed(new ProxyFailure(error))
      return
    }
    // Half a message must never look like a whole one.
    if (exchange) exchange.error ??= error
    stream.reset(errorCode.internal, error)
  }

  bodyWanted(): void {
    const { exchange } = this
    if (!exchange) return
    exchange.sendContinue()
    this.watchBody()
  }

  bodyCancelled(): void {
    this.stream.unwatch()
  }

  bodyProgressed(): void {
    this.watchBody()
  }

  /** A body that is due must keep coming. Once there is an answer, the answer's own progress counts. */
  private watchBody(): void {
    const { exchange, stream, connection } = this
    if (!exchange || exchange.answered || stream.remoteEnded || this.conversation) return
    if (stream.body?.wanted) stream.watch(connection.options.limits.bodyStallTimeoutMs)
    else stream.unwatch()
  }

  stalled(): void {
    const { exchange, stream } = this
    if (!exchange || exchange.answered) {
      stream.reset(errorCode.cancel, gone)
      return
    }
    const error = bad(408, 'request body not complete in time')
    stream.body?.fail(error)
    this.handlerFailed(new ProxyFailure(error))
    exchange.abort(error)
  }

  closed(error: ProxyError | undefined): void {
    if (!this.handling) this.connection.running--
    if (!error) return
    const { exchange } = this
    exchange?.abort(error.kind === 'cut-off' ? error : gone)
    this.finish(error)
  }

  private finish(error: ProxyError | undefined): void {
    const { exchange, stream } = this
    if (!exchange) return
    const why = exchange.error ?? error
    exchange.finish({
      status: exchange.answered ? exchange.status : 0,
      bytesReceived: stream.body?.received ?? 0,
      bytesSent: stream.sent,
      ...(why ? { error: why } : {}),
    })
  }
}

/** Calls have no length, and a type of their own. gRPC over HTTP/2, "Requests" */
function isGrpc(head: Head): boolean {
  return head.get('content-type')?.startsWith('application/grpc') ?? false
}

/** Of an answer to CONNECT: the tunnel is there. RFC 9110 section 9.3.6 */
function isSuccess(status: number): boolean {
  return status === 101 || (status >= 200 && status < 300)
}

function plainRefusal(error: ProxyError): Response {
  const status = error.kind === 'bad-request' ? error.status : error.kind === 'upstream' ? 502 : 500
  const reason = error.kind === 'bad-request' ? error.reason : status === 502 ? 'bad gateway' : 'internal server error'
  return createResponse(status, [['Content-Type', 'text/plain; charset=utf-8']], `${reason}\n`)
}
