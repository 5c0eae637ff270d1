/** A local edge and our connector, over real sockets on loopback; what goes wrong between them is the test's choice. */
import { formatAddress } from '../../../src/options/address.ts'
import type { Address, Handler } from '../../../src/runtime.ts'
import { silentLog } from '../../../src/telemetry.ts'
import { createTimers, type Timers } from '../../../src/timers.ts'
import type { ConnectorConnection } from '../../../src/tunnel/edge/connection.ts'
import { type Edge, type EdgeOptions, startEdge } from '../../../src/tunnel/edge/edge.ts'
import { type ConnectionFaults } from '../../../src/tunnel/edge/faults.ts'
import type { Transport } from '../../../src/tunnel/protocol.ts'
import { createTunnel, type Tunnel, type TunnelOptions } from '../../../src/tunnel/tunnel.ts'
import { createRecordedLog, type RecordedLog } from '../../support/recorded-log.ts'
import { quicRuntime as runtime, quicTraits } from '../../support/quic.ts'
import { until } from '../../support/until.ts'
import { createManualTimers } from '../manual-timers.ts'

/** Those that this runtime's connector and this edge both speak. */
export const transports: readonly Transport[] = runtime.connectQuic ? ['http2', 'quic'] : ['http2']

/** Whether both ends can break off a stream at any time, and hear of it. */
export const breaksOff = (protocol: Transport): boolean =>
  protocol === 'http2' || (quicTraits.resets && quicTraits.hearsStop)
/** Whether a reader who takes nothing keeps the writer from writing. */
export const holdsBack = (protocol: Transport): boolean => protocol === 'http2' || quicTraits.flowControl

export const loopback: Address = { host: '127.0.0.1', port: 0 }
/** Of the connector's clock, for each turn that a test waits: a machine that is slow has a clock that is slow. */
const paceMs = 5
/** Less than any wait of the connector's for the sockets, which have real time. */
const stepMs = 40
const realTimers = createTimers(runtime.clock)

export interface SceneOptions {
  readonly protocol: Transport
  /** Answers eyeballs. */
  readonly handler?: Handler
  /** How many servers the edge has. Default 1. */
  readonly servers?: number
  /** What goes wrong with each connection that reaches the edge, from 0. */
  readonly faults?: (attempt: number) => ConnectionFaults | undefined
  readonly edge?: Partial<EdgeOptions>
  readonly connector?: Partial<TunnelOptions>
  /** Before the connector dials. */
  readonly before?: (edge: Edge) => unknown
}

export interface Scene extends AsyncDisposable {
  readonly edge: Edge
  readonly connector: Tunnel
  /** The connector's. */
  readonly log: RecordedLog
  /** The server that each connection came to, in order. */
  readonly attempts: readonly number[]
  /** The newest connection that is registered. */
  readonly connection: ConnectorConnection
  /** Another connector, of the same tunnel unless told otherwise. */
  join(options?: Partial<TunnelOptions>): Tunnel
  /** Lets the connector's clock go on by so much, and both ends say what they have to say. */
  pass(ms: number): Promise<void>
  /** Lets the connector's clock go on until it holds. */
  eventually(holds: () => boolean): Promise<void>
  /** Until so many connections are registered, at both ends. */
  registered(count?: number): Promise<void>
}

const plain: Handler = () => new Response('fine')

/**
 * The connector has a clock of its own, which goes on when it is told to, so that nothing waits for its limits; the
 * edge has the real one. Chance always takes the first choice and the shortest wait. A connector that breaks the
 * protocol fails the test.
 */
export async function openScene(options: SceneOptions): Promise<Scene> {
  const { protocol, handler = plain, servers = 1, faults = () => undefined } = options
  const attempts: number[] = []
  const edge = await startEdge({
    runtime,
    timers: realTimers,
    log: silentLog,
    servers: Array.from({ length: servers }, () => loopback),
    faults: ({ server }) => faults(attempts.push(server) - 1),
    ...options.edge,
  })
  await options.before?.(edge)
  const timers = createManualTimers()
  const log = createRecordedLog()
  const connectorOptions: TunnelOptions = {
    runtime,
    timers: timers satisfies Timers,
    log,
    random: () => 0,
    credentials: options.connector?.credentials ?? edge.mint().credentials,
    credentialOrigin: 'token',
    region: undefined,
    protocol,
    connections: 1,
    edge: edge.servers.map(({ address }) => formatAddress(address)),
    edgeCa: edge.certificate,
    ipVersion: 'auto',
    version: '1.2.3',
    handler,
    needsTrailers: () => false,
    ...options.connector,
  }
  const connectors: Tunnel[] = []
  const join = (more: Partial<TunnelOptions> = {}): Tunnel => {
    const joined = createTunnel({ ...connectorOptions, ...more })
    connectors.push(joined)
    joined.start()
    return joined
  }
  const connector = join()

  const registeredNow = (): readonly ConnectorConnection[] =>
    edge.connections.filter(({ phase }) => phase === 'registered')

  function eventually(holds: () => boolean): Promise<void> {
    return until(() => {
      timers.advance(paceMs)
      return holds()
    })
  }

  async function pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      timers.advance(Math.min(stepMs, left))
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }

  return {
    edge,
    connector,
    log,
    attempts,
    get connection() {
      return registeredNow().at(-1)!
    },
    join,
    pass,
    eventually,
    async registered(count = 1) {
      await eventually(() => connector.ready > 0)
      // The others are started a second apart.
      if (connector.reports.length < count) await pass((count - 1) * 1_000)
      await eventually(() => connector.ready === count && registeredNow().length === count)
    },
    async [Symbol.asyncDispose]() {
      for (const each of connectors) each.destroy()
      await edge.close()
      if (edge.violations.length > 0) throw new Error(`the connector broke the protocol: ${edge.violations.join('; ')}`)
    },
  }
}
