import { formatGoDuration } from './go-duration.ts'
import type { BackendTls, Filter, ProxyConfig, Rule, WireConfig } from './proxy-config.ts'

type WireRule = NonNullable<WireConfig['rules']>[number]

/**
 * The JSON form of a config, which `parseProxyConfig` reads back to an equal config, and which the predecessor's data
 * plane would read too. It holds secrets: show it through `redact`.
 */
export function toWire(config: ProxyConfig): WireConfig {
  return { ...config, rules: config.rules.map(ruleToWire) }
}

function ruleToWire(rule: Rule): WireRule {
  const { timeouts, retry, filters, backends, ...same } = rule
  const wire: WireRule = same
  if (filters !== undefined) wire.filters = filters.map(filterToWire)
  if (backends !== undefined) {
    wire.backends = backends.map(({ tls, filters: own, ...rest }) => ({
      ...rest,
      ...(tls === undefined ? {} : { tls: tlsToWire(tls) }),
      ...(own === undefined ? {} : { filters: own.map(filterToWire) }),
    }))
  }
  if (timeouts !== undefined) {
    wire.timeouts = { request: durationToWire(timeouts.requestMs), backend: durationToWire(timeouts.backendMs) }
  }
  if (retry !== undefined) {
    const { backoffMs, ...rest } = retry
    wire.retry = { ...rest, backoff: durationToWire(backoffMs) }
  }
  return wire
}

function filterToWire(filter: Filter): Filter {
  const mirror = filter.requestMirror
  if (mirror?.tls === undefined) return filter
  return { ...filter, requestMirror: { ...mirror, tls: tlsToWire(mirror.tls) } }
}

function tlsToWire(tls: BackendTls): BackendTls {
  const { clientCertPem, clientKeyPem, ...wire } = tls
  return {
    ...wire,
    ...(clientCertPem === undefined ? {} : { clientCertPem: btoa(clientCertPem) }),
    ...(clientKeyPem === undefined ? {} : { clientKeyPem: btoa(clientKeyPem) }),
  }
}

function durationToWire(durationMs: number | undefined): string | undefined {
  return durationMs === undefined ? undefined : formatGoDuration(durationMs)
}
