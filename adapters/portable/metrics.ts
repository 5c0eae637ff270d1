/** Metrics as text, by prom-client. It is loaded with the first scrape: most of our start-up time would be its own. */
import type { Metric, Registry } from 'prom-client'
import type { RenderedMetrics } from '../../src/admin/control.ts'
import type { MetricFamily } from '../../src/telemetry.ts'

/** @returns renders families, and what the process says of itself (`process_*`, `nodejs_*`) */
export function createMetricsRenderer(): (families: readonly MetricFamily[]) => Promise<RenderedMetrics> {
  let opened: Promise<{ process: Registry; newRegistry: () => Registry }> | undefined
  return async (families) => {
    const { process, newRegistry } = await (opened ??= open())
    const registry = newRegistry()
    for (const family of families) registry.registerMetric(metricOf(family))
    const texts = await Promise.all([registry.metrics(), process.metrics()])
    return { contentType: registry.contentType, text: texts.join('\n') }
  }
}

async function open(): Promise<{ process: Registry; newRegistry: () => Registry }> {
  const { Registry, collectDefaultMetrics } = await import('prom-client')
  const process = new Registry()
  collectDefaultMetrics({ register: process })
  return { process, newRegistry: () => new Registry() }
}

/** prom-client asks a metric for its values when it renders; it need not have counted them. */
function metricOf({ name, help, type, samples }: MetricFamily): Metric {
  const get = (): object => ({
    name,
    help,
    type,
    values: Array.from(samples(), ({ suffix = '', labels, value }) => ({ metricName: name + suffix, labels, value })),
  })
  return { name, help, get } as unknown as Metric
}
