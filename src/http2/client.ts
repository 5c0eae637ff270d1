/** The client end of HTTP/2 (RFC 9113) on any {@link Socket}, whoever dialled it: many requests at once, each a stream. */
import { ProxyFailure, type ProxyError } from '../errors.ts'
import type { Body } from '../http/body.ts'
import { isAuthority, isTarget, isToken } from '../http/fields.ts'
import { connectionKinds, kind, type Head } from '../http/head.ts'
import { RepeatableBody } from '../http/repeatable.ts'
import { asEngineRequest, engineRequest, type EngineRequest } from '../http/request.ts'
import { responseOf as createResponse } from '../http/response.ts'
import type { SendOptions } from '../http/send.ts'
import { trailersOfResponse } from '../http/trailers.ts'
import type { Socket } from '../runtime.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'
import type { FieldBlock } from './field-block.ts'
import { errorCode } from './frames.ts'
import { checkLimits, type Http2Limits } from './limits.ts'
import { responseOf } from './message.ts'
import { Session, type RequestPseudo, type SessionUser } from './session.ts'
import type { Stream, StreamUser } from './stream.ts'

export interface Http2ClientOptions {
  readonly timers: Timers
  readonly limits: Http2Limits
  /** The runtime's: what one turn of the event loop produces goes out in one write. */
  readonly afterTurn: (f: () => void) => void
  /** What `:scheme` says; absent: what each request says. */
  readonly scheme?: 'http' | 'https'
  /** A stream is over, or the peer allows more of them: the connection may take another. */
  readonly onCapacity?: (connection: Http2Connection) => void
  /** The connection must not be used again: it is gone, or the peer has said that it will be (GOAWAY). Once. */
  readonly onClose: (connection: Http2Connection) => void
  /** Told of each rule that the server broke. */
  readonly onFault?: (reason: string) => void
}

export interface Http2SendOptions extends SendOptions {
  /** Called once, when the exchange is over, however it ended. */
  readonly onOver?: () => void
}

const maxInformational = 64
/** How long a backend that ignores `Expect` keeps the client waiting. RFC 9110 section 10.1.1 */
const continueWaitMs = 1_000
/** Streams before the peer has said how many: no peer should allow fewer. RFC 9113 section 6.5.2. */
const cautiousStreams = 100

const gone: ProxyError = { kind: 'downstream-gone' }

export class Http2Connection implements SessionUser {
  /** Exchanges begun so far. */
  uses = 0
  /** Must not be used again; what is under way may still end well. */
  closed = false
  readonly options: Http2ClientOptions
  readonly session: Session
  private readonly socket: Socket

  /** @throws RangeError for limits that can't be kept */
  constructor(socket: Socket, options: Http2ClientOptions) {
    checkLimits(options.limits)
    this.options = options
    this.socket = socket
    const { timers, limits, afterTurn } = options
    this.session = new Session({ socket, side: 'client', timers, limits, afterTurn }, this)
  }

  get remote(): Socket['remote'] {
    return this.socket.remote
  }

  /** Requests under way. */
  get active(): number {
    return this.session.streams.size
  }

  /** Requests that could be sent now. */
  get capacity(): number {
    const { session } = this
    if (this.closed || !session.usable) return 0
    const most = session.isReady ? session.peer.maxConcurrentStreams : cautiousStreams
    return Math.max(most - this.active, 0)
  }

  /**
   * Sends a request and answers with its response, whose body is read from this connection.
   *
   * @returns rejects with a {@link ProxyFailure}; `stale` says that nothing of it can have been acted upon, as for a
   *   stream that the peer refused or did not get to (RFC 9113 section 8.7)
   */
  send(request: Request, how: Http2SendOptions): Promise<Response> {
    const own = engineRequest(asEngineRequest(request))!
    if (!isToken(own.method) || !isTarget(own.target) || !isAuthority(own.authority)) {
      how.onOver?.()
      return Promise.reject(new ProxyFailure({ kind: 'filter-failed', reason: 'a request line that may not go out' }))
    }
    const stream = this.capacity > 0 ? this.session.open() : undefined
    if (!stream) {
      how.onOver?.()
      const reason = this.closed ? 'connection closed by the backend' : 'as many streams as the backend allows'
      const error = closedError('send', reason)
      return Promise.reject(new ProxyFailure({ ...error, stale: true, unprocessed: true }))
    }
    this.uses++
    return new Promise((resolve, reject) => {
      const exchange = new ClientStream(this, stream, own, how, resolve, reject)
      stream.user = exchange
      exchange.begin()
    })
  }

  /** No new requests; closes when the last of those under way is over. */
  drain(): void {
    this.session.drainStreams()
    this.retire()
  }

  destroy(): void {
    this.session.destroy()
  }

  // --- the session's user

  opened(): boolean {
    return false
  }

  errorOf(code: number, reason: string, unprocessed: boolean): ProxyError {
    const error = closedError('body', reason)
    if (unprocessed) return { ...error, stale: true, unprocessed: true }
    return code === errorCode.enhanceYourCalm ? { ...error, cause: 'overloaded' } : error
  }

  ready(): void {
    this.options.onCapacity?.(this)
  }

  leaving(): void {
    this.retire()
  }

  idle(): void {}
  silent(): void {}
  flooded(): void {}

  /** Who sent the requests hears of it anyway: a connection's fault breaks all streams, a stream's breaks its own. */
  fault(reason: string): void {
    this.options.onFault?.(reason)
  }

  over(): void {
    this.retire()
  }

  private retire(): void {
    if (this.closed) return
    this.closed = true
    this.options.onClose(this)
  }
}

class ClientStream implements StreamUser {
  private readonly connection: Http2Connection
  private readonly stream: Stream
  private readonly request: EngineRequest
  private readonly how: Http2SendOptions
  private readonly pseudo: RequestPseudo
  private resolve: ((response: Response) => void) | undefined
  private reject: ((failure: ProxyFailure) => void) | undefined
  private text = ''
  private unsent: Body | undefined // waits for 100 Continue
  /** Once it has been begun. */
  private body: RepeatableBody | undefined
  private sawHead = false
  private informational = 0
  private deadline: TimerEntry | undefined
  private continueTimer: TimerEntry | undefined

  constructor(
    connection: Http2Connection,
    stream: Stream,
    request: EngineRequest,
    how: Http2SendOptions,
    resolve: (response: Response) => void,
    reject: (failure: ProxyFailure) => void,
  ) {
    this.connection = connection
    this.stream = stream
    this.request = request
    this.how = how
    this.resolve = resolve
    this.reject = reject
    const { method, target, authority } = request
    this.pseudo = { method, authority, path: target, scheme: connection.options.scheme ?? request.scheme }
  }

  begin(): void {
    const { request, how, connection } = this
    const { timers } = connection.options
    const { exchange, dropped = 0, lines = '' } = how
    const body = request.holder.take()
    let tail = lines
    // RFC 9113 section 8.2.2: the one value that TE may have.
    if ((request.head.kinds & kind.te) !== 0 && /(?:^|[,\s])trailers(?:$|[,;\s])/i.test(request.head.get('te') ?? ''))
      tail += 'te: trailers\r\n'
    const expects = exchange?.awaitsContinue === true && body !== undefined
    if (expects) tail += 'expect: 100-continue\r\n'
    if (body?.length !== undefined) tail += `content-length: ${body.length}\r\n`
    else if (!body && bodyExpected(request)) tail += 'content-length: 0\r\n'
    this.text = request.head.serialize(dropped | connectionKinds) + tail
    if (how.deadlineMs !== undefined) {
      this.deadline = createTimerEntry(() => this.abort(how.deadlineError ?? closedError('head', 'timed out')))
      timers.armAt(this.deadline, how.deadlineMs)
    }
    if (expects) {
      this.unsent = body
      this.writeHead(false)
      this.continueTimer = createTimerEntry(() => this.sendBody())
      timers.arm(this.continueTimer, continueWaitMs)
    } else this.send(body)
    const leave = (): void => this.abort(gone)
    exchange?.onAbort(leave)
    if (how.signal?.aborted) leave()
    else how.signal?.addEventListener('abort', leave, { once: true })
  }

  acceptTrailers(received: Head): Head {
    return trailersOfResponse(received)
  }

  writeHead(ended: boolean): void {
    const { text } = this
    if (text === headWritten) return
    this.text = headWritten
    this.connection.session.writeRequestHead(this.stream.id, this.pseudo, text, ended)
  }

  /** The backend wants the body, or has kept us waiting long enough. */
  private sendBody(): void {
    const body = this.unsent
    if (!body) return
    this.unsent = undefined
    if (this.continueTimer) this.connection.options.timers.remove(this.continueTimer)
    this.send(body)
  }

  private send(body: Body | undefined): void {
    this.body = body && new RepeatableBody(body)
    this.stream.send(this.body)
  }

  head(block: FieldBlock, ended: boolean): void {
    const head = responseOf(block)
    if (typeof head === 'string' || head.status === 101) {
      this.malformed(typeof head === 'string' ? head : '101 over HTTP/2')
      return
    }
    this.sawHead = true
    if (head.status < 200) {
      if (ended || ++this.informational > maxInformational) this.malformed('too many informational responses')
      else if (head.status === 100) this.sendBody()
      else this.how.exchange?.inform(head.status, head.head.fields())
      return
    }
    const { method } = this.request
    const bodiless = method === 'HEAD' || head.status === 204 || head.status === 304
    if (ended && !bodiless && head.length) {
      this.malformed('content-length without a body')
      return
    }
    const { stream } = this
    const body = stream.receiveHead(bodiless ? 0 : head.length, ended)
    this.body?.forget()
    if (this.unsent) {
      // RFC 9110 section 10.1.1: a final answer instead of 100 says that the body is not wanted.
      this.cancelUnsent()
    }
    const resolve = this.resolve!
    this.resolve = this.reject = undefined
    resolve(createResponse(head.status, '', head.head, bodiless ? undefined : body))
    if (!ended || stream.closed) return
    if (stream.localEnded) stream.close(undefined, false)
    else this.received()
  }

  private malformed(reason: string): void {
    this.stream.reset(errorCode.protocol, { kind: 'upstream', phase: 'head', cause: 'malformed', reason })
  }

  /** An early answer: the rest of the request is of no use to anyone here. */
  received(): void {
    this.stream.abandon(errorCode.cancel)
  }

  sent(): void {}

  broken(error: ProxyError): void {
    // Half a request must never look like a whole one.
    this.abort(error)
  }

  bodyWanted(): void {}
  bodyProgressed(): void {}

  bodyCancelled(): void {
    this.abort(gone)
  }

  stalled(): void {
    this.abort({ kind: 'upstream', phase: 'send', cause: 'timeout', reason: 'the backend takes no bytes' })
  }

  private abort(error: ProxyError): void {
    this.stream.reset(errorCode.cancel, error)
  }

  closed(error: ProxyError | undefined): void {
    const { connection, reject } = this
    const { timers } = connection.options
    if (this.deadline) timers.remove(this.deadline)
    if (this.continueTimer) timers.remove(this.continueTimer)
    this.resolve = this.reject = undefined
    if (reject) {
      const told = this.errorBeforeAnswer(error ?? closedError('head', 'stream closed'))
      const unspent = this.unsent ?? this.body
      if (unspent && told.kind === 'upstream' && told.stale) {
        this.request.holder.restore(unspent === this.body ? this.body.again() : unspent)
        this.unsent = this.body = undefined
      }
      reject(new ProxyFailure(told))
    }
    this.cancelUnsent()
    this.body?.forget()
    this.how.onOver?.()
    connection.options.onCapacity?.(connection)
  }

  /** What may be tried again says so. RFC 9113 section 8.7; RFC 9110 section 9.2.2 decides for which methods. */
  private errorBeforeAnswer(error: ProxyError): ProxyError {
    if (error.kind !== 'upstream' || error.phase !== 'body') return error
    const { stale, unprocessed, ...rest } = { ...error, phase: 'head' as const }
    if (this.sawHead || (this.body && !(unprocessed && this.body.isWhole))) return rest
    if (stale) return { ...rest, stale, ...(unprocessed ? { unprocessed } : {}) }
    return rest.cause === 'closed' && this.connection.uses > 1 ? { ...rest, stale: true } : rest
  }

  private cancelUnsent(): void {
    const body = this.unsent
    this.unsent = undefined
    body?.cancel()
  }
}

/** No head's text. */
const headWritten = '\n'

/** Methods whose missing body is worth saying. RFC 9110 section 8.6. */
function bodyExpected({ method, head }: EngineRequest): boolean {
  return (head.kinds & kind.contentLength) !== 0 || method === 'POST' || method === 'PUT' || method === 'PATCH'
}

function closedError(phase: 'send' | 'head' | 'body', reason: string): Extract<ProxyError, { kind: 'upstream' }> {
  return { kind: 'upstream', phase, cause: 'closed', reason }
}
