/**
 * The server end of HTTP/1.1 (RFC 9112) on any {@link Socket}.
 *
 * One exchange at a time a connection; bytes of a pipelined request wait, unread, until the answer before it is out. A
 * handler gets a lazily read Request and its {@link Exchange}, and answers with any Response, at once or later.
 */
import { errorOf, ProxyFailure, type ProxyError } from '../errors.ts'
import { hopByHopKinds, kind, type Head } from '../http/head.ts'
import { BodyHolder } from '../http/holder.ts'
import { EngineRequest } from '../http/request.ts'
import { asEngineResponse, createResponse, discard, type EngineResponse } from '../http/response.ts'
import { trailersOfRequest } from '../http/trailers.ts'
import { joinRawStreams } from '../http/upgrade.ts'
import type { Address, Handler, Socket, SocketError, SocketEvents } from '../runtime.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'
import { BodyWriter, type WriterOwner } from './body-writer.ts'
import { HeadReader } from './connection.ts'
import { ServerExchange, type ExchangeOptions } from './exchange.ts'
import { IncomingBody, type BodyOwner } from './incoming-body.ts'
import { checkLimits, type Http1Limits } from './limits.ts'
import { bad, parseRequestHead, type RequestHead } from './parse.ts'
import { takeRawSocket } from './raw.ts'
import { reasonPhrase } from './reason.ts'

/** `scheme` is what the client speaks to the door before us; 'https' when TLS ended here or ahead of us. */
export interface Http1ServerOptions extends ExchangeOptions {
  readonly handler: Handler
  readonly limits: Http1Limits
  /** Takes over the connection of a client that begins with HTTP/2's preface. Absent: it is answered 505. */
  readonly http2?: ((socket: Socket) => SocketEvents) | undefined
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
  /** Ends every connection at once; what was in flight ends as `cut-off`. */
  destroy(): void
}

/** @throws RangeError for limits that can't be kept */
export function createHttp1Server(options: Http1ServerOptions): Http1Server {
  checkLimits(options.limits)
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
  private before: RequestHead | undefined
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
  /** How exchanges end with the connection. */
  private ending: ProxyError = gone

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
    else if (phase === 'idle' || phase === 'head') {
      // A client that sends requests and takes no answers must not fill our memory with them.
      return !this.writer.unflushed && this.readHead()
    }
    return false // a pipelined request, or bytes behind an upgrade
  }

  private feedBody(body: IncomingBody): boolean {
    if (!body.wanted) return false
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
    else this.watchBody(body)
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
      else if (found === 'large') this.refuse(bad(431, 'request head too large'))
      else this.refuse(bad(414, 'request target too long'))
      return false
    }
    this.at = found.next
    if (found.text === prefaceLine && this.options.http2) {
      this.handOver(this.options.http2)
      return false
    }
    const head = parseRequestHead(found, this.limits, this.before)
    if ('kind' in head) {
      this.refuse(head)
      return false
    }
    this.before = head
    this.begin(head)
    return true
  }

  /** RFC 9113 section 3.3: a client that knows beforehand speaks HTTP/2 from the first byte. */
  private handOver(accept: (socket: Socket) => SocketEvents): void {
    const { bytes, at, end_ } = this
    this.phase = 'closed'
    this.at = end_
    this.timers.remove(this.timer)
    this.shared.connections.delete(this)
    const events = accept(this.socket)
    events.data(prefaceHead, 0, prefaceHead.length)
    if (at < end_) events.data(bytes, at, end_)
    if (this.peerEnded) events.end()
  }

  private begin(request: RequestHead): void {
    this.phase = 'exchange'
    this.drained = 0
    const { bodyLength } = request.facts
    const body = bodyLength === 0 ? undefined : new IncomingBody(this, bodyLength ?? 'chunked')
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
    else {
      const { exchange } = this
      if (exchange?.awaitsContinue) {
        // RFC 9110 section 10.1.1: not needed where the body is coming already.
        if (this.at < this.end_) exchange.awaitsContinue = false
        else exchange.sendContinue()
      }
      this.watchBody(body)
    }
    this.goOn()
  }

  /** The rest is read all the same, so that the client gets to see the answer. */
  bodyCancelled(body: IncomingBody): void {
    if (body !== this.body) return
    body.discard()
    body.finishIfComplete()
    if (body.done) this.requestComplete()
    else this.watchBody(body)
    this.goOn()
  }

  /** A body that is due must keep coming. Once there is an answer, the answer's own progress counts. */
  private watchBody(body: IncomingBody): void {
    if (this.phase !== 'exchange' || this.exchange?.answered) return
    if (body.wanted && !body.discarded) this.timers.arm(this.timer, this.limits.bodyStallTimeoutMs)
    else this.timers.disarm(this.timer)
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
    if (this.peerEnded) this.settleEnd()
  }

  private requestComplete(): void {
    if (this.phase === 'drain') this.next()
    else if (this.phase === 'exchange' && !this.exchange?.answered) this.timers.disarm(this.timer)
  }

  end(): void {
    this.peerEnded = true
    this.settleEnd()
  }

  /** The client will send no more: what that means is clear when the bytes at hand have been used. */
  private settleEnd(): void {
    if (this.at < this.end_) return
    const { body, phase } = this
    if (phase === 'idle') this.linger()
    else if (phase === 'head') this.refuse(bad(400, 'connection closed inside a request head'))
    else if (body && !body.done) {
      if (body.blocked) return
      if (phase === 'drain') this.linger()
      else this.clientLeft()
    } else if (phase === 'exchange' && !this.writer.unflushed) {
      // A whole request has come. Some clients half-close and wait, others have died: the next write will tell, and
      // where there is none the backend must not work for nobody without an end.
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
    if (this.phase === 'linger') this.timers.arm(this.timer, this.limits.drainTimeoutMs)
    else if (this.phase === 'idle' || this.phase === 'head') this.goOn()
    else if (this.peerEnded) this.settleEnd()
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
      discard(answer)
      this.handlerFailed(exchange, thrown)
      return
    }
    exchange.answered = true
    const { status } = response
    if (status === 101) {
      this.switchProtocols(exchange, response)
      return
    }
    // Whatever the timer watched for was the request's; the answer's own progress is watched from here on.
    this.timers.disarm(this.timer)
    if (this.peerEnded) this.settleEnd()
    const { request } = exchange
    const body = response.holder.take()
    const bodiless = request.method === 'HEAD' || status === 204 || status === 304
    const length = body ? body.length : 0
    const { head } = response
    const declared = head.edited('content-length')
      ? head.get('content-length')
      : (head.received(kind.contentLength) ?? null)
    let dropped = hopByHopKinds
    let framing = ''
    let chunked = false
    if (bodiless && status !== 204) {
      // An answer to HEAD, and a 304, may say how long the body would have been. RFC 9110 section 8.6.
      if (declared === null ? length && status !== 304 : !isLength(declared)) {
        dropped |= kind.contentLength
        if (length) framing = `Content-Length: ${length}\r\n`
      }
    } else if (bodiless || length === undefined) {
      dropped |= kind.contentLength
      if (!bodiless) {
        chunked = request.minorVersion === 1
        if (chunked) framing = 'Transfer-Encoding: chunked\r\n'
        else {
          exchange.keepAlive = false
          exchange.untilClose = true
        }
      }
    } else if (declared !== String(length)) {
      dropped |= kind.contentLength
      framing = `Content-Length: ${length}\r\n`
    }
    if (this.shared.draining || exchange.awaitsContinue || (this.peerEnded && this.at >= this.end_))
      exchange.keepAlive = false
    if (!exchange.keepAlive) framing += 'Connection: close\r\n'
    else if (request.minorVersion === 0) framing += 'Connection: keep-alive\r\n'
    if ((head.kinds & kind.date) === 0 && !(head.edits && head.has('date'))) framing += this.dateLine()

    const text = `HTTP/1.1 ${status} ${response.statusText || reasonPhrase(status)}\r\n${head.serialize(dropped)}${framing}\r\n`
    exchange.status = status
    if (bodiless || body === undefined || length === 0) {
      body?.cancel()
      this.writer.write(text)
      this.messageWritten()
    } else this.writer.begin(text, body, chunked, length)
  }

  private switchProtocols(exchange: ServerExchange, response: EngineResponse): void {
    const { upgrade } = response
    // What is left of a body could not be told from the new protocol.
    if (!upgrade || exchange.upgrade === undefined || exchange.body?.done === false) {
      upgrade?.outgoing.fail(gone)
      exchange.answered = false
      this.handlerFailed(
        exchange,
        new ProxyFailure({ kind: 'upstream', phase: 'head', cause: 'malformed', reason: 'unexpected 101' }),
      )
      return
    }
    exchange.status = 101
    const kept = hopByHopKinds & ~kind.upgrade
    const head = response.head.serialize(kept | kind.contentLength)
    this.socket.write(`HTTP/1.1 101 ${response.statusText || reasonPhrase(101)}\r\nConnection: Upgrade\r\n${head}\r\n`)
    this.phase = 'raw'
    this.timers.remove(this.timer)
    const unread = this.at < this.end_ ? new Uint8Array(this.bytes.subarray(this.at, this.end_)) : undefined
    this.at = this.end_
    const raw = takeRawSocket(this.socket, {
      timers: this.timers,
      idleTimeoutMs: this.limits.upgradeIdleTimeoutMs,
      unread,
      ended: this.peerEnded,
      onClose: (bytesReceived, bytesSent, error) => {
        this.shared.connections.delete(this)
        this.phase = 'closed'
        const why = this.ending === gone ? error : this.ending
        exchange.finish({
          status: 101,
          bytesReceived: bytesReceived + (exchange.body?.received ?? 0),
          bytesSent,
          ...(why ? { error: why } : {}),
        })
      },
    })
    this.raw = raw
    joinRawStreams(raw, upgrade)
  }

  private handlerFailed(exchange: ServerExchange, thrown: unknown): void {
    if (exchange !== this.exchange || exchange.answered) return
    const error = errorOf(thrown)
    if (error.kind === 'downstream-gone') {
      this.destroy()
      return
    }
    this.options.onError?.(error, this.socket.remote)
    const again = exchange.error !== undefined // the answer to a failure failed
    exchange.error ??= error
    this.respond(exchange, again ? plainRefusal(error) : this.refusal(error))
  }

  private refusal(error: ProxyError): Response {
    try {
      return (this.options.refuse ?? plainRefusal)(error)
    } catch {
      return plainRefusal(error)
    }
  }

  /** Answers what is no acceptable HTTP, and closes. */
  private refuse(error: Extract<ProxyError, { kind: 'bad-request' }>): void {
    this.options.onError?.(error, this.socket.remote)
    const response = asEngineResponse(this.refusal(error))
    const body = response.holder.take()
    const length = body ? body.length : 0
    const framing = length === undefined ? '' : `Content-Length: ${length}\r\n` // until close
    const head = `HTTP/1.1 ${response.status} ${reasonPhrase(response.status)}\r\n${response.head.serialize(hopByHopKinds | kind.contentLength | kind.date)}${framing}Connection: close\r\n${this.dateLine()}\r\n`
    this.phase = 'linger'
    this.at = this.end_
    this.reader.reset()
    if (body && length !== 0) this.writer.begin(head, body, false, length)
    else {
      body?.cancel()
      this.writer.write(head)
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
    // Half a message must never look like a whole one.
    if (exchange && this.writer.headPending) {
      exchange.answered = false
      this.handlerFailed(exchange, new ProxyFailure(error))
      return
    }
    if (exchange) exchange.error = error
    this.destroy(exchange?.untilClose ? 'reset' : undefined)
  }

  writeBlocked(): void {
    this.timers.arm(this.timer, this.limits.writeStallTimeoutMs)
  }

  writeUnblocked(): void {
    if (this.peerEnded) this.settleEnd()
    else this.timers.disarm(this.timer)
  }

  // --- between exchanges

  /** The answer is out before the request was: reads the rest, so that the client gets to see the answer. */
  private drainRequest(): void {
    this.phase = 'drain'
    const body = this.body!
    body.discard()
    body.finishIfComplete()
    if (body.done) {
      this.next()
      return
    }
    this.timers.arm(this.timer, this.limits.drainTimeoutMs)
    this.goOn()
  }

  private next(): void {
    this.body = undefined
    if (this.shared.draining) {
      this.linger()
      return
    }
    this.phase = 'idle'
    this.timers.arm(this.timer, this.limits.idleTimeoutMs)
    if (this.at < this.end_ || this.paused || this.peerEnded) this.goOn()
  }

  /** Sends FIN and reads until the peer's, for a while: a close with unread bytes would reset the answer away. */
  private linger(): void {
    this.phase = 'linger'
    this.at = this.end_
    this.body = undefined
    this.socket.end() // closes the socket where the peer's FIN is here already
    const { drainTimeoutMs, writeStallTimeoutMs } = this.limits
    this.timers.arm(this.timer, this.writer.unflushed ? writeStallTimeoutMs : drainTimeoutMs)
    this.goOn()
  }

  /** The rest of the request's body cannot be had: answers so if nothing else has been answered. */
  private bodyFault(error: Extract<ProxyError, { kind: 'bad-request' }>): void {
    const { body, exchange } = this
    this.at = this.end_
    body?.break(error)
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
        this.linger()
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

  /** The client went away, or may as well have, or was cut off. */
  private clientLeft(): void {
    const { exchange, body, ending } = this
    this.phase = 'closed'
    this.exchange = undefined
    this.timers.remove(this.timer)
    this.shared.connections.delete(this)
    body?.break(ending)
    this.writer.stop(ending)
    this.socket.destroy()
    if (exchange) {
      exchange.abort(ending)
      exchange.finish({
        status: exchange.answered ? exchange.status : 0,
        bytesReceived: exchange.body?.received ?? 0,
        bytesSent: this.writer.sent,
        error: exchange.error ?? ending,
      })
    }
  }

  closeWhenIdle(): void {
    if (this.phase === 'idle') this.linger()
  }

  /** Nobody waits for it any more. */
  cutOff(): void {
    this.ending = { kind: 'cut-off' }
    this.destroy()
  }

  destroy(reason?: 'reset'): void {
    if (this.phase === 'raw') {
      this.raw?.destroy()
      return
    }
    if (this.phase === 'closed') return
    if (reason) this.socket.destroy(reason)
    this.clientLeft()
  }

  acceptTrailers(received: Head): Head {
    return trailersOfRequest(received)
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

const noBytes = new Uint8Array(0)

/** What HTTP/2's preface is to an HTTP/1.1 parser: a request head, and bytes behind it. RFC 9113 section 3.4. */
const prefaceLine = 'PRI * HTTP/2.0\r\n'
const prefaceHead = new TextEncoder().encode(`${prefaceLine}\r\n`)

function plainRefusal(error: ProxyError): Response {
  const status = error.kind === 'bad-request' ? error.status : error.kind === 'upstream' ? 502 : 500
  const reason = error.kind === 'bad-request' ? error.reason : reasonPhrase(status).toLowerCase()
  return createResponse(status, [['Content-Type', 'text/plain; charset=utf-8']], `${reason}\n`)
}

/** One Content-Length, as RFC 9110 section 8.6 has it. */
function isLength(value: string): boolean {
  return /^\d{1,16}$/.test(value)
}
