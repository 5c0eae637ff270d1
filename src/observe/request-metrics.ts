/**
 * Counts finished requests. A request costs a few additions; text is made only when somebody scrapes.
 *
 * Labels come from the config alone (hostname patterns, routes, backends), never from a request, so their number is
 * bounded by it; what the config no longer names is forgotten when the next one is applied.
 */
import type { ProxyConfig, Rule } from '../config/proxy-config.ts'
import type { ProxyError } from '../errors.ts'
import type { ProxyStats } from '../proxy/proxy.ts'
import type { RequestRecord } from '../proxy/record.ts'
import type { MetricFamily, MetricSample } from '../telemetry.ts'
import { backendLabel } from './backend-label.ts'
import { createHistogram, observe, samplesOf, type Histogram } from './histogram.ts'

export interface RequestMetrics {
  record(record: RequestRecord): void
  /** Tells which labels are in use from now on. */
  configure(config: ProxyConfig): void
  families(stats: Readonly<ProxyStats>): readonly MetricFamily[]
}

const statusClasses = ['aborted', '1xx', '2xx', '3xx', '4xx', '5xx', 'other'] as const
const errorReasons = ['dial', 'timeout', 'tls', 'canceled', 'ws_dial', 'ws_handshake', 'other'] as const
type ErrorReason = (typeof errorReasons)[number]

interface Series {
  readonly labels: MetricSample['labels']
  readonly byClass: Float64Array
}

interface HostSeries extends Series {
  readonly duration: Histogram
  readonly byReason: Float64Array
  bytesReceived: number
  bytesSent: number
}

/** Without a histogram: ten thousand rules would make a scrape of more than a hundred thousand lines. */
interface RuleSeries extends Series {
  count: number
  sumMs: number
}

interface BackendSeries extends Series {
  readonly duration: Histogram
  retries: number
}

export function createRequestMetrics(): RequestMetrics {
  let hosts = new Map<string, HostSeries>()
  let rules = new Map<string, RuleSeries>()
  let backends = new Map<string, BackendSeries>()
  /** By rule index: the rule's identity in the config, so that a late record of another config is noticed. */
  let ruleOf: readonly Rule[] = []
  let ruleAt: (RuleSeries | undefined)[] = []

  function hostSeries(hostname: string): HostSeries {
    let series = hosts.get(hostname)
    if (series === undefined) {
      series = {
        ...newSeries({ hostname }),
        duration: createHistogram(),
        byReason: new Float64Array(errorReasons.length),
        bytesReceived: 0,
        bytesSent: 0,
      }
      hosts.set(hostname, series)
    }
    return series
  }

  function ruleSeries(record: RequestRecord, index: number): RuleSeries {
    const rule = ruleOf[index]
    if (rule !== undefined && rule.route === record.route && rule.name === record.ruleName) {
      return (ruleAt[index] ??= ruleSeriesOf(rule, index))
    }
    return ruleSeriesOf({ route: record.route, name: record.ruleName }, index)
  }

  function ruleSeriesOf(rule: Pick<Rule, 'route' | 'name'>, index: number): RuleSeries {
    const labels = ruleLabels(rule, index)
    const key = keyOf(labels)
    let series = rules.get(key)
    if (series === undefined) rules.set(key, (series = { ...newSeries(labels), count: 0, sumMs: 0 }))
    return series
  }

  function backendSeries(name: string): BackendSeries {
    let series = backends.get(name)
    if (series === undefined) {
      series = { ...newSeries({ backend: backendLabel(name) }), duration: createHistogram(), retries: 0 }
      backends.set(name, series)
    }
    return series
  }

  return {
    record(record) {
      const { error, backend, ruleIndex } = record
      const durationMs = record.upgraded ? (record.upstreamMs ?? 0) : record.durationMs
      const statusClass = classOf(record.status)
      const host = hostSeries(record.hostname)
      host.byClass[statusClass]!++
      observe(host.duration, durationMs)
      if (!record.upgraded) {
        host.bytesReceived += record.bytesReceived
        host.bytesSent += record.bytesSent
      }
      if (error !== undefined) {
        const reason = reasonOf(error, record)
        if (reason !== undefined) host.byReason[errorReasons.indexOf(reason)]!++
      }
      if (ruleIndex !== undefined) {
        const series = ruleSeries(record, ruleIndex)
        series.byClass[statusClass]!++
        series.count++
        series.sumMs += durationMs
      }
      if (backend !== undefined) {
        const series = backendSeries(backend)
        series.byClass[statusClass]!++
        if (record.upstreamMs !== undefined) observe(series.duration, record.upstreamMs)
        if (record.attempts > 1) series.retries += record.attempts - 1
      }
    },

    configure(config) {
      ruleOf = config.rules
      ruleAt = Array.from({ length: ruleOf.length }) // whole: one with gaps is slow
      hosts = kept(hosts, () => hostnamesOf(config))
      rules = kept(rules, () => config.rules.map((rule, index) => keyOf(ruleLabels(rule, index))))
      backends = kept(backends, () =>
        config.rules.flatMap((rule) => (rule.backends ?? []).map(({ name, url }) => name ?? url)),
      )
    },

    families(stats) {
      return [
        gauge(
          'cftunnel_proxy_requests_in_flight',
          'Requests being served, without upgraded sessions.',
          () => stats.inFlight,
        ),
        gauge('cftunnel_proxy_websocket_active_sessions', 'Upgraded connections that are open.', () => stats.upgraded),
        {
          name: 'cftunnel_proxy_request_duration_seconds',
          help: 'Time from the head of a request to the end of its answer; to the 101 where a connection was upgraded.',
          type: 'histogram',
          *samples() {
            for (const { duration, labels } of hosts.values()) yield* samplesOf(duration, labels)
          },
        },
        byClassFamily('cftunnel_proxy_requests_total', 'Finished requests by matched hostname.', () => hosts.values()),
        {
          name: 'cftunnel_proxy_backend_errors_total',
          help: 'Requests that failed between us and a backend.',
          type: 'counter',
          *samples() {
            for (const { byReason, labels } of hosts.values()) {
              for (const [at, reason] of errorReasons.entries()) {
                if (byReason[at]! > 0) yield { labels: { ...labels, reason }, value: byReason[at]! }
              }
            }
          },
        },
        perHost('cftunnel_proxy_response_bytes_total', 'Body bytes of answers.', ({ bytesSent }) => bytesSent),
        perHost('cftunnel_proxy_request_bytes_total', 'Body bytes of requests.', ({ bytesReceived }) => bytesReceived),
        byClassFamily('headgate_rule_requests_total', 'Finished requests by rule.', () => rules.values()),
        {
          name: 'headgate_rule_request_duration_seconds',
          help: 'Time from the head of a request to the end of its answer, by rule.',
          type: 'summary',
          *samples() {
            for (const { count, sumMs, labels } of rules.values()) {
              yield { suffix: '_sum', labels, value: sumMs / 1000 }
              yield { suffix: '_count', labels, value: count }
            }
          },
        },
        byClassFamily('headgate_backend_requests_total', 'Finished requests by chosen backend.', () =>
          backends.values(),
        ),
        {
          name: 'headgate_backend_response_seconds',
          help: 'Time from the begin of the last attempt to the head of its answer, by backend.',
          type: 'histogram',
          *samples() {
            for (const { duration, labels } of backends.values()) yield* samplesOf(duration, labels)
          },
        },
        {
          name: 'headgate_backend_retries_total',
          help: 'Attempts after the first one, by backend.',
          type: 'counter',
          *samples() {
            for (const { retries, labels } of backends.values()) yield { labels, value: retries }
          },
        },
      ]
    },
  }

  function perHost(name: string, help: string, read: (series: HostSeries) => number): MetricFamily {
    return {
      name,
      help,
      type: 'counter',
      *samples() {
        for (const series of hosts.values()) yield { labels: series.labels, value: read(series) }
      },
    }
  }
}

function newSeries(labels: MetricSample['labels']): Series {
  return { labels, byClass: new Float64Array(statusClasses.length) }
}

function classOf(status: number): number {
  if (status < 100) return 0
  return status < 600 ? Math.trunc(status / 100) : 6
}

function ruleLabels({ route, name = '' }: Pick<Rule, 'route' | 'name'>, index: number): MetricSample['labels'] {
  return route === undefined
    ? { kind: '', namespace: '', route: '', rule: index, name }
    : { kind: route.kind, namespace: route.namespace, route: route.name, rule: route.rule, name }
}

function keyOf(labels: MetricSample['labels']): string {
  return JSON.stringify(Object.values(labels))
}

/** @param inUse asked only where there is something to forget */
function kept<T>(series: Map<string, T>, inUse: () => readonly string[]): Map<string, T> {
  if (series.size === 0) return series
  const names = new Set(inUse())
  return new Map([...series].filter(([name]) => names.has(name)))
}

function hostnamesOf({ rules, listeners = [] }: ProxyConfig): readonly string[] {
  return [
    '',
    ...rules.flatMap(({ hostnames = [] }) => hostnames),
    ...listeners.flatMap(({ hostname }) => hostname ?? []),
  ]
}

/** In the order the predecessor looked: who left, then where it broke. */
function reasonOf(error: ProxyError, record: RequestRecord): ErrorReason | undefined {
  switch (error.kind) {
    case 'downstream-gone':
      return record.backend === undefined ? undefined : 'canceled'
    case 'timeout':
      return 'timeout'
    case 'upstream':
      switch (error.phase) {
        case 'tls':
          return 'tls'
        case 'pool':
        case 'dns':
        case 'connect':
          return record.upgradeAsked ? 'ws_dial' : 'dial'
        default:
          return record.upgradeAsked ? 'ws_handshake' : 'other'
      }
    default:
      return undefined
  }
}

function gauge(name: string, help: string, read: () => number): MetricFamily {
  return { name, help, type: 'gauge', samples: () => [{ labels: {}, value: read() }] }
}

function byClassFamily(name: string, help: string, all: () => Iterable<Series>): MetricFamily {
  return {
    name,
    help,
    type: 'counter',
    *samples() {
      for (const { byClass, labels } of all()) {
        for (const [at, statusClass] of statusClasses.entries()) {
          if (byClass[at]! > 0) yield { labels: { ...labels, status_class: statusClass }, value: byClass[at]! }
        }
      }
    },
  }
}
