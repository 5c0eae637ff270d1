import { describe, expect, test } from 'vitest'
import { countRequest, createRequestCounts } from '../../src/tunnel/request-counts.ts'
import { createTunnelMetrics, type TunnelMetrics } from '../../src/tunnel/tunnel-metrics.ts'
import { formatSample } from '../support/service.ts'

function createScene(publicUrl?: string) {
  const counts = createRequestCounts()
  const metrics = createTunnelMetrics({
    tunnelId: 'f174e90a-fafe-4643-bbbc-4a0ed4fc8415',
    counts,
    reports: () => [
      { index: 0, state: 'registered', protocol: 'http2', activeRequests: 0, failures: 0 },
      { index: 1, state: 'registered', protocol: 'http2', activeRequests: 0, failures: 0 },
      { index: 2, state: 'waiting', protocol: 'quic', activeRequests: 0, failures: 3 },
    ],
    ready: () => 2,
    configurationVersion: () => 7,
    publicUrl,
  })
  return { counts, metrics }
}

function textOf(metrics: TunnelMetrics): string {
  return metrics
    .families()
    .flatMap(({ name, samples }) => Array.from(samples(), (sample) => formatSample(name, sample)))
    .join('')
}

describe('names that are in people’s graphs', () => {
  test('connections: how many, where, for which tunnel', () => {
    const { metrics } = createScene()
    metrics.events.registered(0, 'LIS')
    metrics.events.registered(1, 'MAD\n')
    metrics.events.left(0)
    const text = textOf(metrics)
    expect(text).toContain('cloudflared_tunnel_ha_connections 2\n')
    expect(text).toContain('cloudflared_tunnel_server_locations{connection_id="1",edge_location="MAD "} 1\n')
    expect(text).not.toContain('edge_location="LIS"')
    expect(text).toContain('tunnel_ids{tunnel_id="f174e90a-fafe-4643-bbbc-4a0ed4fc8415",ha_conn_id="1"} 1\n')
    expect(text).toContain('cloudflared_tunnel_tunnel_register_success{rpcName="registerConnection"} 2\n')
    expect(text).toContain('cloudflared_orchestration_config_version 7\n')
    expect(text).toContain('headgate_tunnel_connections{protocol="http2",state="registered"} 2\n')
    expect(text).toContain('headgate_tunnel_connections{protocol="quic",state="waiting"} 1\n')
  })

  test.each([
    ['duplicate', 'cloudflared_tunnel_tunnel_register_fail{error="dup_edge_conn",rpcName="registerConnection"} 1'],
    ['unauthorized', 'cloudflared_tunnel_tunnel_register_fail{error="server_error",rpcName="registerConnection"} 1'],
    ['refused', 'cloudflared_tunnel_tunnel_register_fail{error="server_error",rpcName="registerConnection"} 1'],
    ['lost', 'cloudflared_tunnel_tunnel_register_fail{error="server_error",rpcName="registerConnection"} 0'],
    ['lost', 'headgate_tunnel_connection_failures_total{reason="lost"} 1'],
  ] as const)('a connection that was %s: %s', (failure, line) => {
    const { metrics } = createScene()
    metrics.events.failed(failure)
    expect(textOf(metrics)).toContain(`${line}\n`)
  })

  test('calls: how many, how long, and what became of them; never the peer’s words', () => {
    const { metrics } = createScene()
    metrics.events.called('register_connection', undefined, 100)
    metrics.events.called('register_connection', { kind: 'timeout', timeoutMs: 5_000 }, 5_000)
    const exception = { type: 'failed', reason: 'anything at all' } as const
    metrics.events.called('unregister_connection', { kind: 'exception', exception }, 10)
    const text = textOf(metrics)
    const labels = 'handler="registration",method="register_connection"'
    expect(text).toContain(`cloudflared_rpc_client_operations{${labels}} 2\n`)
    expect(text).toContain(`cloudflared_rpc_client_failures{${labels}} 1\n`)
    expect(text).toContain(`cloudflared_rpc_client_latency_secs_bucket{${labels},le="0.05"} 0\n`)
    expect(text).toContain(`cloudflared_rpc_client_latency_secs_bucket{${labels},le="0.15"} 1\n`)
    expect(text).toContain(`cloudflared_rpc_client_latency_secs_bucket{${labels},le="+Inf"} 2\n`)
    expect(text).toContain(`cloudflared_rpc_client_latency_secs_sum{${labels}} 5.1\n`)
    expect(text).toContain('cloudflared_tunnel_tunnel_rpc_fail{error="timeout",rpcName="register_connection"} 1\n')
    expect(text).toContain('cloudflared_tunnel_tunnel_rpc_fail{error="failed",rpcName="unregister_connection"} 1\n')
    expect(text).not.toContain('anything')
  })

  test('calls of the edge: under the interface that each belongs to', () => {
    const { metrics } = createScene()
    metrics.served('update_configuration', false, 1)
    metrics.served('update_configuration', true, 200)
    metrics.served('register_udp_session', false, 1)
    metrics.served('unregister_udp_session', true, 1)
    const text = textOf(metrics)
    const labels = 'handler="config",method="update_configuration"'
    expect(text).toContain(`cloudflared_rpc_server_operations{${labels}} 2\n`)
    expect(text).toContain(`cloudflared_rpc_server_failures{${labels}} 1\n`)
    expect(text).toContain(`cloudflared_rpc_server_latency_secs_bucket{${labels},le="0.05"} 1\n`)
    expect(text).toContain(`cloudflared_rpc_server_latency_secs_bucket{${labels},le="0.45"} 2\n`)
    expect(text).toContain(`cloudflared_rpc_server_latency_secs_count{${labels}} 2\n`)
    const session = (method: string) => `{handler="session",method="${method}"}`
    expect(text).toContain(`cloudflared_rpc_server_failures${session('register_udp_session')} 0\n`)
    expect(text).toContain(`cloudflared_rpc_server_failures${session('unregister_udp_session')} 1\n`)
    expect(text).not.toMatch(/rpc_client_operations\{/)
  })

  test('reports of our own configuration', () => {
    const { metrics } = createScene()
    expect(textOf(metrics)).toContain('cloudflared_config_local_config_pushes 0\n')
    metrics.events.called('update_local_configuration', undefined, 10)
    metrics.events.called('update_local_configuration', { kind: 'timeout', timeoutMs: 5_000 }, 5_000)
    expect(textOf(metrics)).toContain('cloudflared_config_local_config_pushes 2\n')
    expect(textOf(metrics)).toContain('cloudflared_config_local_config_pushes_errors 1\n')
  })

  test('the address of a quick tunnel, where it is one', () => {
    const url = 'https://some-words.trycloudflare.com'
    expect(textOf(createScene(url).metrics)).toContain(
      `cloudflared_tunnel_user_hostnames_counts{userHostname="${url}"} 1\n`,
    )
    expect(textOf(createScene().metrics)).not.toContain('user_hostnames_counts')
  })

  test('requests: all, those under way, the most at a time, and by status', () => {
    const { counts, metrics } = createScene()
    const ends = [1, 2, 3].map((concurrent) => countRequest(counts, 1, concurrent))
    ends[0]!({ status: 200, bytesReceived: 0, bytesSent: 0 })
    ends[1]!({ status: 0, bytesReceived: 0, bytesSent: 0, error: { kind: 'downstream-gone' } })
    const text = textOf(metrics)
    expect(text).toContain('cloudflared_tunnel_total_requests 3\n')
    expect(text).toContain('cloudflared_tunnel_concurrent_requests_per_tunnel 1\n')
    expect(text).toContain('cloudflared_tunnel_max_concurrent_requests_per_tunnel{connection_id="1"} 3\n')
    expect(text).toContain('cloudflared_tunnel_response_by_code{status_code="200"} 1\n')
    expect(text).not.toContain('status_code="0"')
  })
})
