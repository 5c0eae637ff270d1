/**
 * One data stream of the edge's: a request or a WebSocket, answered by our handler on the same stream.
 *
 * @see cloudflared, connection/quic_connection.go
 */
import { describeError, errorOf, ProxyFailure, type ProxyError } from '../errors.ts'
import { type Body, type BodySink } from '../http/body.ts'
import { BodyHolder } from '../http/holder.ts'
import { EngineRequest } from '../http/request.ts'
import { asEngineResponse, discard } from '../http/response.ts'
import { type RawStream } from '../http/upgrade.ts'
import { closableWebSocket, type ClosableWebSocket } from '../http/websocket.ts'
import { type Address, type Exchange, type Field, type Handler, type Outcome, type QuicStream } from '../runtime.ts'
import { type Log } from '../telemetry.ts'
import { type Timers } from '../timers.ts'
import { answerFields, isBodiless, switchFields } from './answer-fields.ts'
import { largeHeadOf } from './large-head.ts'
import { type QuicRequest, readQuicRequest, writeQuicFailure, writeQuicResponse } from './quic-http.ts'
import { QuicStreamBody } from './quic-stream-body.ts'
import { type RequestCounts } from './request-counts.ts'
import { eyeballScheme } from './request-scheme.ts'
import { type ConnectRequest, writeConnectResponse } from './stream-metadata.ts'

export interface QuicRequestOptions {
  readonly handler: Handler
  readonly timers: Timers
  readonly counts: RequestCounts
  readonly log: Log
  readonly local: Address
  readonly peer: Address
  /** WebSockets that are open. */
  readonly sessions: Set<ClosableWebSocket>
  /** @returns what to call when it is over */
  readonly begin: () => (end: Outcome) => void
}

/** Where a stream's bytes and its end go, once it is known to carry data. */
export interface DataStream {
  data(bytes: Uint8Array, start: number, end: number): boolean
  end(): void
  drain(): void
  /** The edge gave the stream up, in either direction, or we gave up the edge. */
  lost(error: ProxyError): void
}

export function serveDataStream(
  stream: QuicStream,
  connect: ConnectRequest,
  options: QuicRequestOptions,
): DataStream | undefined {
  const request = readQuicRequest(connect)
  if ('error' in request) {
    options.counts.errors++
    refuse(stream, request.error)
    return undefined
  }
  const served = new ServedStream(stream, request, options)
  served.run()
  return served
}

/** Answers that the stream cannot be served; the edge makes a 502 of it. */
export function refuse(stream: QuicStream, reason: string): void {
  stream.write(writeConnectResponse(writeQuicFailure(reason)))
  stream.end()
  stream.stopReading()
}

class ServedStream implements DataStream, Exchange {
  readonly edge = true
  /** Of the eyeball's own nothing is known; on either transport the request is as HTTP/2 has it. */
  readonly httpVersion = '2'
  readonly awaitsContinue = false
  readonly scheme: 'http' | 'https'
  readonly upgrade: string | undefined
  readonly startedAtMs: number
  readonly peer: Address
  readonly local: Address
  private readonly stream: QuicStream
  private readonly options: QuicRequestOptions
  private readonly method: string
  private readonly request: EngineRequest
  private readonly incoming: QuicStreamBody | undefined
  private answer: Body | undefined
  private answered = false
  /** The answer's body waits for the stream. */
  private blocked = false
  private status = 0
  private sent = 0
  private failure: ProxyError | undefined
  private aborted: ProxyError | undefined
  private over: Outcome | undefined
  private readonly aborts: ((error: ProxyError) => void)[] = []
  private readonly finishes: ((outcome: Outcome) => void)[] = []

  constructor(stream: QuicStream, asked: QuicRequest, options: QuicRequestOptions) {
    const { method, target, authority, fields, isWebSocket, body } = asked
    const head = largeHeadOf(isWebSocket ? handshakeFields(fields) : fields.filter(isForwarded))
    this.stream = stream
    this.options = options
    this.method = method
    this.scheme = eyeballScheme(head)
    this.upgrade = isWebSocket ? 'websocket' : undefined
    this.startedAtMs = options.timers.now()
    this.peer = options.peer
    this.local = options.local
    const length = body.kind === 'length' ? body.bytes : undefined
    this.incoming = body.kind === 'none' ? undefined : new QuicStreamBody(stream, length, { kind: 'downstream-gone' })
    const holder = new BodyHolder(isWebSocket ? undefined : this.incoming)
    this.request = new EngineRequest(method, target, authority, this.scheme, head, holder, this)
    this.finishes.push(options.begin())
  }

  run(): void {
    let answer: Response | Promise<Response>
    try {
      answer = this.options.handler(this.request as unknown as Request, this)
    } catch (thrown) {
      this.failed(thrown)
      return
    }
    if (answer instanceof Promise) {
      answer.then(
        (response) => this.respond(response),
        (thrown: unknown) => this.failed(thrown),
      )
    } else this.respond(answer)
  }

  // --- the stream

  data(bytes: Uint8Array, start: number, end: number): boolean {
    return this.incoming ? this.incoming.receive(bytes, start, end) : true
  }

  end(): void {
    this.incoming?.end()
  }

  drain(): void {
    if (!this.blocked) return
    this.blocked = false
    this.answer?.resume()
  }

  lost(error: ProxyError): void {
    if (this.over) return
    this.aborted = error
    this.incoming?.fail(error)
    this.answer?.cancel(error)
    for (const listener of this.aborts.splice(0)) listener(error)
    this.breakOff()
    this.finish(error)
  }

  // --- the exchange

  get gone(): boolean {
    return this.aborted !== undefined
  }

  /** QUIC streams have one answer. */
  inform(): void {}

  onAbort(listener: (error: ProxyError) => void): void {
    if (this.aborted) listener(this.aborted)
    else if (!this.over) this.aborts.push(listener)
  }

  onFinish(listener: (outcome: Outcome) => void): void {
    if (this.over) listener(this.over)
    else this.finishes.push(listener)
  }

  // --- the answer

  private respond(response: Response): void {
    if (this.over || this.answered) {
      discard(response)
      return
    }
    try {
      const own = asEngineResponse(response)
      if (own.status === 101) this.switchProtocols(own.upgrade, switchFields(own))
      else {
        if (own.status < 200 || own.status > 999) throw new TypeError(`${own.status} is no final status`)
        const body = own.holder.take()
        const bodiless = isBodiless(own.status, this.method)
        const fields = answerFields(own, body ? body.length : 0, bodiless)
        if (bodiless || body === undefined) {
          body?.cancel()
          this.writeHead(own.status, fields)
          this.complete()
        } else {
          this.writeHead(own.status, fields)
          this.send(body)
        }
      }
    } catch (thrown) {
      discard(response)
      this.failed(thrown)
    }
  }

  private switchProtocols(upgrade: RawStream | undefined, fields: readonly Field[]): void {
    const { incoming } = this
    if (upgrade === undefined || incoming === undefined || this.upgrade === undefined) {
      upgrade?.outgoing.fail({ kind: 'downstream-gone' })
      throw new ProxyFailure({ kind: 'upstream', phase: 'head', cause: 'malformed', reason: 'unexpected 101' })
    }
    const webSocket = closableWebSocket(upgrade)
    const { stream } = webSocket
    this.options.sessions.add(webSocket)
    this.onFinish(() => this.options.sessions.delete(webSocket))
    this.writeHead(101, fields)
    stream.onWritable(() => incoming.resume())
    this.send(stream.incoming, () => stream.outgoing.end())
    incoming.start(stream.outgoing)
  }

  private writeHead(status: number, fields: readonly Field[]): void {
    this.answered = true
    this.status = status
    this.stream.write(writeConnectResponse(writeQuicResponse(status, fields)))
  }

  /** Bodies go raw; trailers have no place here and are dropped. */
  private send(body: Body, whenEnded?: () => void): void {
    this.answer = body
    const sink: BodySink = {
      data: (bytes, start, end) => {
        this.sent += end - start
        this.blocked = !this.stream.write(bytes, start, end)
        return !this.blocked
      },
      end: () => {
        if (this.over) return
        this.complete()
        whenEnded?.()
      },
      fail: (error) => {
        if (this.over) return
        this.breakOff()
        this.incoming?.cancel()
        this.finish(error)
      },
    }
    body.start(sink)
  }

  /** Half an answer must not look like a whole one. */
  private breakOff(): void {
    const length = this.answer?.length
    this.stream.reset(!this.answered || (length !== undefined && this.sent < length))
  }

  private complete(): void {
    this.stream.end()
    if (this.upgrade === undefined) this.incoming?.cancel()
    this.finish(this.failure)
  }

  /** Not the routes' answer: our proxy answers its own failures itself, so this is a handler that threw. */
  private failed(thrown: unknown): void {
    if (this.over) return
    const error = errorOf(thrown)
    this.failure = error
    this.incoming?.cancel()
    if (this.answered || error.kind === 'downstream-gone') {
      this.breakOff()
      this.finish(error)
      return
    }
    this.options.counts.errors++
    this.options.log.error('request failed', { error: describeError(error) })
    this.status = 502
    refuse(this.stream, 'the request failed')
    this.finish(error)
  }

  private finish(error: ProxyError | undefined): void {
    if (this.over) return
    const outcome: Outcome = {
      status: this.status,
      bytesReceived: this.incoming?.received ?? 0,
      bytesSent: this.sent,
      ...(error ? { error } : {}),
    }
    this.over = outcome
    for (const listener of this.finishes.splice(0)) listener(outcome)
  }
}

/** The edge has taken off what says that it is a handshake. */
function handshakeFields(fields: readonly Field[]): Field[] {
  const kept = fields.filter((field) => isForwarded(field) && field[0].toLowerCase() !== 'sec-websocket-version')
  return [...kept, ['Sec-WebSocket-Version', '13']]
}

/** What is between the edge and the connector stays here. */
function isForwarded([name]: Field): boolean {
  return !/^cf-(?:cloudflared-.*|trace-id)$/i.test(name)
}
