/** What is counted besides finished requests. */
import type { ProxyError } from '../errors.ts'
import type { ProxyStats } from '../proxy/proxy.ts'
import type { MetricFamily } from '../telemetry.ts'

export interface ServiceFacts {
  readonly version: string
  readonly runtime: string
  readonly runtimeVersion: string
  /** Client connections that are open. */
  readonly connections: () => number
  readonly stats: Readonly<ProxyStats>
}

export interface ServiceMetrics {
  /** A message that was refused before any rule saw it. */
  refused(error: ProxyError): void
  families(): readonly MetricFamily[]
}

export function createServiceMetrics(facts: ServiceFacts): ServiceMetrics {
  const refusals = new Map<number, number>()
  const { mirrors } = facts.stats
  return {
    refused(error) {
      if (error.kind === 'bad-request') refusals.set(error.status, (refusals.get(error.status) ?? 0) + 1)
    },
    families: () => [
      {
        name: 'headgate_build_info',
        help: 'Always 1; the labels say what runs.',
        type: 'gauge',
        samples: () => [
          {
            labels: { version: facts.version, runtime: facts.runtime, runtime_version: facts.runtimeVersion },
            value: 1,
          },
        ],
      },
      {
        name: 'headgate_connections',
        help: 'Client connections that are open.',
        type: 'gauge',
        samples: () => [{ labels: {}, value: facts.connections() }],
      },
      {
        name: 'headgate_refused_requests_total',
        help: 'Messages that were no acceptable HTTP, or came too slowly, by the status that answered them.',
        type: 'counter',
        samples: () => [...refusals].map(([status, value]) => ({ labels: { status }, value })),
      },
      {
        name: 'headgate_mirrored_requests_total',
        help: 'Copies of requests: sent; of these failed; and dropped, since too many were under way.',
        type: 'counter',
        samples: () => [
          { labels: { result: 'sent' }, value: mirrors.sent },
          { labels: { result: 'failed' }, value: mirrors.failed },
          { labels: { result: 'dropped' }, value: mirrors.dropped },
        ],
      },
    ],
  }
}
