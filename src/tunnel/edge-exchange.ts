/** An exchange with somebody behind the edge, as handlers see it; the transport's own exchange carries it. */
import { type ProxyError } from '../errors.ts'
import { type Address, type Entrance, type Exchange, type Field, type Outcome, type TlsFacts } from '../runtime.ts'

export class EdgeExchange implements Exchange {
  /** The peer is Cloudflare, whose word on the client is believed. */
  readonly edge = true
  readonly scheme: 'http' | 'https'
  /** `websocket` for a WebSocket: the edge has taken the fields off that said so. */
  readonly upgrade: string | undefined
  /** The edge was given 200 for what is 101 on either side of it. */
  switched = false
  private readonly carrier: Exchange

  constructor(carrier: Exchange, scheme: 'http' | 'https', upgrade: string | undefined) {
    this.carrier = carrier
    this.scheme = scheme
    this.upgrade = upgrade
  }

  get httpVersion(): Exchange['httpVersion'] {
    return this.carrier.httpVersion
  }
  get peer(): Address {
    return this.carrier.peer
  }
  get local(): Address {
    return this.carrier.local
  }
  get tls(): TlsFacts | undefined {
    return this.carrier.tls
  }
  get entrance(): Entrance | undefined {
    return this.carrier.entrance
  }
  get startedAtMs(): number {
    return this.carrier.startedAtMs
  }
  get awaitsContinue(): boolean {
    return this.carrier.awaitsContinue
  }
  get gone(): boolean {
    return this.carrier.gone
  }

  /** The edge takes no informational answers but `100 Continue`. */
  inform(status: number, fields: readonly Field[]): void {
    if (status === 100) this.carrier.inform(status, fields)
  }

  onAbort(listener: (error: ProxyError) => void): void {
    this.carrier.onAbort(listener)
  }

  onFinish(listener: (outcome: Outcome) => void): void {
    this.carrier.onFinish((outcome) =>
      listener(this.switched && outcome.status === 200 ? { ...outcome, status: 101 } : outcome),
    )
  }
}
