/**
 * The client end of HTTP/1.1 (RFC 9112) on any {@link Socket}: one request at a time, both directions streaming at once.
 */
import { ProxyFailure, type ProxyError } from '../errors.ts'
import type { Body } from '../http/body.ts'
import { connectionKinds, kind, type Head } from '../http/head.ts'
import { asEngineRequest, engineRequest, type EngineRequest } from '../http/request.ts'
import { isAuthority, isTarget, isToken } from '../http/fields.ts'
import { responseOf } from '../http/response.ts'
import type { SendOptions } from '../http/send.ts'
import { trailersOfResponse } from '../http/trailers.ts'
import type { RawStream } from '../http/upgrade.ts'
import type { Exchange, Socket, SocketError, SocketEvents } from '../runtime.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'
import { BodyWriter, type WriterOwner } from './body-writer.ts'
import { HeadReader, type FoundHead } from './connection.ts'
import { IncomingBody, type BodyOwner } from './incoming-body.ts'
import { checkLimits, type Http1Limits } from './limits.ts'
import { parseResponseHead, type ResponseHead } from './parse.ts'
import { takeRawSocket } from './raw.ts'

export interface Http1ClientOptions {
  readonly timers: Timers
  readonly limits: Http1Limits
  /** The exchange is over and the connection can take another. */
  readonly onIdle: (connection: Http1Connection) => void
  /** The connection is gone, or must not be used again. Once. */
  readonly onClose: (connection: Http1Connection) => void
}

/** Hears how an attempt went: exactly one of the two, once. */
export interface AttemptObserver {
  /** The head of the answer is here. */
  responded(response: Response): void
  broke(failure: ProxyFailure): void
}

const maxInformational = 64
/** How long a backend that ignores `Expect` keeps the client waiting. RFC 9110 section 10.1.1 */
const continueWaitMs = 1_000

export class Http1Connection implements SocketEvents, BodyOwner, WriterOwner {
  readonly limits: Http1Limits
  /** Exchanges begun so far. */
  uses = 0
  closed = false
  private busy = false
  private readonly socket: Socket
  private readonly options: Http1ClientOptions
  private readonly timers: Timers
  private readonly timer: TimerEntry
  /** For 100 Continue, then for a backend that takes nothing of the body; where there is none, for the answer to an upgrade. */
  private readonly sendTimer: TimerEntry
  private readonly reader = new HeadReader()
  private readonly writer: BodyWriter
  private observer: AttemptObserver | undefined
  private method = ''
  private before: { method: string; fields: unknown; text: string; head: ResponseHead } | undefined
  private exchange: Exchange | undefined
  private deadlineError: ProxyError | undefined
  private request: EngineRequest | undefined
  private requestBody: Body | undefined // not begun: waits for 100 Continue
  private bodyBegun = false
  private body: IncomingBody | undefined
  private keepAlive = false
  private informational = 0
  private sawBytes = false
  private raw: { destroy(): void } | undefined
  private bytes: Uint8Array = noBytes
  private at = 0
  private end_ = 0
  private paused = false
  private feeding = false
  private peerEnded = false
  private lost: SocketError | undefined // why the socket closed, while there was still something to hand on
  private over = false // nothing is handed on any more

  constructor(socket: Socket, options: Http1ClientOptions) {
    this.socket = socket
    checkLimits(options.limits)
    this.options = options
    this.limits = options.limits
    this.timers = options.timers
    this.timer = createTimerEntry(() => this.abort(this.deadlineError ?? closedError('head', 'timed out')))
    this.sendTimer = createTimerEntry(() => this.sendWaited())
    this.writer = new BodyWriter(socket, this)
    socket.attach(this)
  }

  get remote(): Socket['remote'] {
    return this.socket.remote
  }

  /**
   * Sends a request and answers with its response, whose body is read from this connection.
   *
   * @returns rejects with a {@link ProxyFailure}; `stale` says that nothing of it can have been acted upon
   */
  send(request: Request, how: SendOptions): Promise<Response> {
    return new Promise((resolve, reject) => this.begin(request, how, { responded: resolve, broke: reject }))
  }

  /** The same without a promise, for those who make one of their own. The observer may be called before this returns. */
  begin(request: Request, how: SendOptions, observer: AttemptObserver): void {
    if (this.closed || this.over || this.peerEnded) {
      const closed = closedError('send', 'connection closed by the backend')
      observer.broke(new ProxyFailure({ ...closed, stale: true, unprocessed: true }))
      return
    }
    const own = engineRequest(asEngineRequest(request))!
    if (!isToken(own.method) || !isTarget(own.target) || !isAuthority(own.authority)) {
      this.options.onIdle(this)
      observer.broke(new ProxyFailure({ kind: 'filter-failed', reason: 'a request line that may not go out' }))
      return
    }
    this.uses++
    this.method = own.method
    this.exchange = how.exchange
    this.deadlineError = how.deadlineError
    this.informational = 0
    this.sawBytes = false
    this.keepAlive = true
    this.body = undefined
    this.bodyBegun = false
    this.request = own
    this.observer = observer
    if (how.deadlineMs !== undefined) this.timers.armAt(this.timer, how.deadlineMs)
    const use = this.uses
    const leave = (): void => {
      // The connection may be at somebody else's request by then.
      if (this.uses === use && this.busy) this.abort({ kind: 'downstream-gone' })
    }
    this.busy = true
    how.exchange?.onAbort(leave)
    how.signal?.addEventListener('abort', leave, { once: true })
    if (this.busy) this.write(own, how) // the client may have left already
  }

  private write(request: EngineRequest, how: SendOptions): void {
    const { exchange, dropped = 0, lines = '' } = how
    const body = request.holder.take()
    let tail = lines
    if (exchange?.upgrade !== undefined) tail += `Connection: Upgrade\r\nUpgrade: ${exchange.upgrade}\r\n`
    if ((request.head.kinds & kind.te) !== 0 && /(?:^|[,\s])trailers(?:$|[,;\s])/i.test(request.head.get('te') ?? ''))
      tail += 'Connection: TE\r\nTE: trailers\r\n' // RFC 9110 section 10.1.4
    const expects = exchange?.awaitsContinue === true && body !== undefined
    if (expects) tail += 'Expect: 100-continue\r\n'
    if (body)
      tail += body.length === undefined ? 'Transfer-Encoding: chunked\r\n' : `Content-Length: ${body.length}\r\n`
    else if ((request.head.kinds & kind.contentLength) !== 0 || bodyExpected(request.method))
      tail += 'Content-Length: 0\r\n'
    const head = `${request.method} ${request.target} HTTP/1.1\r\nHost: ${request.authority}\r\n${request.head.serialize(dropped | connectionKinds)}${tail}\r\n`
    if (!body) {
      this.socket.write(head)
      if (exchange?.upgrade !== undefined) this.timers.arm(this.sendTimer, this.limits.upgradeTimeoutMs)
    } else if (expects) {
      this.requestBody = body
      this.socket.write(head)
      this.timers.arm(this.sendTimer, continueWaitMs)
    } else this.sendBody(head, body)
  }

  private sendBody(head: string, body: Body): void {
    this.bodyBegun = true
    this.writer.begin(head, body, body.length === undefined, body.length)
  }

  /** The backend wants the body, or has kept us waiting long enough. */
  private beginBody(): void {
    const body = this.requestBody
    if (!body) return
    this.requestBody = undefined
    this.timers.disarm(this.sendTimer)
    this.sendBody('', body)
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

  private run(): void {
    if (this.feeding) return
    while (this.at < this.end_) {
      if (this.over) {
        this.at = this.end_
        return
      }
      if (this.observer) {
        if (!this.readHead()) return
        continue
      }
      const { body } = this
      if (!body || body.done) {
        // Bytes that nobody asked for: the next answer could not be told from them.
        this.at = this.end_
        this.abort(closedError('body', 'unexpected bytes behind the answer'))
        return
      }
      if (!body.wanted) return
      this.feeding = true
      this.at = body.feed(this.bytes, this.at, this.end_)
      this.feeding = false
      if (this.over) continue
      if (body.fault !== undefined) {
        this.at = this.end_
        this.abort({ kind: 'upstream', phase: 'body', cause: 'malformed', reason: body.fault })
        return
      }
      if (body.blocked) return
      if (body.done) this.responseComplete()
    }
  }

  private readHead(): boolean {
    this.sawBytes = true
    const found = this.reader.read(this.socket, this.bytes, this.at, this.end_, this.limits)
    if (typeof found === 'string') {
      this.at = this.end_
      if (found !== 'more') this.malformed(found === 'bare-lf' ? 'a line must end in CR LF' : 'response head too large')
      return false
    }
    this.at = found.next
    const head = this.responseHead(found)
    if (typeof head === 'string') {
      this.malformed(head)
      return false
    }
    if (head.status === 101) return this.switchProtocols(head)
    if (head.status < 200) {
      if (++this.informational > maxInformational) {
        this.malformed('too many informational responses')
        return false
      }
      if (head.status === 100) this.beginBody()
      else
        this.exchange?.inform(
          head.status,
          head.head.fields().filter(([name]) => !informationalDropped.test(name)),
        )
      return true
    }
    this.answer(head)
    return true
  }

  /** An answer with the same status line and fields as the one before says the same. */
  private responseHead(found: FoundHead): ResponseHead | string {
    const { before, method } = this
    if (before && before.fields === found.fields && before.text === found.text && before.method === method)
      return before.head
    const head = parseResponseHead(found, method)
    this.before = typeof head === 'string' ? undefined : { method, fields: found.fields, text: found.text, head }
    return head
  }

  private answer(head: ResponseHead): void {
    this.keepAlive = head.keepAlive
    const body = head.framing === 0 ? undefined : new IncomingBody(this, head.framing)
    this.body = body
    if (this.requestBody) {
      // RFC 9110 section 10.1.1: a final answer instead of 100 says that the body is not wanted.
      this.cancelUnsent()
      this.keepAlive = false
    }
    if (this.exchange?.upgrade !== undefined) {
      this.timers.disarm(this.sendTimer)
      // There are servers that take what follows an Upgrade for the new protocol, though they decline it: nobody else's
      // request may stand behind this body.
      if (this.bodyBegun) this.keepAlive = false
    }
    const observer = this.observer!
    this.observer = undefined
    observer.responded(responseOf(head.status, head.reason, head.head, body))
    if (!body && this.busy) this.responseComplete()
  }

  private switchProtocols(head: ResponseHead): boolean {
    if (this.exchange?.upgrade === undefined || this.writer.active || this.requestBody || !head.head.has('upgrade')) {
      this.malformed('unexpected 101')
      return false
    }
    const observer = this.observer!
    this.observer = undefined
    this.timers.remove(this.timer)
    this.timers.remove(this.sendTimer)
    this.closed = true
    this.over = true
    this.busy = false
    const unread = this.at < this.end_ ? new Uint8Array(this.bytes.subarray(this.at, this.end_)) : undefined
    this.at = this.end_
    const { options } = this
    const raw: RawStream & { destroy(): void } = takeRawSocket(this.socket, {
      timers: this.timers,
      idleTimeoutMs: Infinity, // the side of the client watches
      unread,
      onClose: () => options.onClose(this),
    })
    this.raw = raw
    observer.responded(responseOf(101, head.reason, head.head, undefined, raw))
    return false
  }

  bodyWanted(body: IncomingBody): void {
    if (body !== this.body) return
    body.finishIfComplete()
    if (body.done) this.responseComplete()
    if (this.feeding) return
    this.run()
    if (this.paused && this.at >= this.end_ && !this.body?.blocked && !this.raw) {
      this.paused = false
      this.bytes = noBytes
      this.socket.resume()
    }
    if (this.peerEnded || this.lost) this.settleEnd()
  }

  bodyCancelled(): void {
    this.abort({ kind: 'downstream-gone' })
  }

  private responseComplete(): void {
    this.body = undefined
    this.timers.disarm(this.timer)
    if (this.writer.active || this.requestBody) {
      // An early answer: the rest of the request is of no use to anyone here.
      this.writer.stop({ kind: 'downstream-gone' })
      this.cancelUnsent()
      this.keepAlive = false
    }
    this.exchange = undefined
    this.busy = false
    if (this.keepAlive && this.at >= this.end_ && !this.peerEnded && !this.closed) this.options.onIdle(this)
    else this.shut()
  }

  // --- the request's way out

  messageWritten(): void {}

  messageBroken(error: ProxyError): void {
    // Half a request must never look like a whole one.
    this.abort(error)
  }

  writeBlocked(): void {
    // Once it answers, what it leaves of the request is its own affair.
    if (this.observer) this.timers.arm(this.sendTimer, this.limits.writeStallTimeoutMs)
  }

  writeUnblocked(): void {
    this.timers.disarm(this.sendTimer)
  }

  private sendWaited(): void {
    if (this.requestBody) this.beginBody()
    else if (!this.observer) return
    else if (this.bodyBegun)
      this.abort({ kind: 'upstream', phase: 'send', cause: 'timeout', reason: 'the backend takes no more of the body' })
    else this.abort({ kind: 'upstream', phase: 'head', cause: 'timeout', reason: 'no answer to the upgrade' })
  }

  drain(): void {
    this.writer.drained()
  }

  // --- the end

  end(): void {
    this.peerEnded = true
    this.settleEnd()
  }

  close(error?: SocketError): void {
    if (this.over) return
    this.lost = error ?? { code: 'other', message: 'connection closed' }
    this.retire()
    this.settleEnd()
  }

  /** The backend will send no more: what that means is clear when the bytes at hand have been used. */
  private settleEnd(): void {
    if (this.over) return
    const { body } = this
    if (body && (this.at < this.end_ || body.blocked)) return
    if (body?.untilClose && this.peerEnded) {
      body.close()
      this.responseComplete()
      return
    }
    const phase = body ? 'body' : this.writer.active && !this.sawBytes ? 'send' : 'head'
    this.abort(closedError(phase, this.lost?.message ?? 'connection closed by the backend'))
  }

  private malformed(reason: string): void {
    this.abort({ kind: 'upstream', phase: 'head', cause: 'malformed', reason })
  }

  /** Ends the exchange, and with it the connection. */
  abort(error: ProxyError): void {
    const stale =
      error.kind === 'upstream' && error.cause === 'closed' && this.uses > 1 && !this.sawBytes && !this.bodyBegun
    const { observer, body } = this
    this.observer = undefined
    this.body = undefined
    this.busy = false
    this.shut()
    this.writer.stop(error)
    if (stale && this.requestBody) this.request?.holder.restore(this.requestBody)
    else this.cancelUnsent()
    if (observer) observer.broke(new ProxyFailure(stale ? { ...error, stale } : error))
    else body?.break(error)
  }

  private cancelUnsent(): void {
    this.timers.disarm(this.sendTimer)
    const body = this.requestBody
    this.requestBody = undefined
    body?.cancel()
  }

  destroy(): void {
    if (this.busy) this.abort(closedError(this.body ? 'body' : 'head', 'connection closed by us'))
    else this.shut()
  }

  private shut(): void {
    this.raw?.destroy()
    if (this.over) return
    this.over = true
    this.timers.remove(this.timer)
    this.timers.remove(this.sendTimer)
    this.socket.destroy()
    this.retire()
  }

  private retire(): void {
    if (this.closed) return
    this.closed = true
    this.options.onClose(this)
  }

  acceptTrailers(received: Head): Head {
    return trailersOfResponse(received)
  }

  latin1(bytes: Uint8Array, start: number, end: number): string {
    return this.socket.latin1(bytes, start, end)
  }
}

const noBytes = new Uint8Array(0)
const informationalDropped = /^(?:connection|keep-alive|proxy-connection|transfer-encoding|content-length|te|upgrade)$/i

/** Methods whose missing body is worth saying. RFC 9110 section 8.6. */
function bodyExpected(method: string): boolean {
  return method === 'POST' || method === 'PUT' || method === 'PATCH'
}

function closedError(phase: 'send' | 'head' | 'body', reason: string): Extract<ProxyError, { kind: 'upstream' }> {
  return { kind: 'upstream', phase, cause: 'closed', reason }
}
