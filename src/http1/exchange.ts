/** One exchange as its handler sees it: what Fetch has no place for, on an HTTP/1.1 connection. */
import type { ProxyError } from '../errors.ts'
import { checkField } from '../http/head.ts'
import { added, call } from '../http/listeners.ts'
import type { Address, Entrance, Exchange, Field, Outcome, Socket, TlsFacts } from '../runtime.ts'
import type { Timers } from '../timers.ts'
import type { IncomingBody } from './incoming-body.ts'
import type { RequestHead } from './parse.ts'
import { reasonPhrase } from './reason.ts'

/** What the server knows of all exchanges of a door. */
export interface ExchangeOptions {
  readonly timers: Timers
  readonly scheme: 'http' | 'https'
  readonly entrance?: Entrance | undefined
}

export class ServerExchange implements Exchange {
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
  private readonly options: ExchangeOptions
  private aborted: ProxyError | undefined
  private over: Outcome | undefined
  private onAborts: ((error: ProxyError) => void) | ((error: ProxyError) => void)[] | undefined
  private onFinishes: ((outcome: Outcome) => void) | ((outcome: Outcome) => void)[] | undefined

  constructor(socket: Socket, options: ExchangeOptions, request: RequestHead, body: IncomingBody | undefined) {
    this.socket = socket
    this.options = options
    this.request = request
    this.body = body
    this.keepAlive = request.facts.keepAlive
    this.awaitsContinue = request.facts.awaitsContinue
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
    return this.request.facts.upgrade
  }
  get gone(): boolean {
    return this.aborted !== undefined
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
