/**
 * Edge connections over QUIC, on runtimes that have it: we open the control stream, the edge opens one for each request
 * and for each call that it makes.
 *
 * @see cloudflared, connection/quic_connection.go
 */
import { type ProxyError } from '../errors.ts'
import { type ClosableWebSocket, goingAway } from '../http/websocket.ts'
import {
  type Handler,
  type QuicConnection,
  type QuicOptions,
  type QuicStream,
  type Runtime,
  type SocketError,
} from '../runtime.ts'
import { type Log } from '../telemetry.ts'
import { createTimerEntry, type Timers } from '../timers.ts'
import { MalformedMessageError } from './capnp.ts'
import {
  updateConfiguration,
  type UpdateConfigurationParams,
  type UpdateConfigurationResponse,
} from './configuration-manager.ts'
import {
  type ControlStream,
  describeSocketError,
  DialFailure,
  type EdgeLink,
  type EdgeLinkEvents,
  type EdgeTransport,
} from './edge-link.ts'
import { type EdgeTrust } from './edge-trust.ts'
import { type DataStream, serveDataStream } from './quic-request.ts'
import { type RemoteConfiguration } from './remote-configuration.ts'
import { countRequest, type RequestCounts } from './request-counts.ts'
import { createRpcConnection, type RpcConnection } from './rpc.ts'
import { observed, serveMethod, type ServedMethod } from './rpc-method.ts'
import { refusedUdpSessions } from './session-manager.ts'
import { type ConnectRequest, createOpeningReader, readConnectRequest } from './stream-metadata.ts'

export interface QuicTransportOptions {
  readonly connectQuic: NonNullable<Runtime['connectQuic']>
  readonly timers: Timers
  readonly trust: EdgeTrust
  readonly handler: Handler
  readonly configuration: RemoteConfiguration
  readonly counts: RequestCounts
  readonly log: Log
  /** A call of the edge's was answered; for metrics. */
  readonly onServed?: (method: string, failed: boolean, durationMs: number) => void
}

const servername = 'quic.cftunnel.com'
const alpn = 'argotunnel'
const handshakeTimeoutMs = 10_000
const idleTimeoutMs = 5_000
const keepAliveMs = 1_000
/** A call of the edge's, from its first byte to its last. */
const rpcStreamTimeoutMs = 5_000
/** From a stream's first byte to the end of its opening. */
const openingTimeoutMs = 10_000
/**
 * A close throws away what has not arrived, and nothing says what has. After the last answer the edge closes, which
 * knows; where it does not, we wait so long.
 */
const lingerMs = 2_000

export function createQuicTransport(options: QuicTransportOptions): EdgeTransport {
  const { timers, configuration, log, onServed = () => {} } = options
  const methods = [serveMethod(updateConfiguration, configure), ...refusedUdpSessions].map((method) =>
    observed(method, () => timers.now(), onServed),
  )

  function configure(params: UpdateConfigurationParams): UpdateConfigurationResponse {
    try {
      return configuration.update(params)
    } catch (thrown) {
      log.warn('configuration push not understood', { error: thrown instanceof Error ? thrown.message : 'unknown' })
      throw thrown
    }
  }

  async function dial(host: string, port: number): Promise<QuicConnection> {
    const how: QuicOptions = {
      tls: { servername, alpn: [alpn], ...options.trust },
      timeoutMs: handshakeTimeoutMs,
      idleTimeoutMs,
      keepAliveMs,
    }
    try {
      return await options.connectQuic({ host, port }, how)
    } catch (error) {
      const failure = error as SocketError
      // Dropped without a word, or not let out at all: UDP does not get through, and another address won't help.
      const blocked = failure.code === 'timeout' || failure.code === 'denied'
      throw new DialFailure(blocked ? 'quic-blocked' : 'unreachable', describeSocketError(failure))
    }
  }

  return {
    protocol: 'quic',
    async connect(to, connIndex, events) {
      const connection = await dial(to.host, to.port)
      return runLink(connection, connIndex, events, methods, { ...options, timers })
    },
  }
}

function runLink(
  connection: QuicConnection,
  connIndex: number,
  events: EdgeLinkEvents,
  methods: readonly ServedMethod[],
  options: QuicTransportOptions,
): EdgeLink {
  const { timers, counts, handler, log } = options
  const { local, remote } = connection
  const sessions = new Set<ClosableWebSocket>()
  let active = 0
  let finishing = false
  let closed = false
  /** How requests end with their streams. */
  let ending: ProxyError = { kind: 'downstream-gone' }
  const lingering = createTimerEntry(() => connection.close())

  const begin = (): ((end: { readonly status: number; bytesReceived: number; bytesSent: number }) => void) => {
    active++
    timers.remove(lingering)
    const over = countRequest(counts, connIndex, active)
    return (end) => {
      active--
      over(end)
      settle()
    }
  }

  function settle(): void {
    if (finishing && active === 0 && !closed) timers.arm(lingering, lingerMs)
  }

  connection.attach({
    stream: (stream) => readOpening(stream),
    close(error) {
      if (closed) return
      closed = true
      timers.remove(lingering)
      events.close({
        reason: error ? describeSocketError(error) : 'the edge closed the connection',
        silent: error?.code === 'timeout',
      })
    },
  })
  connection.openStream().then(
    (stream) => events.control(controlStreamOf(stream)),
    () => connection.close(),
  )

  /** Tells by its first bytes what a stream is for. */
  function readOpening(stream: QuicStream): void {
    const reader = createOpeningReader()
    let served: DataStream | undefined
    let rpc: RpcConnection | undefined
    let given = false
    const giveUp = (): void => {
      given = true
      timers.remove(timer)
      stream.reset(true)
      stream.stopReading()
    }
    const timer = createTimerEntry(() => (rpc ? rpc.close() : giveUp()))
    timers.arm(timer, openingTimeoutMs)

    const open = (): void => {
      const { opening } = reader
      if (opening === undefined) return
      if (opening.kind === 'rpc') {
        timers.arm(timer, rpcStreamTimeoutMs)
        rpc = createRpcConnection(rpcStreamOf(stream), { timers, methods, onClose: () => timers.remove(timer) })
        return
      }
      timers.remove(timer)
      let request: ConnectRequest
      try {
        request = readConnectRequest(opening.message)
      } catch {
        giveUp()
        return
      }
      served = serveDataStream(stream, request, { handler, timers, counts, log, local, peer: remote, begin, sessions })
      given = served === undefined
    }

    stream.attach({
      data(bytes, start, end) {
        let at = start
        if (!given && !served && !rpc) {
          try {
            at += reader.push(bytes, at, end)
          } catch (error) {
            if (!(error instanceof MalformedMessageError)) throw error
            giveUp()
            return true
          }
          open()
        }
        if (given || at === end) return true
        if (served) return served.data(bytes, at, end)
        rpc?.receive(bytes, at, end)
        return true
      },
      end() {
        if (served) served.end()
        else if (rpc) rpc.lost('the edge ended the stream')
        else if (!given) giveUp()
      },
      drain: () => served?.drain(),
      reset() {
        timers.remove(timer)
        served?.lost(ending)
        rpc?.lost('the edge reset the stream')
      },
      stopped: () => served?.lost(ending),
    })
  }

  return {
    local,
    get heardAtMs() {
      // A silent edge is closed upon after 5 s, so whatever is open was heard of a moment ago.
      return closed ? -Infinity : timers.now()
    },
    get activeRequests() {
      return active
    },
    finish(how) {
      finishing = true
      if (how === 'end') for (const session of sessions) session.close(goingAway)
      settle()
    },
    destroy() {
      ending = { kind: 'cut-off' }
      connection.close()
    },
  }
}

/** The edge knows the first stream for what it is: no signature. */
function controlStreamOf(stream: QuicStream): ControlStream {
  return {
    write: (message) => void stream.write(message),
    end() {
      stream.end()
      stream.stopReading()
    },
    start(events) {
      let lost = false
      const lose = (reason: string): void => {
        if (lost) return
        lost = true
        events.lost(reason)
      }
      stream.attach({
        data(bytes, start, end) {
          events.receive(bytes, start, end)
          return true
        },
        end: () => lose('the edge ended the control stream'),
        drain() {},
        reset: () => lose('the edge reset the control stream'),
        stopped: () => lose('the edge stopped reading the control stream'),
      })
    },
  }
}

function rpcStreamOf(stream: QuicStream): { write(message: Uint8Array): void; end(): void } {
  return {
    write: (message) => void stream.write(message),
    end() {
      stream.end()
      stream.stopReading()
    },
  }
}
