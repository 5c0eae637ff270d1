/** One exchange as its handler sees it: what Fetch has no place for, on an HTTP/2 stream. */
import type { ProxyError } from '../errors.ts'
import { headOf, hopByHopKinds } from '../http/head.ts'
import { added, call, type Listeners } from '../http/listeners.ts'
import type { Address, Entrance, Exchange, Field, Outcome, Socket, TlsFacts } from '../runtime.ts'
import type { Timers } from '../timers.ts'

/** What the server knows of all exchanges of a door. */
export interface ExchangeOptions {
  readonly timers: Timers
  /** What the client speaks to the door before us; 'https' when TLS ended here or ahead of us. */
  readonly scheme: 'http' | 'https'
  readonly entrance?: Entrance | undefined
}

export class StreamExchange implements Exchange {
  readonly httpVersion = '2'
  /** `websocket` where the client asks for one by extended CONNECT. */
  readonly upgrade: string | undefined
  readonly startedAtMs: number
  awaitsContinue: boolean
  answered = false
  status = 0
  error: ProxyError | undefined
  private readonly socket: Socket
  private readonly options: ExchangeOptions
  private readonly writeInformational: (status: number, text: string) => void
  private aborted: ProxyError | undefined
  private over: Outcome | undefined
  private onAborts: Listeners<ProxyError>
  private onFinishes: Listeners<Outcome>

  constructor(
    socket: Socket,
    options: ExchangeOptions,
    awaitsContinue: boolean,
    upgrade: string | undefined,
    writeInformational: (status: number, text: string) => void,
  ) {
    this.socket = socket
    this.options = options
    this.awaitsContinue = awaitsContinue
    this.upgrade = upgrade
    this.writeInformational = writeInformational
    this.startedAtMs = options.timers.now()
  }

  get scheme(): 'http' | 'https' {
    return this.options.scheme
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
  get gone(): boolean {
    return this.aborted !== undefined
  }

  inform(status: number, fields: readonly Field[]): void {
    if (this.answered || this.over || this.aborted) return
    if (status === 100) {
      this.sendContinue()
      return
    }
    if (!Number.isInteger(status) || status < 102 || status > 199)
      throw new RangeError(`not an informational status: ${status}`)
    this.writeInformational(status, headOf(fields).serialize(hopByHopKinds))
  }

  sendContinue(): void {
    if (!this.awaitsContinue || this.answered || this.aborted) return
    this.awaitsContinue = false
    this.writeInformational(100, '')
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
