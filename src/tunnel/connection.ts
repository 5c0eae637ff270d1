/**
 * One edge connection: dials, registers over the control stream, stays until it is lost, and leaves in order.
 *
 * @see cloudflared, connection/control.go and supervisor/tunnel.go
 */
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'
import { classifyRegistrationError, type ConnectionFailure } from './connection-failure.ts'
import { type EdgeAddress } from './discovery.ts'
import { type ControlStream, DialFailure, type EdgeLink, type EdgeTransport, type LinkEnd } from './edge-link.ts'
import { originIpBytes } from './origin-ip.ts'
import { printable } from './printable.ts'
import {
  type ClientInfo,
  type ConnectionDetails,
  registerConnection,
  type TunnelAuth,
  unregisterConnection,
  updateLocalConfiguration,
} from './registration.ts'
import { createRpcConnection, type RpcConnection } from './rpc.ts'
import { describeRpcFailure, RpcError, type RpcFailure } from './rpc-error.ts'

export interface EdgeConnectionOptions {
  readonly transport: EdgeTransport
  readonly address: EdgeAddress
  readonly connIndex: number
  readonly auth: TunnelAuth
  readonly tunnelId: Uint8Array
  readonly client: ClientInfo
  /** Failures since the last registration. */
  readonly previousAttempts: number
  readonly timers: Timers
  readonly limits?: Partial<ConnectionLimits>
  readonly events: EdgeConnectionEvents
}

export interface EdgeConnectionEvents {
  registered(details: ConnectionDetails): void
  /** The edge has been told that we leave. */
  unregistering(): void
  /** A call over the control stream was answered or failed; for metrics. */
  called(method: ControlMethod, failure: RpcFailure | undefined, durationMs: number): void
}

export type ControlMethod = 'register_connection' | 'unregister_connection' | 'update_local_configuration'

export interface ConnectionLimits {
  /** From the transport being up to the control stream being there: an edge that never opens it is given up. */
  readonly controlTimeoutMs: number
  readonly rpcTimeoutMs: number
  /** The longest that an edge which was told that we leave may keep us from leaving, when nothing is in flight. */
  readonly unregisterTimeoutMs: number
}

export const defaultConnectionLimits: ConnectionLimits = {
  controlTimeoutMs: 10_000,
  rpcTimeoutMs: 5_000,
  unregisterTimeoutMs: 5_000,
}

export interface ConnectionEnd {
  readonly failure: ConnectionFailure
  /** For the log. */
  readonly reason: string
  /** What the edge asked for; 0 for nothing. */
  readonly retryAfterMs: number
}

export type ConnectionState = 'connecting' | 'registering' | 'registered' | 'leaving' | 'ended'

export interface EdgeConnection {
  readonly address: EdgeAddress
  readonly transport: EdgeTransport
  readonly state: ConnectionState
  /** Registered, with its control stream alive, and the edge there to stay. */
  readonly usable: boolean
  /** Once registered. */
  readonly details: ConnectionDetails | undefined
  /** Monotonic milliseconds when the edge was last heard of; -Infinity before the first time. */
  readonly heardAtMs: number
  readonly activeRequests: number
  /** Never rejects. */
  readonly ended: Promise<ConnectionEnd>
  /** Resolves when the edge, registered with as we are, has said that it sends no more requests over this connection. */
  readonly goingAway: Promise<void>
  /** Tells the edge that we leave, and closes once nothing is in flight, however long that takes. */
  retire(): void
  /**
   * Tells the edge that we leave, lets requests in flight finish, and closes. Also after {@link retire}.
   *
   * @returns once the connection has ended; whether everything could finish
   */
  leave(graceMs: number): Promise<boolean>
  /** Ends at once. */
  destroy(): void
}

/**
 * What a tunnel that is not managed remotely reports as its configuration: the routes are ours, and this says so.
 *
 * @see cloudflared, orchestration/orchestrator.go
 */
const localConfiguration = new TextEncoder().encode(
  JSON.stringify({ ingress: [{ service: 'headgate' }], 'warp-routing': {} }),
)

/** From the end of the control stream to that of the connection, where both have one cause. */
const verdictDelayMs = 50

export function openEdgeConnection(options: EdgeConnectionOptions): EdgeConnection {
  const { transport, address, connIndex, timers, events } = options
  const limits = { ...defaultConnectionLimits, ...options.limits }
  let state: ConnectionState = 'connecting'
  let link: EdgeLink | undefined
  let rpc: RpcConnection | undefined
  let details: ConnectionDetails | undefined
  let leaving: Promise<boolean> | undefined
  let farewell: Promise<void> | undefined
  let edgeLeaves = false
  let tellGoingAway: () => void = () => {}
  const goingAway = new Promise<void>((resolve) => (tellGoingAway = resolve))
  let doomed: TimerEntry | undefined
  /** Nothing was in flight when it ended. */
  let whole = true
  let settle: (end: ConnectionEnd) => void = () => {}
  const ended = new Promise<ConnectionEnd>((resolve) => (settle = resolve))
  const watchdog = createTimerEntry(() =>
    end('silent', `the edge opened no control stream within ${limits.controlTimeoutMs} ms`),
  )

  function end(failure: ConnectionFailure, reason: string, retryAfterMs = 0): void {
    if (state === 'ended') return
    const left = state === 'leaving'
    state = 'ended'
    timers.remove(watchdog)
    if (doomed) timers.remove(doomed)
    settle({ failure: left ? 'cancelled' : failure, reason, retryAfterMs })
    rpc?.close()
    link?.destroy()
  }

  async function dial(): Promise<void> {
    try {
      const made = await transport.connect(address, connIndex, { control, goAway, close: linkClosed })
      link = made
      if (state === 'ended') made.destroy()
      // The control stream may have been opened before we had a link to speak of.
      else if (state === 'connecting') timers.arm(watchdog, limits.controlTimeoutMs)
    } catch (error) {
      const failure = error instanceof DialFailure ? error.failure : 'unreachable'
      end(failure, error instanceof Error ? error.message : String(error))
    }
  }

  function linkClosed({ reason, silent }: LinkEnd): void {
    rpc?.lost(reason)
    end(silent ? 'silent' : 'lost', reason)
  }

  /** A registration that is under way may still succeed. */
  function goAway(): void {
    edgeLeaves = true
    if (state === 'registered') tellGoingAway()
  }

  function control(stream: ControlStream): void {
    if (state !== 'connecting') {
      stream.end()
      return
    }
    state = 'registering'
    timers.remove(watchdog)
    const connection = createRpcConnection(
      { write: (message) => stream.write(message), end: () => stream.end() },
      { timers, onClose: controlClosed },
    )
    rpc = connection
    stream.start({
      receive: (bytes, start, until) => connection.receive(bytes, start, until),
      lost: (reason) => connection.lost(reason),
    })
    // The registration carries the link's address; the edge may be faster than the promise of that link.
    queueMicrotask(() => void dialled.then(() => register(connection)))
  }

  /**
   * Without its control stream a connection is of no use, although the edge may keep it open. A stream that is lost may
   * be the first sign of a connection that is: what became of that is worth waiting for.
   */
  function controlClosed(failure: RpcFailure): void {
    if (state !== 'registered' && state !== 'registering') return
    const reason = `the control stream ended: ${describeRpcFailure(failure)}`
    const verdict: ConnectionFailure = state === 'registered' || failure.kind === 'lost' ? 'lost' : 'rpc'
    if (failure.kind === 'lost') {
      doomed = createTimerEntry(() => end(verdict, reason))
      timers.arm(doomed, verdictDelayMs)
    } else end(verdict, reason)
  }

  async function register(connection: RpcConnection): Promise<void> {
    const { auth, tunnelId, client, previousAttempts } = options
    const startedMs = timers.now()
    try {
      const answer = await connection.call(
        registerConnection,
        {
          auth,
          tunnelId,
          connIndex,
          options: {
            client,
            originLocalIp: originIpBytes(link?.local.host ?? ''),
            replaceExisting: false,
            compressionQuality: 0,
            numPreviousAttempts: Math.min(previousAttempts, 255),
          },
        },
        limits.rpcTimeoutMs,
      )
      events.called('register_connection', undefined, timers.now() - startedMs)
      if (state !== 'registering') return
      if (answer.kind === 'error') {
        const { cause, retryAfterMs } = answer.error
        const failure = classifyRegistrationError(answer.error)
        end(failure, `the edge refused the registration: ${printable(cause)}`, retryAfterMs)
        return
      }
      details = answer.details
      state = 'registered'
      events.registered(details)
      if (edgeLeaves) tellGoingAway()
      if (connIndex === 0 && !details.tunnelIsRemotelyManaged) void report(connection)
    } catch (error) {
      const failure = rpcFailureOf(error)
      events.called('register_connection', failure, timers.now() - startedMs)
      if (doomed === undefined) end('rpc', `the registration failed: ${describeRpcFailure(failure)}`)
    }
  }

  /** A courtesy to the dashboard: that it fails is of no consequence. */
  async function report(connection: RpcConnection): Promise<void> {
    const startedMs = timers.now()
    const failure = await connection
      .call(updateLocalConfiguration, localConfiguration, limits.rpcTimeoutMs)
      .then(nothing, rpcFailureOf)
    events.called('update_local_configuration', failure, timers.now() - startedMs)
  }

  async function unregister(timeoutMs: number): Promise<void> {
    state = 'leaving'
    events.unregistering()
    if (rpc === undefined) return
    const startedMs = timers.now()
    const failure = await rpc.call(unregisterConnection, undefined, timeoutMs).then(nothing, rpcFailureOf)
    events.called('unregister_connection', failure, timers.now() - startedMs)
    rpc.close()
  }

  async function retireInOrder(): Promise<void> {
    await (farewell ??= unregister(limits.unregisterTimeoutMs))
    if (leaving === undefined) link?.finish('keep')
  }

  async function leaveInOrder(graceMs: number): Promise<boolean> {
    if ((state !== 'registered' && farewell === undefined) || graceMs <= 0) {
      cutOff('stopped')
      await ended
      return whole
    }
    const deadline = createTimerEntry(() => cutOff('the grace period is over'))
    timers.arm(deadline, graceMs)
    await (farewell ??= unregister(Math.min(graceMs, limits.unregisterTimeoutMs)))
    link?.finish('end')
    await ended
    timers.remove(deadline)
    return whole
  }

  function cutOff(reason: string): void {
    if (state !== 'ended') whole = (link?.activeRequests ?? 0) === 0
    end('cancelled', reason)
  }

  const dialled = dial()

  return {
    address,
    transport,
    ended,
    goingAway,
    get state() {
      return state
    },
    get usable() {
      return state === 'registered' && doomed === undefined && !edgeLeaves
    },
    get details() {
      return details
    },
    get heardAtMs() {
      return link?.heardAtMs ?? -Infinity
    },
    get activeRequests() {
      return link?.activeRequests ?? 0
    },
    retire() {
      if (state === 'registered') void retireInOrder()
    },
    leave: (graceMs) => (leaving ??= leaveInOrder(graceMs)),
    destroy: () => cutOff('stopped'),
  }
}

function nothing(): undefined {
  return undefined
}

function rpcFailureOf(error: unknown): RpcFailure {
  return error instanceof RpcError ? error.failure : { kind: 'protocol', reason: 'internal error' }
}
