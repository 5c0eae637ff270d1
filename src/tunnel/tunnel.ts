/** One tunnel, joined together: credentials, discovery, transports, connector and metrics. */
import { type Http2Limits } from '../http2/limits.ts'
import { type Handler, type Runtime } from '../runtime.ts'
import { type Log, type MetricFamily } from '../telemetry.ts'
import { type Timers } from '../timers.ts'
import { type IpVersion } from './addresses.ts'
import { createConnector, type ConnectionReport } from './connector.ts'
import { type TunnelCredentials } from './credentials.ts'
import { discoverEdge, type EdgeRegions, resolveStaticEdge } from './discovery.ts'
import { querySrvOverTls } from './dns-over-tls.ts'
import { type EdgeTransport } from './edge-link.ts'
import { edgeTrust } from './edge-trust.ts'
import { createHttp2Transport } from './http2-transport.ts'
import { createPercentageSource } from './percentage-source.ts'
import {
  accountThreshold,
  chooseProtocol,
  type ProtocolChoice,
  type ProtocolSetting,
  type Transport,
} from './protocol.ts'
import { createQuicTransport } from './quic-transport.ts'
import { createRemoteConfiguration } from './remote-configuration.ts'
import { createRequestCounts } from './request-counts.ts'
import { type CredentialOrigin } from './token.ts'
import { createTunnelMetrics } from './tunnel-metrics.ts'
import { createUuid, formatUuid } from './uuid.ts'

export interface TunnelOptions {
  readonly runtime: Runtime
  readonly timers: Timers
  readonly log: Log
  /** Returns a number in [0, 1). */
  readonly random: () => number
  readonly credentials: TunnelCredentials
  readonly credentialOrigin: CredentialOrigin
  readonly region: string | undefined
  readonly protocol: ProtocolSetting
  readonly connections: number
  /** `host:port` each; none: the edge is looked for in DNS. */
  readonly edge: readonly string[]
  /** PEM; absent: the system's roots and Cloudflare's. */
  readonly edgeCa: string | undefined
  readonly ipVersion: IpVersion
  /** Our own version. */
  readonly version: string
  /** Answers what comes through the tunnel. */
  readonly handler: Handler
  /** Whether the config has gRPC routes, which need trailers, which QUIC streams do not have. */
  readonly needsTrailers: () => boolean
  /** Of a quick tunnel. */
  readonly publicUrl?: string | undefined
  readonly http2?: Partial<Http2Limits>
}

export interface Tunnel {
  readonly id: string
  readonly connectorId: string
  /** Begins to connect; calling it again does nothing. */
  start(): void
  /** Connections that are registered and were heard of a moment ago. */
  readonly ready: number
  readonly reports: readonly ConnectionReport[]
  /** The config may need trailers now, or no longer. */
  reconsiderProtocol(): void
  /** @returns whether everything in flight could finish within the grace period */
  stop(graceMs: number): Promise<boolean>
  destroy(): void
  families(): readonly MetricFamily[]
}

export function createTunnel(options: TunnelOptions): Tunnel {
  const { runtime, timers, log, random, credentials, handler } = options
  const counts = createRequestCounts()
  const configuration = createRemoteConfiguration((version) =>
    log.info('the edge pushed a configuration; ours is what serves', { version }),
  )
  const id = formatUuid(credentials.tunnelId)
  const metrics = createTunnelMetrics({
    tunnelId: id,
    counts,
    reports: () => connector.reports,
    ready: () => connector.ready,
    configurationVersion: () => configuration.version,
    publicUrl: options.publicUrl,
  })
  const trust = edgeTrust(options.edgeCa)
  const common = { timers, trust, handler, configuration, counts, log }
  const http2 = createHttp2Transport({ ...common, runtime, limits: options.http2 })
  const quic = runtime.connectQuic
    ? createQuicTransport({
        ...common,
        connectQuic: (to, how) => runtime.connectQuic!(to, how),
        onServed: metrics.served,
      })
    : undefined
  const reservation = quic ? runtime.quicReservation : 'this runtime has no QUIC'
  const transports: Readonly<Record<Transport, EdgeTransport>> = { http2, quic: quic ?? http2 }
  const percentages = createPercentageSource({ txt: (name) => runtime.resolver.txt(name), now: () => timers.now() })
  const threshold = accountThreshold(credentials.accountTag)
  const connectorId = createUuid()
  let said = false

  async function choose(): Promise<ProtocolChoice> {
    // A token given directly starts with QUIC, whatever the percentages.
    const asks = options.protocol === 'auto' && options.credentialOrigin !== 'token' && options.edge.length === 0
    if (reservation !== undefined && !said) {
      said = true
      const about = { runtime: runtime.name, reason: reservation }
      if (options.protocol === 'auto') log.info('the tunnel uses HTTP/2', about)
      else if (options.protocol === 'quic') log.warn('QUIC has its faults on this runtime', about)
    }
    return chooseProtocol({
      setting: options.protocol,
      quicAvailable: reservation === undefined,
      needsTrailers: options.needsTrailers(),
      percentages: asks ? await percentages.get() : undefined,
      threshold,
    })
  }

  function discover(): Promise<EdgeRegions> {
    const { resolver } = runtime
    if (options.edge.length > 0) return resolveStaticEdge(options.edge, resolver, log)
    return discoverEdge({
      resolver,
      region: options.region,
      random,
      srvOverTls: (name) =>
        querySrvOverTls(name, {
          connect: (to, how) => runtime.connect(to, how),
          randomId: () => Math.floor(random() * 65_536),
          timers,
        }),
    })
  }

  const connector = createConnector({
    credentials,
    identity: {
      connectorId,
      version: options.version,
      os: runtime.platform.os,
      architecture: runtime.platform.architecture,
    },
    connections: options.connections,
    // Addresses that somebody chose are all meant.
    ipVersion: options.edge.length > 0 ? 'auto' : options.ipVersion,
    discover,
    chooseProtocol: choose,
    transports: (protocol) => transports[protocol],
    timers,
    random,
    log,
    events: metrics.events,
  })

  return {
    id,
    connectorId: formatUuid(connectorId),
    start: () => connector.start(),
    get ready() {
      return connector.ready
    },
    get reports() {
      return connector.reports
    },
    reconsiderProtocol: () => connector.reconsiderProtocol(),
    stop: (graceMs) => connector.stop(graceMs),
    destroy: () => connector.destroy(),
    families: () => metrics.families(),
  }
}
