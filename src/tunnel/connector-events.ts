import { type ConnectionFailure } from './connection-failure.ts'
import { type ControlMethod } from './connection.ts'
import { type RpcFailure } from './rpc-error.ts'

/** What metrics want to know of a connector. */
export interface ConnectorEvents {
  registered(connIndex: number, location: string): void
  /** A registered connection is gone, or has been told to go; or one never came to be. */
  left(connIndex: number): void
  failed(failure: ConnectionFailure): void
  called(method: ControlMethod, failure: RpcFailure | undefined, durationMs: number): void
}

export const noConnectorEvents: ConnectorEvents = { registered() {}, left() {}, failed() {}, called() {} }
