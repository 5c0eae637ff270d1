/** Joins the rooms: a config from its source, the proxy on its addresses, the admin API beside it. */
import { createAdmin } from './admin/app.ts'
import type { RenderedMetrics } from './admin/control.ts'
import { createConfigControl, type ConfigControl } from './control/config-control.ts'
import { bind, untilDrained } from './control/doors.ts'
import { readAdminTls, readToken } from './control/operator-files.ts'
import { StartRefusal } from './control/start-refusal.ts'
import { readTunnelAccess, type TunnelAccess } from './control/tunnel-access.ts'
import { describeError, type ProxyError } from './errors.ts'
import { defaultHttp1Limits, type Http1Limits } from './http1/limits.ts'
import { defaultHttp2Limits, type Http2Limits } from './http2/limits.ts'
import { createAccessLog } from './observe/access-log.ts'
import { createFloodLog } from './observe/flood-log.ts'
import { createRequestMetrics, type RequestMetrics } from './observe/request-metrics.ts'
import { createServiceMetrics } from './observe/service-metrics.ts'
import { optionTable, type Options } from './options.ts'
import { isLoopbackHost } from './options/address.ts'
import { createProxy, type Proxy } from './proxy/proxy.ts'
import type { RequestRecord } from './proxy/record.ts'
import { toResponse } from './proxy/respond.ts'
import type { Address, Entrance, Handler, Listener, Runtime } from './runtime.ts'
import { alpnProtocols, createHttpServer, type HttpServer } from './server.ts'
import { createConfigFileSource } from './sources/config-file.ts'
import { createManifestSource } from './sources/manifests.ts'
import { originConfig } from './sources/origin.ts'
import type { Source } from './sources/source.ts'
import { createStateDirectory, type StateDirectory } from './sources/state-directory.ts'
import { followSource, type Follower } from './sources/follow.ts'
import type { LineSink, Log, MetricFamily } from './telemetry.ts'
import { createTimers, type Timers } from './timers.ts'
import { createTunnel, type Tunnel } from './tunnel/tunnel.ts'

/** What the host brings besides a {@link Runtime}. */
export interface Companions {
  readonly log: Log
  /** Where the access log goes. */
  readonly accessLog: LineSink
  /** Writes metrics as text, with those of the process. Absent: there is no `/metrics`. */
  readonly renderMetrics?: ((families: readonly MetricFamily[]) => Promise<RenderedMetrics>) | undefined
  /** Where the config comes from, instead of what the options say. */
  readonly source?: Source | undefined
  /** The tunnel to connect to, instead of what the options say. */
  readonly tunnel?: TunnelAccess | undefined
  /** Our own version. */
  readonly version: string
}

export interface Entry {
  readonly address: Address
  readonly entrance: Entrance | undefined
}

export interface Service {
  readonly entries: readonly Entry[]
  readonly admin: Address
  readonly proxy: Proxy
  /** Where requests come from, beside the entries. */
  readonly tunnel: Pick<Tunnel, 'id' | 'connectorId' | 'ready' | 'reports'> | undefined
  /** Of a quick tunnel. */
  readonly publicUrl: string | undefined
  /**
   * Not ready any more, accepts nothing more, waits for what is in flight, but no longer than the grace period.
   *
   * @returns once everything is closed; whether everything in flight could finish
   */
  stop(): Promise<boolean>
  /** Ends what is in flight at once; a `stop()` under way then returns. */
  abort(): void
}

/** @returns rejects with a {@link StartRefusal}, and then nothing is left open */
export async function start(options: Options, runtime: Runtime, companions: Companions): Promise<Service> {
  const { log, version } = companions
  const { clock, files } = runtime
  const token = await readToken(options, runtime)
  const adminTls = await readAdminTls(options, runtime)
  const source = companions.source ?? sourceOf(options, runtime)
  const state = source || options.origin !== undefined ? undefined : await openState(options, runtime)
  const access = companions.tunnel ?? (await readTunnelAccess(options, runtime, version, log))
  const timers = createTimers(clock)
  const onLoopback = isLoopbackHost(options.admin.host)
  const metrics = options.metrics && companions.renderMetrics ? createRequestMetrics() : undefined
  const proxy = createProxyOf(options, runtime, timers, {
    log,
    ...recorderOf(options, companions, metrics),
    allowLoopbackBackends:
      options.allowLoopbackBackends ?? (source !== undefined || options.origin !== undefined || onLoopback),
  })
  const control = createConfigControl({
    proxy,
    clock,
    log,
    files: options.origin === undefined ? source : { kind: 'origin', paths: [options.origin] },
    state,
    onApplied(config) {
      metrics?.configure(config)
      if (tunnel && config.hasGrpcRoute && options.protocol === 'quic')
        log.warn('gRPC fails in the tunnel: QUIC streams have no trailers; leave --protocol quic out')
      tunnel?.reconsiderProtocol()
      connectTunnel()
    },
  })
  let opened = false
  let draining = false
  const tunnel = access && createTunnelOf(options, access, runtime, timers, { proxy, log, version })

  /** Not before there is something to serve: a fresh replica must not answer what others could serve. */
  function connectTunnel(): void {
    if (opened && !draining && (proxy.config || options.serveEmpty)) tunnel?.start()
  }

  const follower = source && followSource(files, source, (loaded) => control.load(loaded))
  if (options.origin !== undefined) control.load(originConfig(options.origin))
  await loadFirst(control, follower)

  const servers: HttpServer[] = []
  const connectionCount = (): number => servers.reduce((sum, server) => sum + server.connectionCount, 0)
  const serviceMetrics = createServiceMetrics({
    version,
    runtime: runtime.name,
    runtimeVersion: runtime.version,
    connections: connectionCount,
    stats: proxy.stats,
  })
  const common = {
    timers,
    afterTurn: (f: () => void) => runtime.afterTurn(f),
    refuse: toResponse,
    http1: http1LimitsOf(options),
    http2: http2LimitsOf(options),
    onFlood: createFloodLog(log, timers),
  }

  const adminServer = createHttpServer({
    ...common,
    handler: adminHandler(),
    onError: (error) => log.debug('admin request refused', { error: describeError(error) }),
    scheme: adminTls ? 'https' : 'http',
  })

  function adminHandler(): Handler {
    const { renderMetrics } = companions
    const families = (): readonly MetricFamily[] => [
      ...serviceMetrics.families(),
      ...control.families(),
      ...metrics!.families(proxy.stats),
      ...(tunnel?.families() ?? []),
    ]
    return createAdmin({
      onLoopback,
      token,
      equalInConstantTime: (a, b) => runtime.equalInConstantTime(a, b),
      bodyLimitBytes: options.adminBodyLimitBytes,
      log,
      metrics: metrics && renderMetrics ? () => renderMetrics(families()) : undefined,
      control: {
        ...control,
        readiness() {
          if (draining) return { ready: false, reason: 'draining' }
          if (!proxy.config && !options.serveEmpty) return { ready: false, reason: 'no config loaded' }
          if (tunnel?.ready === 0) return { ready: false, reason: 'no connection to the edge' }
          return { ready: true }
        },
        connector: tunnel && (() => ({ readyConnections: tunnel.ready, connectorId: tunnel.connectorId })),
        describe: () => ({
          draining,
          inFlight: proxy.stats.inFlight,
          upgraded: proxy.stats.upgraded,
          ...(tunnel && { tunnel: describeTunnel(tunnel) }),
          ...control.describe(),
        }),
      },
    })
  }

  const listeners: Listener[] = []
  const entries: Entry[] = []

  async function open(): Promise<Address> {
    for (const { address, entrance } of listenOf(options, access)) {
      const server = createHttpServer({
        ...common,
        handler: proxy.fetch,
        scheme: 'http',
        entrance,
        onError(error: ProxyError, peer: Address) {
          serviceMetrics.refused(error)
          if (error.kind !== 'bad-request') log.error('request failed', { error: describeError(error) })
          else log.debug('request refused', { error: describeError(error), peer: peer.host })
        },
      })
      const listener = await bind(runtime, address, {}, server, '--listen')
      listeners.push(listener)
      servers.push(server)
      entries.push({ address: listener.address, entrance })
    }
    const listener = await bind(
      runtime,
      options.admin,
      adminTls ? { tls: { ...adminTls, alpn: alpnProtocols } } : {},
      adminServer,
      '--admin',
    )
    listeners.push(listener)
    return listener.address
  }

  let admin: Address
  try {
    admin = await open()
  } catch (error) {
    follower?.close()
    proxy.close()
    await Promise.all(listeners.map((listener) => listener.close()))
    throw error
  }
  proxy.setOwnListeners([...entries.map(({ address }) => address), admin])
  const doors = listeners.slice(0, -1)
  const adminDoor = listeners.at(-1)!

  if (!onLoopback && token === undefined) {
    log.warn('the admin API has no token and is not on loopback: /config is closed; set HEADGATE_AUTH_TOKEN')
  }

  opened = true
  connectTunnel()
  if (tunnel && !proxy.config && !options.serveEmpty) log.info('the tunnel waits for the first config')

  function destroyClients(): void {
    for (const server of servers) server.destroy()
    tunnel?.destroy()
  }

  async function drain(): Promise<boolean> {
    draining = true
    log.info('draining', { connections: connectionCount() })
    follower?.close()
    const closed = doors.map((listener) => listener.close())
    for (const server of servers) server.drain()
    const [served, left] = await Promise.all([
      untilDrained(runtime, connectionCount, options.gracePeriodMs),
      tunnel?.stop(options.gracePeriodMs) ?? true,
    ])
    const inTime = served && left
    if (!inTime) log.warn('the grace period is over; what was in flight is cut off')
    destroyClients()
    proxy.close()
    const adminClosed = adminDoor.close()
    adminServer.drain()
    adminServer.destroy()
    await Promise.all([...closed, adminClosed])
    log.info('stopped')
    return inTime
  }

  let stopped: Promise<boolean> | undefined
  let aborted = false
  return {
    entries,
    admin,
    proxy,
    tunnel,
    publicUrl: access?.publicUrl,
    stop: () => (stopped ??= drain().then((inTime) => inTime && !aborted)),
    abort() {
      aborted ||= connectionCount() > 0
      aborted ||= tunnel?.reports.some(({ activeRequests }) => activeRequests > 0) ?? false
      destroyClients()
    },
  }
}

/** Requests come through the tunnel, and by an address as well where somebody asks for one. */
function listenOf({ listen }: Options, access: TunnelAccess | undefined): Options['listen'] {
  return access && listen === optionTable.listen.fallback ? [] : listen
}

function createTunnelOf(
  options: Options,
  access: TunnelAccess,
  runtime: Runtime,
  timers: Timers,
  { proxy, log, version }: { readonly proxy: Proxy; readonly log: Log; readonly version: string },
): Tunnel {
  const { edgeIpVersion } = options
  return createTunnel({
    runtime,
    timers,
    log,
    random: Math.random,
    credentials: access.credentials,
    credentialOrigin: access.origin,
    region: access.region,
    protocol: options.protocol,
    // A quick tunnel is for trying things out: one connection, as the reference client has it.
    connections: options.quick ? 1 : options.connections,
    edge: options.edge,
    edgeCa: access.edgeCa,
    publicUrl: access.publicUrl,
    ipVersion: edgeIpVersion === 'auto' ? 'auto' : edgeIpVersion === '4' ? 4 : 6,
    version,
    handler: proxy.fetch,
    needsTrailers: () => proxy.config?.hasGrpcRoute === true,
  })
}

function describeTunnel({ id, connectorId, ready, reports }: Tunnel): Readonly<Record<string, unknown>> {
  return { id, connectorId, readyConnections: ready, connections: reports }
}

function sourceOf(options: Options, { files }: Runtime): Source | undefined {
  const { manifests, config, gatewayClass, clusterDomain } = options
  if (manifests.length > 0) {
    return createManifestSource(files, manifests, {
      clusterDomain,
      ...(gatewayClass === undefined ? {} : { gatewayClass }),
    })
  }
  return config === undefined ? undefined : createConfigFileSource(files, config)
}

/** Whether a config can be kept is found out now, and not when the first one has been pushed. */
async function openState(options: Options, { files, clock }: Runtime): Promise<StateDirectory | undefined> {
  if (options.stateDir === undefined) return undefined
  const state = createStateDirectory(files, clock, options.stateDir, options.stateMaxAgeMs)
  try {
    await state.probe()
  } catch (error) {
    throw new StartRefusal([
      `--state-dir cannot be written to: ${(error as Error).message}. Choose a folder of this user's, or leave it out.`,
    ])
  }
  return state
}

async function loadFirst(control: ConfigControl, follower: Follower | undefined): Promise<void> {
  if (follower === undefined) {
    await control.restore()
    return
  }
  const loaded = await follower.first
  if (loaded.problems) {
    follower.close()
    throw new StartRefusal(loaded.problems)
  }
  control.load(loaded)
}

function createProxyOf(
  options: Options,
  runtime: Runtime,
  timers: Timers,
  rest: Pick<Parameters<typeof createProxy>[0], 'log' | 'onRecord' | 'allowLoopbackBackends'>,
): Proxy {
  return createProxy({
    ...rest,
    runtime,
    timers,
    entrances: options.listen.flatMap(({ entrance }) => entrance ?? []),
    pathNormalization: options.pathNormalization,
    trustedProxies: options.trustedProxies,
    pool: {
      connectTimeoutMs: options.connectTimeoutMs,
      idleTimeoutMs: options.backendIdleTimeoutMs,
      maxConnections: options.backendMaxConnections,
      maxWaiting: options.backendMaxWaiting,
    },
    http1: {
      bodyStallTimeoutMs: options.stallTimeoutMs,
      writeStallTimeoutMs: options.stallTimeoutMs,
      upgradeTimeoutMs: options.upgradeTimeoutMs,
      upgradeIdleTimeoutMs: options.upgradeIdleTimeoutMs,
    },
  })
}

function http1LimitsOf(options: Options): Http1Limits {
  return {
    ...defaultHttp1Limits,
    maxHeadBytes: options.maxHeadBytes,
    maxFieldLineBytes: Math.min(defaultHttp1Limits.maxFieldLineBytes, options.maxHeadBytes),
    maxFieldLines: options.maxFieldLines,
    headTimeoutMs: options.headTimeoutMs,
    idleTimeoutMs: options.idleTimeoutMs,
    bodyStallTimeoutMs: options.stallTimeoutMs,
    writeStallTimeoutMs: options.stallTimeoutMs,
    halfClosedTimeoutMs: options.halfClosedTimeoutMs,
    upgradeIdleTimeoutMs: options.upgradeIdleTimeoutMs,
  }
}

function http2LimitsOf(options: Options): Http2Limits {
  return {
    ...defaultHttp2Limits,
    maxHeaderListBytes: options.maxHeadBytes,
    maxFieldLines: options.maxFieldLines,
    headTimeoutMs: options.headTimeoutMs,
    idleTimeoutMs: options.idleTimeoutMs,
    bodyStallTimeoutMs: options.stallTimeoutMs,
    writeStallTimeoutMs: options.stallTimeoutMs,
  }
}

function recorderOf(
  options: Options,
  companions: Companions,
  metrics: RequestMetrics | undefined,
): { onRecord?: (record: RequestRecord) => void } {
  const accessLog = options.accessLog
    ? createAccessLog({
        sampling: options.accessLogSampling,
        query: options.accessLogQuery,
        sink: companions.accessLog,
      })
    : undefined
  if (!accessLog) return metrics ? { onRecord: (record) => metrics.record(record) } : {}
  return {
    onRecord(record) {
      metrics?.record(record)
      accessLog(record)
    },
  }
}
