/** A connector's connection to us, whichever transport carries it. HTTP/2 is one; QUIC has the same shape. */
import type { Body } from '../../http/body.ts'
import type { EngineRequest } from '../../http/request.ts'
import type { Address, Field } from '../../runtime.ts'
import type { UpdateConfigurationResponse } from '../configuration-manager.ts'
import type { ControlStream } from '../edge-link.ts'
import type { Transport } from '../protocol.ts'
import type { RpcMethod } from '../rpc-method.ts'
import { type FrozenHalf } from './frozen-socket.ts'

/** What an eyeball asks, as the edge passes it on. */
export interface StreamRequest {
  readonly kind: 'http' | 'websocket' | 'tcp'
  /** With the fields that the connector is to see. Of a tcp stream: the authority is its destination, `ip:port`. */
  readonly request: EngineRequest
  /** Resets the stream, at any time until the answer is over. */
  readonly onAbort: (listener: () => void) => void
}

/** What the connector answers. */
export interface StreamAnswer {
  /** The connector says who made it: whatever is behind it, or the connector itself, which then failed. */
  readonly source: 'origin' | 'connector'
  readonly rateLimited: boolean
  /** As the origin said it, 101 included. */
  readonly status: number
  readonly fields: readonly Field[]
  readonly body: Body | undefined
}

/** The control stream at this end, which can also break. */
export interface EdgeControlStream extends ControlStream {
  /** Breaks the stream off: RST_STREAM. */
  reset(): void
}

export interface LinkEvents {
  control(stream: EdgeControlStream): void
  /** Once, and last. */
  close(reason: string): void
}

export interface ConnectorLink {
  readonly protocol: Transport
  readonly remote: Address
  /** Lets the control stream come into being: on HTTP/2 we open it, on QUIC the connector does. */
  start(): void
  /** Rejects with a ProxyFailure when there is no answer. */
  send(request: StreamRequest): Promise<StreamAnswer>
  /** A call of ours, on a stream of its own; rejects with an RpcError. Over HTTP/2 the edge has no such streams. */
  call<Params, Results>(method: RpcMethod<Params, Results>, params: Params): Promise<Results>
  /** @param push JSON: `version` and `config` */
  configure(push: string): Promise<UpdateConfigurationResponse>
  /** No new streams; closes when those that run are over. HTTP/2: GOAWAY. */
  goAway(): void
  /** From now on nothing goes that way, and nobody is told. */
  freeze(half: FrozenHalf): void
  /** Sends what nobody understands: on HTTP/2 among the frames, on QUIC on a stream of its own. */
  babble(): void
  /** @param how a reset leaves nothing to read; a close sends what was written */
  destroy(how?: 'reset'): void
}

/** Where a link reports what a connector should not have done. */
export type ReportViolation = (violation: string) => void
