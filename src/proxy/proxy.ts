/**
 * The proxy: a Handler, and the config that it serves.
 *
 * One request is served from one snapshot; a new config is compiled beside it and takes its place by one assignment.
 */
import { createBackends, type Backends } from '../backends/backends.ts'
import { createDialPolicy, type DialPolicy } from '../backends/dial-policy.ts'
import { defaultPoolLimits, type PoolLimits } from '../backends/pool.ts'
import type { ConfigIssue } from '../config/issues.ts'
import type { ProxyConfig } from '../config/proxy-config.ts'
import { describeError, errorOf } from '../errors.ts'
import { asEngineRequest } from '../http/request.ts'
import { defaultHttp1Limits, type Http1Limits } from '../http1/limits.ts'
import type { PathNormalization } from '../routing/path.ts'
import type { Entrance } from '../routing/table.ts'
import type { Address, Clock, Handler, Runtime } from '../runtime.ts'
import { silentLog, type Log } from '../telemetry.ts'
import { createTimers, type Timers } from '../timers.ts'
import { createClientPolicy } from './client-facts.ts'
import type { ProxyContext } from './context.ts'
import { genuineResponse } from './genuine-response.ts'
import { createMirrors, defaultMirrorLimits, type MirrorLimits, type MirrorStats } from './mirror.ts'
import type { RequestRecord } from './record.ts'
import { toResponse } from './respond.ts'
import { compileSnapshot, type Snapshot } from './snapshot.ts'
import { Transaction } from './transaction.ts'

export interface ProxyOptions {
  readonly runtime: Runtime
  readonly timers?: Timers
  readonly log?: Log
  readonly onRecord?: (record: RequestRecord) => void
  /** What requests will come in by. Others are served too, at the cost of compiling them when they first appear. */
  readonly entrances?: readonly Entrance[]
  readonly pathNormalization?: PathNormalization
  /** CIDR ranges of proxies in front of us whose word on the client is believed. */
  readonly trustedProxies?: readonly string[]
  /** Default false: a route must not reach into the node. */
  readonly allowLoopbackBackends?: boolean
  /** Our own listeners, which must not be dialled. */
  readonly ownListeners?: readonly Address[]
  readonly pool?: Partial<PoolLimits>
  /** Limits for answers of backends. */
  readonly http1?: Partial<Http1Limits>
  readonly mirror?: Partial<MirrorLimits>
  readonly random?: () => number
}

export interface ProxyStats {
  /** Requests being served, upgraded sessions not counted. */
  inFlight: number
  /** Upgraded sessions (WebSocket and others) that are open. */
  upgraded: number
  readonly mirrors: Readonly<MirrorStats>
}

export interface Proxy {
  /**
   * Serves a request. Never rejects for anything that a client, config or backend can do.
   *
   * A request without its {@link Exchange} (library use) is a stranger's whose address nobody knows. It is answered with
   * a platform Response. When it is over, nobody says, so it leaves no record and is not counted.
   */
  readonly fetch: Handler
  /** Compiles and swaps in a config, then drains the pools that it no longer names. Never throws. */
  apply(config: ProxyConfig): readonly ConfigIssue[]
  readonly config: ProxyConfig | undefined
  readonly stats: Readonly<ProxyStats>
  /** Addresses that are ours from now on. */
  setOwnListeners(listeners: readonly Address[]): void
  setAllowLoopbackBackends(allow: boolean): void
  /** Closes idle connections to backends, and each other one when its exchange is over. */
  close(): void
}

/** @throws TypeError for a trusted proxy that is no address or range */
export function createProxy(options: ProxyOptions): Proxy {
  const { runtime, log = silentLog, entrances = [], random = Math.random } = options
  const timers = options.timers ?? createTimers(runtime.clock)
  let policyOptions = {
    allowLoopback: options.allowLoopbackBackends ?? false,
    ownListeners: options.ownListeners ?? [],
  }
  let policy: DialPolicy = createDialPolicy(policyOptions)
  const backends: Backends = createBackends({
    runtime,
    timers,
    random,
    limits: { ...defaultPoolLimits, ...options.pool },
    http1: { ...defaultHttp1Limits, ...options.http1 },
    policy: () => policy,
  })
  const mirrors = createMirrors(timers, log, { ...defaultMirrorLimits, ...options.mirror })
  const stats: ProxyStats = { inFlight: 0, upgraded: 0, mirrors: mirrors.stats }
  const context: ProxyContext = {
    timers,
    wallMs: createWallClock(runtime.clock),
    random,
    clients: createClientPolicy({ trustedProxies: options.trustedProxies ?? [], viaName: viaName() }),
    pathNormalization: options.pathNormalization ?? 'resolve',
    onRecord: options.onRecord && guarded(options.onRecord, log),
    mirror: (request, backend, client) => mirrors.send(request, backend, client),
    stats,
  }
  let active: Snapshot | undefined // replaced whole, never edited

  return {
    stats,
    get config() {
      return active?.config
    },
    fetch(request, exchange) {
      let own: Request
      try {
        own = asEngineRequest(request)
      } catch {
        const answer = toResponse({ kind: 'bad-request', status: 400, reason: 'not an http or https URL' }, request)
        return exchange ? answer : genuineResponse(answer)
      }
      const transaction = new Transaction(context, active, own, exchange, exchange ? undefined : request.signal)
      if (!exchange) {
        const answer = transaction.run()
        return answer instanceof Promise ? answer.then(genuineResponse) : genuineResponse(answer)
      }
      stats.inFlight++
      exchange.onFinish((outcome) => transaction.finished(outcome))
      return transaction.run()
    },
    apply(config) {
      const { snapshot, diagnostics } = compileSnapshot(config, backends, entrances)
      active = snapshot
      backends.retain(snapshot.used)
      return diagnostics
    },
    setOwnListeners(ownListeners) {
      policyOptions = { ...policyOptions, ownListeners }
      policy = createDialPolicy(policyOptions)
    },
    setAllowLoopbackBackends(allowLoopback) {
      policyOptions = { ...policyOptions, allowLoopback }
      policy = createDialPolicy(policyOptions)
    },
    close: () => backends.drain(),
  }
}

/** Whoever reads the records must not break the traffic that they are about. */
function guarded(onRecord: (record: RequestRecord) => void, log: Log): (record: RequestRecord) => void {
  return (record) => {
    try {
      onRecord(record)
    } catch (thrown) {
      log.error('a request record was lost', { reason: describeError(errorOf(thrown)) })
    }
  }
}

/** A name that no other process has, so that only our own loops are found. */
function viaName(): string {
  return `headgate-${Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, '0')).join('')}`
}

/** Asks for the time of day once a second at most: it may be set, and asking costs as much as a few header look-ups. */
function createWallClock({ now, wallNow }: Clock): (atMs: number) => number {
  let offsetMs = 0
  let validUntilMs = -Infinity
  return (atMs) => {
    if (atMs >= validUntilMs) {
      const nowMs = now()
      offsetMs = wallNow() - nowMs
      validUntilMs = nowMs + 1_000
    }
    return offsetMs + atMs
  }
}
