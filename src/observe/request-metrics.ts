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
import { CounterRows } from './counters.ts'
import { histogramWidth, observe, samplesOf } from './histogram.ts'

export interface RequestMetrics {
  record(record: RequestRecord): void
  /** Tells which labels are in use from now on. */
  configure(config: ProxyConfig): void
  families(stats: Readonly<ProxyStats>): readonly MetricFamily[]
}

const statusClasses = ['aborted', '1xx', '2xx', '3xx', '4xx', '5xx', 'other'] as const
const errorReasons = ['dial', 'timeout', 'tls', 'canceled', 'ws_dial', 'ws_handshake', 'other'] as const
type ErrorReason = (typeof errorReasons)[number]

// What stands where in a row. Every row begins with one number for each status class.
const classes = statusClasses.length
const hostRow = {
  duration: classes,
  reasons: classes + histogramWidth,
  bytesReceived: classes + histogramWidth + errorReasons.length,
  bytesSent: classes + histogramWidth + errorReasons.length + 1,
  width: classes + histogramWidth + errorReasons.length + 2,
} as const
/** Without a histogram: ten thousand rules would make a scrape of more than a hundred thousand lines. */
const ruleRow = { sumMs: classes, width: classes + 1 } as const
const backendRow = {
  duration: classes,
  retries: classes + histogramWidth,
  width: classes + histogramWidth + 1,
} as const

export function createRequestMetrics(): RequestMetrics {
  let hosts = new CounterRows(hostRow.width)
  let rules = new CounterRows(ruleRow.width)
  let backends = new CounterRows(backendRow.width)
  let current: ProxyConfig | undefined
  /** By rule index in the current config: where its row is; -1 while it has none. */
  let offsetOf = new Int32Array(0)

  function ruleOffset({ config, rule }: RequestRecord, index: number): number {
    // A record may come late, of a config before this one.
    const known = config === current && config !== undefined
    if (known && offsetOf[index]! >= 0) return offsetOf[index]!
    const labels = ruleLabels(rule ?? {}, index)
    const offset = rules.offset(keyOf(labels), () => labels)
    if (known) offsetOf[index] = offset
    return offset
  }

  return {
    record(record) {
      const { error, backend, ruleIndex } = record
      const durationMs = record.upgraded ? (record.upstreamMs ?? 0) : record.durationMs
      const statusClass = classOf(record.status)
      const host = hosts.offset(record.hostname, hostLabels)
      const ofHost = hosts.values
      ofHost[host + statusClass]!++
      observe(ofHost, host + hostRow.duration, durationMs)
      if (!record.upgraded) {
        ofHost[host + hostRow.bytesReceived]! += record.bytesReceived
        ofHost[host + hostRow.bytesSent]! += record.bytesSent
      }
      if (error !== undefined) {
        const reason = reasonOf(error, record)
        if (reason !== undefined) ofHost[host + hostRow.reasons + errorReasons.indexOf(reason)]!++
      }
      if (ruleIndex !== undefined) {
        const rule = ruleOffset(record, ruleIndex)
        rules.values[rule + statusClass]!++
        rules.values[rule + ruleRow.sumMs]! += durationMs
      }
      if (backend !== undefined) {
        const offset = backends.offset(backend, backendLabels)
        const ofBackend = backends.values
        ofBackend[offset + statusClass]!++
        if (record.upstreamMs !== undefined) observe(ofBackend, offset + backendRow.duration, record.upstreamMs)
        if (record.attempts > 1) ofBackend[offset + backendRow.retries]! += record.attempts - 1
      }
    },

    configure(config) {
      current = config
      offsetOf = new Int32Array(config.rules.length).fill(-1)
      hosts = hosts.kept(() => hostnamesOf(config))
      rules = rules.kept(() => config.rules.map((rule, index) => keyOf(ruleLabels(rule, index))))
      backends = backends.kept(() =>
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
            for (const { labels, values } of hosts.rows()) yield* samplesOf(values, hostRow.duration, labels)
          },
        },
        byClassFamily('cftunnel_proxy_requests_total', 'Finished requests by matched hostname.', () => hosts),
        {
          name: 'cftunnel_proxy_backend_errors_total',
          help: 'Requests that failed between us and a backend.',
          type: 'counter',
          *samples() {
            for (const { labels, values } of hosts.rows()) {
              for (const [at, reason] of errorReasons.entries()) {
                const value = values[hostRow.reasons + at]!
                if (value > 0) yield { labels: { ...labels, reason }, value }
              }
            }
          },
        },
        counter('cftunnel_proxy_response_bytes_total', 'Body bytes of answers.', () => hosts, hostRow.bytesSent),
        counter('cftunnel_proxy_request_bytes_total', 'Body bytes of requests.', () => hosts, hostRow.bytesReceived),
        byClassFamily('headgate_rule_requests_total', 'Finished requests by rule.', () => rules),
        {
          name: 'headgate_rule_request_duration_seconds',
          help: 'Time from the head of a request to the end of its answer, by rule.',
          type: 'summary',
          *samples() {
            for (const { labels, values } of rules.rows()) {
              yield { suffix: '_sum', labels, value: values[ruleRow.sumMs]! / 1000 }
              yield { suffix: '_count', labels, value: values.subarray(0, classes).reduce((sum, count) => sum + count) }
            }
          },
        },
        byClassFamily('headgate_backend_requests_total', 'Finished requests by chosen backend.', () => backends),
        {
          name: 'headgate_backend_response_seconds',
          help: 'Time from the begin of the last attempt to the head of its answer, by backend.',
          type: 'histogram',
          *samples() {
            for (const { labels, values } of backends.rows()) yield* samplesOf(values, backendRow.duration, labels)
          },
        },
        counter(
          'headgate_backend_retries_total',
          'Attempts after the first one, by backend.',
          () => backends,
          backendRow.retries,
        ),
      ]
    },
  }
}

function hostLabels(hostname: string): MetricSample['labels'] {
  return { hostname }
}

function backendLabels(name: string): MetricSample['labels'] {
  return { backend: backendLabel(name) }
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

/** @param at which number of a row */
function counter(name: string, help: string, table: () => CounterRows, at: number): MetricFamily {
  return {
    name,
    help,
    type: 'counter',
    *samples() {
      for (const { labels, values } of table().rows()) yield { labels, value: values[at]! }
    },
  }
}

function byClassFamily(name: string, help: string, table: () => CounterRows): MetricFamily {
  return {
    name,
    help,
    type: 'counter',
    *samples() {
      for (const { labels, values } of table().rows()) {
        for (const [at, statusClass] of statusClasses.entries()) {
          if (values[at]! > 0) yield { labels: { ...labels, status_class: statusClass }, value: values[at]! }
        }
      }
    },
  }
}
