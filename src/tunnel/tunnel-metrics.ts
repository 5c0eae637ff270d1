/**
 * The tunnel's numbers, under the names that the reference client's users have in their graphs, and ours beside them.
 *
 * @see cloudflared, connection/metrics.go, tunnelrpc/metrics/metrics.go and orchestration/metrics.go
 */
import { type MetricFamily, type MetricSample } from '../telemetry.ts'
import { type ControlMethod } from './connection.ts'
import { type ConnectionFailure } from './connection-failure.ts'
import { type ConnectorEvents } from './connector-events.ts'
import { type ConnectionReport } from './connector.ts'
import { printable } from './printable.ts'
import { type RequestCounts } from './request-counts.ts'

export interface TunnelMetricsOptions {
  readonly tunnelId: string
  readonly counts: RequestCounts
  readonly reports: () => readonly ConnectionReport[]
  readonly ready: () => number
  /** The highest version of a pushed configuration; -1 before the first. */
  readonly configurationVersion: () => number
  /** Of a quick tunnel. */
  readonly publicUrl?: string | undefined
}

export interface TunnelMetrics {
  readonly events: ConnectorEvents
  /** A call of the edge's was answered. */
  served(this: void, method: string, failed: boolean, durationMs: number): void
  families(): readonly MetricFamily[]
}

/** 0.05 · 3^k seconds, as the reference client has them. */
const latencyBounds = [0.05, 0.15, 0.45, 1.35, 4.05]

interface Calls {
  operations: number
  failures: number
  sumSeconds: number
  readonly buckets: number[]
}

/** By the name of the method. */
type CallCounts = Map<string, Calls>

function count(calls: CallCounts, method: string, failed: boolean, durationMs: number): void {
  let known = calls.get(method)
  if (!known) {
    known = { operations: 0, failures: 0, sumSeconds: 0, buckets: latencyBounds.map(() => 0) }
    calls.set(method, known)
  }
  known.operations++
  if (failed) known.failures++
  known.sumSeconds += durationMs / 1000
  for (const [at, bound] of latencyBounds.entries()) if (durationMs / 1000 <= bound) known.buckets[at]!++
}

/** The interface of a method, as the reference client labels it. */
function handlerOf(method: string): string {
  if (method === 'update_configuration') return 'config'
  return method.endsWith('_udp_session') ? 'session' : 'registration'
}

export function createTunnelMetrics(options: TunnelMetricsOptions): TunnelMetrics {
  const { counts, reports } = options
  const calls: CallCounts = new Map()
  const served: CallCounts = new Map()
  const failures = new Map<ConnectionFailure, number>()
  const rpcFailures = new Map<string, { method: ControlMethod; error: string; value: number }>()
  /** The location that each connection was last at. */
  const locations = new Map<number, string>()
  let registered = 0

  const events: ConnectorEvents = {
    registered(connIndex, location) {
      registered++
      locations.set(connIndex, printable(location))
    },
    left: (connIndex) => void locations.delete(connIndex),
    failed: (failure) => void failures.set(failure, (failures.get(failure) ?? 0) + 1),
    called(method, failure, durationMs) {
      count(calls, method, failure !== undefined, durationMs)
      if (failure === undefined) return
      // The kind, not the words: those may be anybody's, and each would be a series of its own.
      const error = failure.kind === 'exception' ? failure.exception.type : failure.kind
      const key = `${method} ${error}`
      const entry = rpcFailures.get(key) ?? { method, error, value: 0 }
      entry.value++
      rpcFailures.set(key, entry)
    },
  }

  const registrationFailures = (): readonly MetricSample[] => {
    const duplicates = failures.get('duplicate') ?? 0
    const others = (['retry-later', 'unauthorized', 'refused'] as const).reduce(
      (sum, failure) => sum + (failures.get(failure) ?? 0),
      0,
    )
    return [
      { labels: { error: 'dup_edge_conn', rpcName: 'registerConnection' }, value: duplicates },
      { labels: { error: 'server_error', rpcName: 'registerConnection' }, value: others },
    ]
  }

  const localConfigurations = (pick: 'operations' | 'failures'): number =>
    calls.get('update_local_configuration')?.[pick] ?? 0

  return {
    events,
    served: (method, failed, durationMs) => count(served, method, failed, durationMs),
    families: () => [
      one('cloudflared_tunnel_ha_connections', 'gauge', 'Edge connections that are registered.', options.ready()),
      family(
        'cloudflared_tunnel_server_locations',
        'gauge',
        'Where each edge connection ends; 1 while it is there.',
        [...locations].map(([index, location]) => ({
          labels: { connection_id: String(index), edge_location: location },
          value: 1,
        })),
      ),
      family('cloudflared_tunnel_tunnel_register_success', 'counter', 'Registrations that the edge accepted.', [
        { labels: { rpcName: 'registerConnection' }, value: registered },
      ]),
      family(
        'cloudflared_tunnel_tunnel_register_fail',
        'counter',
        'Registrations that the edge refused.',
        registrationFailures(),
      ),
      family(
        'cloudflared_tunnel_tunnel_rpc_fail',
        'counter',
        'Calls to the edge that got no answer, or an exception.',
        [...rpcFailures.values()].map(({ method, error, value }) => ({ labels: { error, rpcName: method }, value })),
      ),
      one('cloudflared_tunnel_total_requests', 'counter', 'Requests that came over edge connections.', counts.total),
      one(
        'cloudflared_tunnel_concurrent_requests_per_tunnel',
        'gauge',
        'Requests over edge connections that are being served.',
        counts.concurrent,
      ),
      family(
        'cloudflared_tunnel_max_concurrent_requests_per_tunnel',
        'gauge',
        'The most requests that one edge connection has carried at a time.',
        [...counts.mostConcurrent].map(([index, value]) => ({ labels: { connection_id: String(index) }, value })),
      ),
      family(
        'cloudflared_tunnel_response_by_code',
        'counter',
        'Answers to requests over edge connections, by status.',
        [...counts.byStatus].map(([status, value]) => ({ labels: { status_code: status }, value })),
      ),
      one('cloudflared_tunnel_request_errors', 'counter', 'Requests that the connector itself failed.', counts.errors),
      family(
        'tunnel_ids',
        'gauge',
        'Always 1; the tunnel that each edge connection is for.',
        [...locations.keys()].map((index) => ({
          labels: { tunnel_id: options.tunnelId, ha_conn_id: String(index) },
          value: 1,
        })),
      ),
      one(
        'cloudflared_orchestration_config_version',
        'gauge',
        'The version of the last configuration that the edge pushed; -1 for none.',
        options.configurationVersion(),
      ),
      one(
        'cloudflared_config_local_config_pushes',
        'counter',
        'Reports of our own configuration to the edge.',
        localConfigurations('operations'),
      ),
      one(
        'cloudflared_config_local_config_pushes_errors',
        'counter',
        'Reports of our own configuration that failed.',
        localConfigurations('failures'),
      ),
      ...callFamilies('client', 'Calls to the edge', calls),
      ...callFamilies('server', 'Calls of the edge, over QUIC', served),
      family(
        'cloudflared_tunnel_user_hostnames_counts',
        'counter',
        'The public address of a quick tunnel.',
        options.publicUrl === undefined ? [] : [{ labels: { userHostname: options.publicUrl }, value: 1 }],
      ),
      family(
        'headgate_tunnel_connections',
        'gauge',
        'Edge connections by protocol and state.',
        countReports(reports()),
      ),
      family(
        'headgate_tunnel_connection_failures_total',
        'counter',
        'Edge connections that were lost or could not be had, by reason.',
        [...failures].map(([reason, value]) => ({ labels: { reason }, value })),
      ),
    ],
  }
}

function callFamilies(end: 'client' | 'server', what: string, calls: CallCounts): readonly MetricFamily[] {
  const each = [...calls].map(([method, known]) => ({ labels: { handler: handlerOf(method), method }, ...known }))
  const latencies = each.flatMap(({ labels, operations, sumSeconds, buckets }) => [
    ...latencyBounds.map((le, at) => ({ suffix: '_bucket', labels: { ...labels, le }, value: buckets[at]! })),
    { suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: operations },
    { suffix: '_sum', labels, value: sumSeconds },
    { suffix: '_count', labels, value: operations },
  ])
  const prefix = `cloudflared_rpc_${end}`
  return [
    family(
      `${prefix}_operations`,
      'counter',
      `${what}.`,
      each.map(({ labels, operations }) => ({ labels, value: operations })),
    ),
    family(
      `${prefix}_failures`,
      'counter',
      `${what}, that failed.`,
      each.map(({ labels, failures }) => ({ labels, value: failures })),
    ),
    family(`${prefix}_latency_secs`, 'histogram', `${what}: how long they took.`, latencies),
  ]
}

function countReports(reports: readonly ConnectionReport[]): readonly MetricSample[] {
  const byKind = new Map<string, { labels: { protocol: string; state: string }; value: number }>()
  for (const { protocol, state } of reports) {
    const key = `${protocol} ${state}`
    const entry = byKind.get(key) ?? { labels: { protocol, state }, value: 0 }
    entry.value++
    byKind.set(key, entry)
  }
  return [...byKind.values()]
}

function one(name: string, type: 'counter' | 'gauge', help: string, value: number): MetricFamily {
  return family(name, type, help, [{ labels: {}, value }])
}

function family(
  name: string,
  type: MetricFamily['type'],
  help: string,
  samples: readonly MetricSample[],
): MetricFamily {
  return { name, help, type, samples: () => samples }
}
