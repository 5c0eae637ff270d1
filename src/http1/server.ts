/**
 * The server end of HTTP/1.1 (RFC 9112) on any {@link Socket}.
 *
 * One exchange at a time a connection; bytes of a pipelined request wait, unread, until the answer before it is out. A
 * handler gets a lazily read Request and its {@link Exchange}, and answers with any Response, at once or later.
 */
import { errorOf, ProxyFailure, type ProxyError } from '../errors.ts'
import { discardingSink } from '../http/body.ts'
import { checkField, kind } from '../http/head.ts'
import { BodyHolder } from '../http/holder.ts'
import { EngineRequest } from '../http/request.ts'
import { asEngineResponse, type EngineResponse } from '../http/response.ts'
import { joinRawStreams } from '../http/upgrade.ts'
import type {
  Address,
  Entrance,
  Exchange,
  Field,
  Handler,
  Outcome,
  Socket,
  SocketError,
  SocketEvents,
  TlsFacts,
} from '../runtime.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'
import { BodyWriter, type WriterOwner } from './body-writer.ts'
import { HeadReader } from './connection.ts'
import { IncomingBody, type BodyOwner } from './incoming-body.ts'
import type { Http1Limits } from './limits.ts'
import { bad, parseRequestHead, type RequestHead } from './parse.ts'
import { takeRawSocket } from './raw.ts'
import { reasonPhrase } from './reason.ts'

export interface Http1ServerOptions {
  readonly handler: Handler
  readonly timers: Timers
  readonly limits: Http1Limits
  /** What the client speaks to the door before us; 'https' when TLS ended here or ahead of us. */
  readonly scheme: 'http' | 'https'
  readonly entrance?: Entrance | undefined
  /** Answers a request that the engine itself must refuse, when no handler has seen it. Defaults to a line of text. */
  readonly refuse?: (error: ProxyError) => Response
  /** Told of each refused message and each handler that threw. */
  readonly onError?: (error: ProxyError, peer: Address) => void
}

export interface Http1Server {
  accept(socket: Socket): SocketEvents
  readonly connections: ReadonlySet<{ destroy(): void }>
  /** Closes idle connections, and each other one after the answer it is at. */
  drain(): void
  /** Ends every connection at once. */
  destroy(): void
}

export function createHttp1Server(options: Http1ServerOptions): Http1Server {
  const connections = new Set<ServerConnection>()
  const shared: Shared = { draining: false, connections, dateSecond: 0, dateLine: '' }
  return {
    connections,
    accept(socket) {
      const connection = new ServerConnection(socket, options, shared)
      connections.add(connection)
      socket.attach(connection)
      return connection
    },
    drain() {
      shared.draining = true
      for (const connection of connections) connection.closeWhenIdle()
    },
    destroy() {
      for (const connection of connections) connection.destroy()
    },
  }
}

interface Shared {
  draining: boolean
  readonly connections: Set<ServerConnection>
  dateSecond: number
  dateLine: string
}

/** Kinds of response field that are this hop's own business. */
const hopByHop = kind.connection | kind.transferEncoding | kind.hopByHop | kind.te | kind.upgrade

type Phase = 'idle' | 'head' | 'exchange' | 'drain' | 'linger' | 'raw' | 'closed'

class ServerConnection implements SocketEvents, BodyOwner, WriterOwner {
  readonly limits: Http1Limits
  private readonly socket: Socket
  private readonly options: Http1ServerOptions
  private readonly shared: Shared
  private readonly timers: Timers
  private readonly timer: TimerEntry
  private readonly reader = new HeadReader()
  private readonly writer: BodyWriter
  private phase: Phase = 'idle'
  private exchange: ServerExchange | undefined
  private body: IncomingBody | undefined
  private raw: { destroy(): void } | undefined
  // Bytes read and not yet used. While there are any, the socket is paused and lends them to us.
  private bytes: Uint8Array = noBytes
  private at = 0
  private end_ = 0
  private paused = false
  private feeding = false
  private inRun = false
  private peerEnded = false
  private drained = 0
  private sentBefore = 0

  constructor(socket: Socket, options: Http1ServerOptions, shared: Shared) {
    this.socket = socket
    this.options = options
    this.shared = shared
    this.limits = options.limits
    this.timers = options.timers
    this.timer = createTimerEntry(() => this.expire())
    this.writer = new BodyWriter(socket, this)
    this.timers.arm(this.timer, this.limits.headTimeoutMs)
  }

  // --- bytes in

  data(bytes: Uint8Array, start: number, end: number): boolean {
    this.bytes = bytes
    this.at = start
    this.end_ = end
    this.run()
    if (this.at < this.end_ || this.body?.blocked) {
      this.paused = true
      return false
    }
    this.bytes = noBytes
    return true
  }

  /** Uses the bytes at hand as far as somebody wants them. Handlers and sinks are called from here, and may come back in. */
  private run(): void {
    if (this.feeding) return
    if (this.inRun) {
      // Called back by a handler that starts its body: body bytes only, heads are for the loop below us.
      while (this.at < this.end_ && this.body && !this.body.done && this.feedBody(this.body)) continue
      return
    }
    this.inRun = true
    while (this.at < this.end_ && this.step()) continue
    this.inRun = false
  }

  /** @returns false when the rest of the bytes must wait */
  private step(): boolean {
    const { body, phase } = this
    if (body && !body.done) return this.feedBody(body)
    if (phase === 'linger' || phase === 'closed') this.at = this.end_
    else if (phase === 'idle' || phase === 'head') return this.readHead()
    return false // a pipelined request, or bytes behind an upgrade
  }

  private feedBody(body: IncomingBody): boolean {
    if (!body.wanted) return false
    if (this.phase === 'exchange') this.timers.arm(this.timer, this.limits.bodyStallTimeoutMs)
    this.feeding = true
    const at = body.feed(this.bytes, this.at, this.end_)
    this.feeding = false
    if (this.phase === 'drain') this.drained += at - this.at
    this.at = at
    if (body.fault !== undefined) {
      this.bodyFault(bad(400, body.fault))
      return false
    }
    if (body.done) this.requestComplete()
    else if (this.phase === 'drain' && this.drained > this.limits.maxDrainBytes) this.linger()
    return !body.blocked
  }

  private readHead(): boolean {
    const found = this.reader.read(this.socket, this.bytes, this.at, this.end_, this.limits)
    if (typeof found === 'string') {
      this.at = this.end_
      if (found === 'more') {
        if (this.phase === 'idle' && this.reader.started) {
          this.phase = 'head'
          this.timers.arm(this.timer, this.limits.headTimeoutMs)
        }
      } else if (found === 'bare-lf') this.refuse(bad(400, 'a line must end in CR LF'))
      else
        this.refuse(this.reader.hasStartLine ? bad(431, 'request head too large') : bad(414, 'request target too long'))
      return false
    }
    this.at = found.next
    const head = parseRequestHead(found.text, found.end, this.limits)
    if ('kind' in head) {
      this.refuse(head)
      return false
    }
    this.begin(head)
    return true
  }

  private begin(request: RequestHead): void {
    this.phase = 'exchange'
    this.drained = 0
    const body = request.bodyLength === 0 ? undefined : new IncomingBody(this, request.bodyLength ?? 'chunked')
    this.body = body
    this.timers.disarm(this.timer)
    const exchange = new ServerExchange(this.socket, this.options, request, body)
    this.exchange = exchange
    const made = new EngineRequest(
      request.method,
      request.target,
      request.authority,
      this.options.scheme,
      request.head,
      new BodyHolder(body),
      exchange,
    ) as unknown as Request
    let answer: Response | Promise<Response>
    try {
      answer = this.options.handler(made, exchange)
    } catch (thrown) {
      this.handlerFailed(exchange, thrown)
      return
    }
    if (answer instanceof Promise) {
      answer.then(
        (response) => this.respond(exchange, response),
        (thrown: unknown) => this.handlerFailed(exchange, thrown),
      )
    } else this.respond(exchange, answer)
  }

  bodyWanted(body: IncomingBody): void {
    if (body !== this.body) return
    body.finishIfComplete()
    if (body.done) this.requestComplete()
    else if (this.exchange?.awaitsContinue) this.exchange.sendContinue()
    this.goOn()
  }

  bodyCancelled(body: IncomingBody): void {
    if (body === this.body && this.phase === 'exchange') {
      body.redirect(discardingSink)
      this.goOn()
    }
  }

  /** Uses held bytes, then reads on. */
  private goOn(): void {
    if (this.feeding || this.phase === 'raw' || this.phase === 'closed') return
    this.run()
    if (this.paused && this.at >= this.end_ && !this.body?.blocked) {
      this.paused = false
      this.bytes = noBytes
      this.socket.resume()
    }
  }

  private requestComplete(): void {
    if (this.phase === 'exchange') this.timers.disarm(this.timer)
    else if (this.phase === 'drain') this.next()
  }

  end(): void {
    this.peerEnded = true
    if (this.phase === 'idle' || this.phase === 'linger') {
      this.socket.end()
      this.destroy()
    } else if (this.phase === 'head') this.refuse(bad(400, 'connection closed inside a request head'))
    else if (this.body && !this.body.done) this.clientLeft()
    else if (this.phase === 'drain') this.destroy()
    // A whole request has come. Some clients half-close and wait, others have died: silence will tell.
    else {
      this.sentBefore = this.writer.sent
      this.timers.arm(this.timer, this.limits.halfClosedTimeoutMs)
    }
  }

  close(_error?: SocketError): void {
    this.shared.connections.delete(this)
    if (this.phase === 'closed') return
    this.clientLeft()
  }

  drain(): void {
    this.writer.drained()
  }

  // --- answers out

  private respond(exchange: ServerExchange, answer: Response): void {
    if (exchange !== this.exchange || exchange.answered) {
      discard(answer)
      return
    }
    let response: EngineResponse
    try {
      response = asEngineResponse(answer)
      if (response.status < 200 && response.status !== 101) throw new TypeError(`${response.status} is no final status`)
    } catch (thrown) {
      this.handlerFailed(exchange, thrown)
      return
    }
    exchange.answered = true
    const { status } = response
    if (status === 101) {
      this.switchProtocols(exchange, response)
      return
    }
    const { request } = exchange
    const body = response.holder.take()
    const bodiless = request.method === 'HEAD' || status === 204 || status === 304
    let dropped = hopByHop
    let framing = ''
    let chunked = false
    const length = body ? body.length : 0
    if (status === 204) dropped |= kind.contentLength
    else if (bodiless) {
      // A HEAD or 304 answer may say how long the body would have been.
      if (length && status !== 304 && (response.head.kinds & kind.contentLength) === 0)
        framing = `Content-Length: ${length}\r\n`
    } else if (length !== undefined) {
      if ((response.head.kinds & kind.contentLength) === 0 || response.head.get('content-length') !== String(length)) {
        dropped |= kind.contentLength
        framing = `Content-Length: ${length}\r\n`
      }
    } else {
      dropped |= kind.contentLength
      chunked = request.minorVersion === 1
      if (chunked) framing = 'Transfer-Encoding: chunked\r\n'
      else {
        exchange.keepAlive = false
        exchange.untilClose = true
      }
    }
    if (this.shared.draining || this.peerEnded || exchange.awaitsContinue) exchange.keepAlive = false
    if (!exchange.keepAlive) framing += 'Connection: close\r\n'
    else if (request.minorVersion === 0) framing += 'Connection: keep-alive\r\n'
    if ((response.head.kinds & kind.date) === 0 && !response.head.has('date')) framing += this.dateLine()

    const head = `HTTP/1.1 ${status} ${response.statusText || reasonPhrase(status)}\r\n${response.head.serialize(dropped)}${framing}\r\n`
    exchange.status = status
    if (bodiless || body === undefined || length === 0) {
      body?.cancel()
      this.socket.write(head)
      this.messageWritten()
    } else this.writer.begin(head, body, chunked, length)
  }

  private switchProtocols(exchange: ServerExchange, response: EngineResponse): void {
    const { upgrade } = response
    if (!upgrade || exchange.upgrade === undefined) {
      upgrade?.outgoing.fail({ kind: 'downstream-gone' })
      exchange.answered = false
      this.handlerFailed(
        exchange,
        new ProxyFailure({ kind: 'upstream', phase: 'head', cause: 'malformed', reason: 'unexpected 101' }),
      )
      return
    }
    exchange.status = 101
    const kept = hopByHop & ~kind.upgrade
    const head = response.head.serialize(kept | kind.contentLength)
    this.socket.write(`HTTP/1.1 101 ${response.statusText || reasonPhrase(101)}\r\nConnection: Upgrade\r\n${head}\r\n`)
    this.phase = 'raw'
    this.timers.remove(this.timer)
    const unread = this.at < this.end_ ? this.bytes.slice(this.at, this.end_) : undefined
    const raw = takeRawSocket(this.socket, {
      timers: this.timers,
      idleTimeoutMs: this.limits.upgradeIdleTimeoutMs,
      unread,
      onClose: (bytesReceived, bytesSent, error) => {
        this.shared.connections.delete(this)
        this.phase = 'closed'
        exchange.finish({ status: 101, bytesReceived, bytesSent, ...(error ? { error } : {}) })
      },
    })
    this.raw = raw
    if (this.peerEnded) raw.incoming.cancel()
    else joinRawStreams(raw, upgrade)
  }

  private handlerFailed(exchange: ServerExchange, thrown: unknown): void {
    if (exchange !== this.exchange || exchange.answered) return
    const error = errorOf(thrown)
    if (error.kind === 'downstream-gone') {
      this.destroy()
      return
    }
    this.options.onError?.(error, this.socket.remote)
    exchange.error = error
    this.respond(exchange, (this.options.refuse ?? plainRefusal)(error))
  }

  /** Answers what is no acceptable HTTP, and closes. */
  private refuse(error: Extract<ProxyError, { kind: 'bad-request' }>): void {
    this.options.onError?.(error, this.socket.remote)
    const response = asEngineResponse((this.options.refuse ?? plainRefusal)(error))
    const body = response.holder.take()
    const length = body?.length ?? 0
    const head = `HTTP/1.1 ${response.status} ${reasonPhrase(response.status)}\r\n${response.head.serialize(hopByHop | kind.contentLength)}Content-Length: ${length}\r\nConnection: close\r\n${this.dateLine()}\r\n`
    this.phase = 'linger'
    this.at = this.end_
    this.reader.reset()
    if (body && length > 0) this.writer.begin(head, body, false, length)
    else {
      this.socket.write(head)
      this.messageWritten()
    }
  }

  messageWritten(): void {
    const { exchange } = this
    if (exchange) {
      this.exchange = undefined
      exchange.finish({
        status: exchange.status,
        bytesReceived: exchange.body?.received ?? 0,
        bytesSent: this.writer.sent,
        ...(exchange.error ? { error: exchange.error } : {}),
      })
      this.writer.sent = 0
      if (this.phase === 'closed') return
      if (!exchange.keepAlive) this.linger()
      else if (this.body && !this.body.done) this.drainRequest()
      else this.next()
    } else this.linger()
  }

  messageBroken(error: ProxyError): void {
    const { exchange } = this
    if (exchange) exchange.error = error
    // Half a message must never look like a whole one.
    if (this.writer.headPending) {
      if (exchange) {
        exchange.answered = false
        this.handlerFailed(exchange, new ProxyFailure(error))
      }
    } else this.destroy(exchange?.untilClose ? 'reset' : undefined)
  }

  writeBlocked(): void {
    this.timers.arm(this.timer, this.limits.writeStallTimeoutMs)
  }

  writeUnblocked(): void {
    if (this.peerEnded) this.timers.arm(this.timer, this.limits.halfClosedTimeoutMs)
    else if (this.body && !this.body.done && this.body.wanted)
      this.timers.arm(this.timer, this.limits.bodyStallTimeoutMs)
    else this.timers.disarm(this.timer)
  }

  // --- between exchanges

  /** The answer is out before the request was: reads the rest, so that the client gets to see the answer. */
  private drainRequest(): void {
    this.phase = 'drain'
    this.body!.redirect(discardingSink)
    this.timers.arm(this.timer, this.limits.drainTimeoutMs)
    this.goOn()
  }

  private next(): void {
    this.body = undefined
    if (this.shared.draining || this.peerEnded) {
      this.linger()
      return
    }
    this.phase = 'idle'
    this.timers.arm(this.timer, this.limits.idleTimeoutMs)
    if (this.at < this.end_ || this.paused) this.goOn()
  }

  /** Sends FIN and reads until the peer's, for a while: a close with unread bytes would reset the answer away. */
  private linger(): void {
    this.socket.end()
    if (this.peerEnded) {
      this.destroy()
      return
    }
    this.phase = 'linger'
    this.at = this.end_
    this.body = undefined
    this.timers.arm(this.timer, this.limits.drainTimeoutMs)
    this.goOn()
  }

  /** The rest of the request's body cannot be had: answers so if nothing else has been answered. */
  private bodyFault(error: Extract<ProxyError, { kind: 'bad-request' }>): void {
    const { body, exchange } = this
    this.at = this.end_
    body?.close(error)
    this.body = undefined
    if (!exchange || exchange.answered) {
      this.destroy()
      return
    }
    exchange.keepAlive = false
    this.handlerFailed(exchange, new ProxyFailure(error))
    exchange.abort(error)
  }

  private expire(): void {
    switch (this.phase) {
      case 'idle':
        this.socket.end()
        this.destroy()
        break
      case 'head':
        this.refuse(bad(408, 'request head not complete in time'))
        break
      case 'exchange':
        if (this.body && !this.body.done && !this.exchange?.answered)
          this.bodyFault(bad(408, 'request body not complete in time'))
        else if (this.peerEnded && this.writer.sent > this.sentBefore) {
          this.sentBefore = this.writer.sent
          this.timers.arm(this.timer, this.limits.halfClosedTimeoutMs)
        } else this.clientLeft()
        break
      default:
        this.destroy()
    }
  }

  /** The client went away, or may as well have. */
  private clientLeft(): void {
    const gone: ProxyError = { kind: 'downstream-gone' }
    const { exchange, body } = this
    this.phase = 'closed'
    this.exchange = undefined
    this.timers.remove(this.timer)
    this.shared.connections.delete(this)
    if (body && !body.done) body.close(gone)
    this.writer.stop(gone)
    this.raw?.destroy()
    this.socket.destroy()
    if (exchange) {
      exchange.abort(gone)
      exchange.finish({
        status: exchange.answered ? exchange.status : 0,
        bytesReceived: exchange.body?.received ?? 0,
        bytesSent: this.writer.sent,
        error: exchange.error ?? gone,
      })
    }
  }

  closeWhenIdle(): void {
    if (this.phase === 'idle') {
      this.socket.end()
      this.destroy()
    }
  }

  destroy(reason?: 'reset'): void {
    if (this.phase === 'raw') this.raw?.destroy()
    if (this.phase === 'closed') return
    if (reason) this.socket.destroy(reason)
    this.clientLeft()
  }

  latin1(bytes: Uint8Array, start: number, end: number): string {
    return this.socket.latin1(bytes, start, end)
  }

  /** RFC 9110 section 6.6.1: whoever forwards a message without a Date adds one. */
  private dateLine(): string {
    const second = Math.floor(Date.now() / 1000)
    if (second !== this.shared.dateSecond) {
      this.shared.dateSecond = second
      this.shared.dateLine = `Date: ${new Date(second * 1000).toUTCString()}\r\n`
    }
    return this.shared.dateLine
  }
}

class ServerExchange implements Exchange {
  readonly request: RequestHead
  readonly body: IncomingBody | undefined
  readonly startedAtMs: number
  keepAlive: boolean
  awaitsContinue: boolean
  answered = false
  /** The end of the answer is the end of the connection, so a broken one must be a reset. */
  untilClose = false
  status = 0
  error: ProxyError | undefined
  private readonly socket: Socket
  private readonly options: Http1ServerOptions
  private aborted: ProxyError | undefined
  private over: Outcome | undefined
  private onAborts: ((error: ProxyError) => void) | ((error: ProxyError) => void)[] | undefined
  private onFinishes: ((outcome: Outcome) => void) | ((outcome: Outcome) => void)[] | undefined

  constructor(socket: Socket, options: Http1ServerOptions, request: RequestHead, body: IncomingBody | undefined) {
    this.socket = socket
    this.options = options
    this.request = request
    this.body = body
    this.keepAlive = request.keepAlive
    this.awaitsContinue = request.awaitsContinue
    this.startedAtMs = options.timers.now()
  }

  get scheme(): 'http' | 'https' {
    return this.options.scheme
  }
  get httpVersion(): '1.0' | '1.1' {
    return this.request.minorVersion === 1 ? '1.1' : '1.0'
  }
  get peer(): Address {
    return this.socket.remote
  }
  get local(): Address {
    return this.socket.local
  }
  get tls(): TlsFacts | undefined {
    return this.socket.tls
  }
  get entrance(): Entrance | undefined {
    return this.options.entrance
  }
  get upgrade(): string | undefined {
    return this.request.upgrade
  }

  inform(status: number, fields: readonly Field[]): void {
    if (this.answered || this.over || this.aborted || this.request.minorVersion === 0) return
    if (status === 100) {
      this.sendContinue()
      return
    }
    if (!Number.isInteger(status) || status < 102 || status > 199)
      throw new RangeError(`not an informational status: ${status}`)
    let lines = ''
    for (const [name, value] of fields) {
      checkField(name, value)
      lines += `${name}: ${value}\r\n`
    }
    this.socket.write(`HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n${lines}\r\n`)
  }

  sendContinue(): void {
    if (!this.awaitsContinue || this.answered) return
    this.awaitsContinue = false
    this.socket.write('HTTP/1.1 100 Continue\r\n\r\n')
  }

  onAbort(listener: (error: ProxyError) => void): void {
    if (this.aborted) listener(this.aborted)
    else if (!this.over) this.onAborts = added(this.onAborts, listener)
  }

  onFinish(listener: (outcome: Outcome) => void): void {
    if (this.over) listener(this.over)
    else this.onFinishes = added(this.onFinishes, listener)
  }

  abort(error: ProxyError): void {
    if (this.aborted || this.over) return
    this.aborted = error
    call(this.onAborts, error)
    this.onAborts = undefined
  }

  finish(outcome: Outcome): void {
    if (this.over) return
    this.over = outcome
    call(this.onFinishes, outcome)
    this.onFinishes = undefined
  }
}

type Listeners<T> = ((value: T) => void) | ((value: T) => void)[] | undefined

function added<T>(listeners: Listeners<T>, listener: (value: T) => void): Listeners<T> {
  if (listeners === undefined) return listener
  return typeof listeners === 'function' ? [listeners, listener] : [...listeners, listener]
}

function call<T>(listeners: Listeners<T>, value: T): void {
  if (typeof listeners === 'function') listeners(value)
  else if (listeners) for (const listener of listeners) listener(value)
}

const noBytes = new Uint8Array(0)

function discard(response: Response): void {
  try {
    const own = asEngineResponse(response)
    own.holder.take()?.cancel()
    own.upgrade?.outgoing.fail({ kind: 'downstream-gone' })
  } catch {
    // Not a Response that could have been sent; nothing is held by it.
  }
}

function plainRefusal(error: ProxyError): Response {
  const status = error.kind === 'bad-request' ? error.status : 500
  return new Response(`${error.kind === 'bad-request' ? error.reason : 'internal error'}\n`, {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8' },
  })
}
