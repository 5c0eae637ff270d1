/**
 * Edge connections over HTTP/2: we dial TLS, and then serve on what we dialled.
 *
 * @see cloudflared, connection/http2.go and supervisor/tunnel.go
 */
import { describeError } from '../errors.ts'
import { edgeHttp2Limits, type Http2Limits } from '../http2/limits.ts'
import { createHttp2Server } from '../http2/server.ts'
import { type Handler, type Runtime, type Socket, type SocketError } from '../runtime.ts'
import { type Log } from '../telemetry.ts'
import { type Timers } from '../timers.ts'
import {
  describeSocketError,
  DialFailure,
  type EdgeLink,
  type EdgeLinkEvents,
  type EdgeTransport,
} from './edge-link.ts'
import { type EdgeTrust } from './edge-trust.ts'
import { refusalToEdge } from './http2-answer.ts'
import { createEdgeRequests } from './http2-requests.ts'
import { type RemoteConfiguration } from './remote-configuration.ts'
import { type RequestCounts } from './request-counts.ts'
import { WatchedSocket } from './watched-socket.ts'

export interface Http2TransportOptions {
  readonly runtime: Pick<Runtime, 'connect' | 'afterTurn'>
  readonly timers: Timers
  readonly trust: EdgeTrust
  readonly handler: Handler
  readonly configuration: RemoteConfiguration
  readonly counts: RequestCounts
  readonly log: Log
  /** Where they differ from those that fit an edge. */
  readonly limits?: Partial<Http2Limits> | undefined
}

/** Both ends know that HTTP/2 follows: an offer of protocols (ALPN) would make the edge hang up. */
const servername = 'h2.cftunnel.com'
const dialTimeoutMs = 15_000

export function createHttp2Transport(options: Http2TransportOptions): EdgeTransport {
  const { runtime, trust } = options

  async function dial(host: string, port: number): Promise<Socket> {
    try {
      return await runtime.connect({ host, port }, { timeoutMs: dialTimeoutMs, tls: { servername, ...trust } })
    } catch (error) {
      throw new DialFailure('unreachable', describeSocketError(error as SocketError))
    }
  }

  return {
    protocol: 'http2',
    async connect(to, connIndex, events) {
      return serveLink(await dial(to.host, to.port), connIndex, events, options)
    },
  }
}

function serveLink(
  dialled: Socket,
  connIndex: number,
  events: EdgeLinkEvents,
  options: Http2TransportOptions,
): EdgeLink {
  const { timers, handler, configuration, counts, log } = options
  const limits: Http2Limits = { ...edgeHttp2Limits, ...options.limits }
  let finishing = false
  let silent = false
  const socket = new WatchedSocket(
    dialled,
    () => timers.now(),
    (error) => {
      const ended = silent ? 'the edge gave no sign of life' : 'the edge closed the connection'
      events.close({
        reason: error ? describeSocketError(error) : ended,
        silent: silent || error?.code === 'timeout',
      })
    },
  )
  const requests = createEdgeRequests({
    connIndex,
    handler,
    configuration,
    counts,
    log,
    onControl: (stream) => events.control(stream),
    onIdle: () => {
      if (finishing) server.drain()
    },
  })
  const server = createHttp2Server({
    timers,
    limits,
    scheme: 'https',
    afterTurn: (f) => options.runtime.afterTurn(f),
    handler: requests.handler,
    refuse: refusalToEdge,
    onError: (error) => log.warn('edge connection: a request failed', { error: describeError(error) }),
    onGoAway: () => events.goAway(),
    onSilent: () => (silent = true),
  })
  server.accept(socket)
  return {
    local: socket.local,
    get heardAtMs() {
      return socket.heardAtMs
    },
    get activeRequests() {
      return requests.active
    },
    finish(sessions) {
      finishing = true
      if (sessions === 'end') requests.closeSessions()
      if (requests.active === 0) server.drain()
    },
    destroy: () => server.destroy(),
  }
}
