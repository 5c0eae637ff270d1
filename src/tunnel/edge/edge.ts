/**
 * A local edge: Cloudflare's end of a tunnel, for tests and for life without an account. Connectors dial its servers
 * and register; eyeballs come in by HTTP/1.1, HTTP/2 and WebSocket, and their requests go down the connections.
 *
 * It is not a door to the world: it binds where it is told to, which should be loopback, and its authority is
 * constrained to the two names that connectors ask for.
 */
import { defaultHttp1Limits } from '../../http1/limits.ts'
import { defaultHttp2Limits } from '../../http2/limits.ts'
import type { Address, Handler, Listener, Runtime, SocketError } from '../../runtime.ts'
import { createHttpServer, listenFor, type HttpServer } from '../../server.ts'
import { type Log } from '../../telemetry.ts'
import { type Timers } from '../../timers.ts'
import { formatUuid } from '../uuid.ts'
import { createEdgeApi } from './api.ts'
import { type Authority, createAuthority, edgeNames } from './authority.ts'
import { type ConnectorConnection, openConnection, type PushResult } from './connection.ts'
import { type ConnectionFaults } from './faults.ts'
import { createFront, type EyeballFetch } from './front.ts'
import { openHttp2Link } from './http2-link.ts'
import { type ConnectorLink, type LinkEvents } from './link.ts'
import { openQuicLink } from './quic-link.ts'
import { createRegistrar, type Registered } from './registrar.ts'
import { type EdgeServer, startServer } from './server.ts'
import { createTunnels, type Tunnel, type TunnelOptions } from './tunnels.ts'

export interface EdgeOptions {
  readonly runtime: Runtime
  readonly timers: Timers
  readonly log: Log
  /** Where connectors dial, one server each. A connector has as many connections as there are, up to its own number. */
  readonly servers?: readonly Address[]
  /** Where eyeballs come in; absent: only {@link Edge.fetch}. */
  readonly eyeballs?: Address | undefined
  /** Where quick tunnels are given out and configurations pushed. */
  readonly api?: Address | undefined
  /** Absent: a new one, whose key stays in memory. */
  readonly authority?: Authority | undefined
  /** Three letters. */
  readonly location?: string
  /** One connection of a connector to each server, as the real edge has it. Default true. */
  readonly refuseDuplicates?: boolean
  /** Of one connector. Default: no limit. */
  readonly registrationsPerMinute?: number
  readonly registrationTimeoutMs?: number
  /** Returns a number in [0, 1). */
  readonly random?: () => number
  /** What is to go wrong with each connection; asked when it is accepted. */
  readonly faults?: FaultPlan
}

/** @param attempt counts connections from 0 */
export type FaultPlan = (connection: {
  readonly server: number
  readonly attempt: number
}) => ConnectionFaults | undefined

export interface Edge {
  readonly servers: readonly EdgeServer[]
  /** PEM, for a connector's `--edge-ca`. */
  readonly certificate: string
  /** Where eyeballs come in. */
  readonly eyeballs: Address | undefined
  readonly api: Address | undefined
  /** In the order they came; closed ones leave. */
  readonly connections: readonly ConnectorConnection[]
  /** What connectors did that the reference client does not, the last hundred. */
  readonly violations: readonly string[]
  /** What is to go wrong with connections from now on. */
  plan: FaultPlan
  /** A new tunnel, with its token. */
  mint(options?: TunnelOptions): Tunnel
  /** An eyeball's request, from inside. */
  readonly fetch: EyeballFetch
  /** Pushes the next version over every connection, or over those of one tunnel. */
  configure(config: unknown, tunnel?: Tunnel): Promise<readonly PushResult[]>
  /** Sends GOAWAY, lets requests finish until the grace period is over, closes everything. */
  close(graceMs?: number): Promise<void>
}

const loopback: Address = { host: '127.0.0.1', port: 0 }
/** As many connections as the reference client wants. */
const defaultServers: readonly Address[] = [loopback, loopback, loopback, loopback]
const maxViolations = 100
/** How often a close in order looks whether everybody has left. */
const idleLookMs = 20

/** An address of the edge's could not be had. */
export class EdgeAddressFailure extends Error {
  /** As it was asked for: the very object. */
  readonly address: Address
  readonly error: SocketError
  constructor(address: Address, error: SocketError) {
    super(error.message)
    this.name = 'EdgeAddressFailure'
    this.address = address
    this.error = error
  }
}

/** @returns rejects with an {@link EdgeAddressFailure} when an address cannot be had, and then nothing is left open */
export async function startEdge(options: EdgeOptions): Promise<Edge> {
  const { runtime, timers, log, location = 'LHR', random = Math.random } = options
  const authority = options.authority ?? (await createAuthority(runtime.clock.wallNow()))
  const tunnels = createTunnels()
  const connections = new Set<ConnectorConnection>()
  const violations: string[] = []
  const servers: EdgeServer[] = []
  const doors: { readonly server: HttpServer; readonly listener: Listener }[] = []
  let attempts = 0
  let configurationVersion = 0

  const report = (violation: string): void => {
    log.warn('the connector breaks the protocol', { violation })
    violations.push(violation)
    if (violations.length > maxViolations) violations.shift()
  }
  const registrar = createRegistrar({
    tunnels,
    timers,
    equal: (a, b) => runtime.equalInConstantTime(a, b),
    location,
    refuseDuplicates: options.refuseDuplicates ?? true,
    registrationsPerMinute: options.registrationsPerMinute ?? Infinity,
    report,
  })
  const fetch = createFront({ tunnels, connections, location, random, log })

  function accept(server: number, open: (faults: ConnectionFaults, events: LinkEvents) => ConnectorLink): void {
    const faults = edge.plan({ server, attempt: attempts++ }) ?? {}
    const connection = openConnection((events) => open(faults, events), {
      server,
      timers,
      random,
      faults,
      registrationTimeoutMs: options.registrationTimeoutMs ?? 10_000,
      report,
      register: (params) => registrar.register(params, server, registered()),
      onRegistered: ({ tunnel, registration, id, protocol }) =>
        log.info('connection registered', {
          tunnel: tunnel?.id,
          connIndex: registration?.connIndex,
          connection: id,
          protocol,
          server,
        }),
      onClose(closed) {
        connections.delete(closed)
        log.info('connection closed', { connection: closed.id, server, reason: closed.reason })
      },
    })
    if (connection.phase !== 'closed') connections.add(connection)
  }

  function* registered(): Generator<Registered> {
    for (const { phase, registration, server, frozen } of connections) {
      if (phase !== 'registered' || !registration || frozen) continue
      const { connIndex, options } = registration
      yield { server, connIndex, clientId: formatUuid(options.client.clientId) }
    }
  }

  async function configure(config: unknown, tunnel?: Tunnel): Promise<readonly PushResult[]> {
    const version = configurationVersion++
    const wanted = [...connections].filter(
      (connection) => connection.phase === 'registered' && (tunnel === undefined || connection.tunnel === tunnel),
    )
    return Promise.all(
      wanted.map(async (connection): Promise<PushResult> => {
        const about = { connection: connection.id!, connIndex: connection.registration!.connIndex }
        try {
          return { ...about, ...(await connection.configure(version, config)) }
        } catch (thrown) {
          const error = thrown instanceof Error ? thrown.message : String(thrown)
          return { ...about, latestAppliedVersion: undefined, error }
        }
      }),
    )
  }

  async function open(at: Address, handler: Handler): Promise<Address> {
    const server = createHttpServer({
      handler,
      timers,
      afterTurn: (f) => runtime.afterTurn(f),
      http1: defaultHttp1Limits,
      http2: defaultHttp2Limits,
      scheme: 'http',
    })
    const listener = await listenFor(server, runtime, at).catch(namedAfter(at))
    doors.push({ server, listener })
    return listener.address
  }

  async function close(graceMs = 0): Promise<void> {
    await Promise.all(servers.map((server) => server.refuse()))
    const closing = doors.map(({ listener }) => listener.close())
    for (const { server } of doors) server.drain()
    if (graceMs > 0) {
      for (const connection of connections) connection.goAway()
      await untilIdle(graceMs)
    }
    for (const connection of connections) connection.close()
    for (const { server } of doors) server.destroy()
    await Promise.all([...closing, ...servers.map((server) => server.close())])
  }

  /** What connectors answered has reached the eyeballs, too. */
  function untilIdle(graceMs: number): Promise<void> {
    const { clock } = runtime
    const isIdle = (): boolean => connections.size === 0 && doors.every(({ server }) => server.connectionCount === 0)
    if (isIdle()) return Promise.resolve()
    const endMs = clock.now() + graceMs
    return new Promise((resolve) => {
      const stopLooking = clock.every(idleLookMs, () => {
        if (!isIdle() && clock.now() < endMs) return
        stopLooking()
        resolve()
      })
    })
  }

  const edge: Edge = {
    servers,
    certificate: authority.certificate,
    eyeballs: undefined,
    api: undefined,
    get connections() {
      return [...connections]
    },
    violations,
    plan: options.faults ?? (() => undefined),
    mint: (tunnel = {}) => tunnels.add(tunnel),
    fetch,
    configure,
    close,
  }

  try {
    const certificates = {
      http2: await authority.issue([edgeNames.http2]),
      quic: await authority.issue([edgeNames.quic]),
    }
    const afterTurn = (f: () => void): void => runtime.afterTurn(f)
    for (const [index, at] of (options.servers ?? defaultServers).entries()) {
      const starting = startServer({
        index,
        at,
        runtime,
        authority,
        certificates,
        report,
        onConnection: (socket) =>
          accept(index, ({ pace }, events) => openHttp2Link(socket, { timers, afterTurn, report, pace }, events)),
        onQuicConnection: (connection) =>
          accept(index, ({ pace }, events) => openQuicLink(connection, { timers, report, pace }, events)),
      })
      servers.push(await starting.catch(namedAfter(at)))
    }
    if (!runtime.listenQuic)
      log.info('this runtime has no QUIC; connectors come over HTTP/2', { runtime: runtime.name })
    const eyeballs = options.eyeballs && (await open(options.eyeballs, (request, exchange) => fetch(request, exchange)))
    const port = eyeballs?.port
    const api = options.api && (await open(options.api, createEdgeApi({ add: tunnels.add, configure, random, port })))
    return Object.assign(edge, { eyeballs, api })
  } catch (error) {
    await close()
    throw error
  }
}

function namedAfter(address: Address): (error: SocketError) => never {
  return (error) => {
    throw new EdgeAddressFailure(address, error)
  }
}
