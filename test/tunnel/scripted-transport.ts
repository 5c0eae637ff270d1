import {
  type ConnectionError,
  registerConnection,
  type RegisterConnectionParams,
  unregisterConnection,
  updateLocalConfiguration,
} from '../../src/tunnel/registration.ts'
import { type EdgeAddress } from '../../src/tunnel/discovery.ts'
import { type ControlEvents, DialFailure, type EdgeLinkEvents, type EdgeTransport } from '../../src/tunnel/edge-link.ts'
import { type Transport } from '../../src/tunnel/protocol.ts'
import { createRpcConnection, type RpcConnection } from '../../src/tunnel/rpc.ts'
import { RpcError } from '../../src/tunnel/rpc-error.ts'
import { serveMethod } from '../../src/tunnel/rpc-method.ts'
import { type Timers } from '../../src/timers.ts'

/** What the scripted edge does with one connection. */
export type Script =
  | { readonly does: 'accept'; readonly remotelyManaged?: boolean; readonly location?: string }
  | { readonly does: 'refuse-dial'; readonly as?: 'unreachable' | 'quic-blocked' }
  | { readonly does: 'stay-silent' }
  | { readonly does: 'answer-error'; readonly error: ConnectionError }
  | { readonly does: 'throw-exception' }
  | { readonly does: 'abort' }
  | { readonly does: 'never-answer' }

export interface ScriptedConnection {
  readonly protocol: Transport
  readonly address: EdgeAddress
  readonly connIndex: number
  readonly atMs: number
  registration: RegisterConnectionParams | undefined
  localConfiguration: string | undefined
  unregistered: boolean
  /** What it was told to do with sessions, if it was told to close. */
  finished: 'end' | 'keep' | undefined
  destroyed: boolean
  active: number
  heardAtMs: number
  /** The edge closes the transport connection. */
  close(silent?: boolean): void
  /** The edge says that it opens no more streams. */
  goAway(): void
  /** The edge ends or resets the control stream alone. */
  loseControl(): void
  /** The last request in flight is over. */
  finishRequests(): void
}

export interface ScriptedEdge {
  readonly connections: ScriptedConnection[]
  readonly transport: (protocol: Transport) => EdgeTransport
  /** By the number of the attempt, from 0. */
  script: (attempt: ScriptedConnection, number: number) => Script
}

/** Edges in memory, whose every answer a test writes. */
export function createScriptedEdge(timers: Timers): ScriptedEdge {
  const edge: ScriptedEdge = {
    connections: [],
    script: () => ({ does: 'accept' }),
    transport: (protocol) => ({
      protocol,
      connect: (address, connIndex, events) => connect(protocol, address, connIndex, events),
    }),
  }

  async function connect(protocol: Transport, address: EdgeAddress, connIndex: number, events: EdgeLinkEvents) {
    let control: ControlEvents | undefined
    let rpc: RpcConnection | undefined
    let closed = false
    const connection: ScriptedConnection = {
      protocol,
      address,
      connIndex,
      atMs: timers.now(),
      registration: undefined,
      localConfiguration: undefined,
      unregistered: false,
      finished: undefined,
      destroyed: false,
      active: 0,
      heardAtMs: Infinity,
      close(silent = false) {
        if (closed) return
        closed = true
        control?.lost('connection closed')
        events.close({ reason: 'closed by the edge', silent })
      },
      goAway: () => events.goAway(),
      loseControl: () => control?.lost('the edge reset the control stream'),
      finishRequests() {
        connection.active = 0
        if (connection.finished) connection.close()
      },
    }
    const script = edge.script(connection, edge.connections.length)
    edge.connections.push(connection)
    await Promise.resolve()
    if (script.does === 'refuse-dial') throw new DialFailure(script.as ?? 'unreachable', 'connection refused')
    if (script.does !== 'stay-silent') queueMicrotask(() => openControl(script))
    return {
      local: { host: '192.168.1.1', port: 50_000 },
      get heardAtMs() {
        return connection.heardAtMs
      },
      get activeRequests() {
        return connection.active
      },
      finish(sessions: 'end' | 'keep') {
        connection.finished = sessions
        if (connection.active === 0) connection.close()
      },
      destroy() {
        if (closed) return
        closed = true
        connection.destroyed = true
        events.close({ reason: 'destroyed', silent: false })
      },
    }

    function openControl(script: Script): void {
      rpc = createRpcConnection(
        {
          write: (message) => {
            const copy = message.slice()
            queueMicrotask(() => control?.receive(copy, 0, copy.length))
          },
          end: () => queueMicrotask(() => control?.lost('the edge ended the control stream')),
        },
        { timers, exportId: 0xdeadbeef, methods: methodsOf(script) },
      )
      events.control({
        write: (message) => {
          const copy = message.slice()
          queueMicrotask(() => rpc?.receive(copy, 0, copy.length))
        },
        end: () => rpc?.lost('ended'),
        start: (to) => (control = to),
      })
    }

    function methodsOf(script: Script) {
      return [
        serveMethod(registerConnection, (params) => {
          // The message's bytes are only lent.
          connection.registration = structuredClone(params)
          switch (script.does) {
            case 'answer-error':
              return { kind: 'error', error: script.error } as const
            case 'throw-exception':
              throw new RpcError({ kind: 'exception', exception: { type: 'failed', reason: 'no' } })
            case 'abort':
              queueMicrotask(() => rpc?.close())
              return new Promise<never>(() => {})
            case 'never-answer':
              return new Promise<never>(() => {})
            default: {
              const { remotelyManaged = true, location = 'LIS' } = script.does === 'accept' ? script : {}
              const uuid = new Uint8Array(16).fill(edge.connections.length)
              return {
                kind: 'details',
                details: { uuid, locationName: location, tunnelIsRemotelyManaged: remotelyManaged },
              } as const
            }
          }
        }),
        serveMethod(updateLocalConfiguration, (config) => {
          connection.localConfiguration = new TextDecoder().decode(config)
          return undefined
        }),
        serveMethod(unregisterConnection, () => {
          connection.unregistered = true
          return undefined
        }),
      ]
    }
  }

  return edge
}
