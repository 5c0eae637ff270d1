import { describe, expect, test } from 'vitest'
import type { ProxyConfig } from '../../src/config/proxy-config.ts'
import { parseProxyConfig } from '../../src/config/proxy-config.ts'
import type { ProxyError } from '../../src/errors.ts'
import { headOf } from '../../src/http/head.ts'
import { createAccessLog, formatRecord } from '../../src/observe/access-log.ts'
import { backendLabel } from '../../src/observe/backend-label.ts'
import { CounterRows } from '../../src/observe/counters.ts'
import { histogramWidth, observe, samplesOf } from '../../src/observe/histogram.ts'
import { createRequestMetrics } from '../../src/observe/request-metrics.ts'
import type { RequestRecord } from '../../src/proxy/record.ts'
import { formatSample } from '../support/service.ts'

function recordOf(change: Partial<RequestRecord> = {}): RequestRecord {
  return {
    startedAtWallMs: Date.UTC(2026, 0, 1),
    durationMs: 12.3456,
    upstreamMs: 7,
    method: 'GET',
    host: 'shop.example.com',
    path: '/cart',
    query: 'token=hunter2',
    httpVersion: '1.1',
    client: '192.0.2.7',
    head: headOf([['user-agent', 'curl/8']]),
    status: 200,
    bytesReceived: 10,
    bytesSent: 20,
    upgraded: false,
    upgradeAsked: false,
    hostname: '*.example.com',
    rule: {},
    ruleIndex: 0,
    config: undefined,
    backend: 'shop/cart:80',
    endpoint: '10.0.0.1:8080',
    attempts: 1,
    flags: [],
    error: undefined,
    ...change,
  }
}

function configOf(rules: unknown[]): ProxyConfig {
  const { config, issues } = parseProxyConfig({ version: 1, rules })
  if (!config) throw new Error(JSON.stringify(issues))
  return config
}

describe('the access log', () => {
  test("has the predecessor's fields first, under its names", () => {
    const fields = JSON.parse(formatRecord(recordOf(), true)) as Record<string, unknown>
    expect(Object.entries(fields).slice(0, 11)).toEqual([
      ['time', '2026-01-01T00:00:00.012Z'],
      ['level', 'INFO'],
      ['msg', 'access'],
      ['method', 'GET'],
      ['host', 'shop.example.com'],
      ['path', '/cart'],
      ['query', 'token=hunter2'],
      ['status', 200],
      ['bytes_written', 20],
      ['duration_ms', 12.346],
      ['user_agent', 'curl/8'],
    ])
  })

  test('then what else is known; what is not known is left out', () => {
    const route = { kind: 'HTTPRoute', namespace: 'shop', name: 'cart', rule: 2 }
    const error: ProxyError = { kind: 'upstream', phase: 'connect', cause: 'refused', reason: 'ECONNREFUSED' }
    const head = headOf([['cf-ray', '8f2a-FRA']])
    const line = formatRecord(
      recordOf({ rule: { route }, head, error, status: 503, flags: ['R', 'U'], attempts: 2, endpoint: undefined }),
      false,
    )
    expect(JSON.parse(line)).toMatchObject({
      client: '192.0.2.7',
      http_version: '1.1',
      bytes_read: 10,
      hostname: '*.example.com',
      route: 'HTTPRoute/shop/cart',
      rule: 2,
      backend: 'shop/cart:80',
      attempts: 2,
      upstream_ms: 7,
      cf_ray: '8f2a-FRA',
      flags: 'RU',
      error: 'upstream connect: ECONNREFUSED',
    })
    expect(line).not.toMatch(/endpoint|upgraded|user_agent|null/)
  })

  test('has no query unless it is asked for', () => {
    expect(formatRecord(recordOf(), false)).not.toContain('hunter2')
  })

  test.each([
    ['a path that would end the line', { path: '/a"\r\n{"msg":"access"}' }],
    ['a path that goes on and on', { path: `/${'x'.repeat(100_000)}` }],
  ])('is one line of bounded length for %s', (_, change) => {
    const line = formatRecord(recordOf(change), false)
    expect(line.indexOf('\n')).toBe(line.length - 1)
    expect(line.length).toBeLessThan(5000)
  })

  test.each([
    [200, 0.1, 0.09, 1],
    [200, 0.1, 0.1, 0],
    [404, 0, 0, 0],
    [500, 0, 0.99, 1],
    [503, 0.1, 0.99, 1],
    [200, 1, 0.999, 1],
  ])('status %i, sampled at %f, drawn %f: %i lines', (status, sampling, drawn, count) => {
    const lines: string[] = []
    const log = createAccessLog({
      sampling,
      query: false,
      sink: { write: (line) => lines.push(line) },
      random: () => drawn,
    })
    log(recordOf({ status }))
    expect(lines).toHaveLength(count)
  })

  test.each([0, 200])('what we cut off with status %i is logged whatever the sampling', (status) => {
    const lines: string[] = []
    const log = createAccessLog({ sampling: 0, query: false, sink: { write: (line) => lines.push(line) } })
    log(recordOf({ status, error: { kind: 'cut-off' } }))
    log(recordOf({ status, error: { kind: 'downstream-gone' } }))
    expect(lines).toHaveLength(1)
  })
})

test.each([
  ['shop/cart:80', 'shop/cart:80'],
  ['http://cart.shop.svc:80/base', 'http://cart.shop.svc:80/base'],
  ['https://user:hunter2@b.example/x?key=hunter2', 'https://b.example/x'],
])('a backend %s is labelled %s', (name, label) => {
  expect(backendLabel(name)).toBe(label)
})

test('a histogram is cumulative, its bounds included, in seconds', () => {
  const values = new Float64Array(histogramWidth + 2).fill(7, 0, 1).fill(7, histogramWidth + 1)
  for (const durationMs of [5, 6, 60_000]) observe(values, 1, durationMs)
  expect([values[0], values.at(-1)]).toEqual([7, 7]) // its neighbours'
  const samples = [...samplesOf(values, 1, { hostname: 'a' })].map((sample) => formatSample('x', sample))
  expect(samples).toEqual([
    'x_bucket{hostname="a",le="0.005"} 1\n',
    ...['0.01', '0.025', '0.05', '0.1', '0.25', '0.5', '1', '2.5', '5', '10', '30'].map(
      (bound) => `x_bucket{hostname="a",le="${bound}"} 2\n`,
    ),
    'x_bucket{hostname="a",le="+Inf"} 3\n',
    'x_sum{hostname="a"} 60.011\n',
    'x_count{hostname="a"} 3\n',
  ])
})

test('rows of counters stay what they are when there are many more, and when some are forgotten', () => {
  const labels = (key: string): { key: string } => ({ key })
  const told = (table: CounterRows): [string, number, number][] =>
    [...table.rows()].map(({ labels: { key }, values: [a, b] }) => [String(key), a!, b!])
  const table = new CounterRows(2)
  for (let i = 0; i < 100; i++) {
    const at = table.offset(`k${i}`, labels)
    table.values[at] = i
    table.values[at + 1] = -i
  }
  table.values[table.offset('k3', labels)]! += 0.5
  expect(told(table)).toEqual(Array.from({ length: 100 }, (_, i) => [`k${i}`, i === 3 ? 3.5 : i, -i]))
  const kept = table.kept(() => ['k90', 'k3', 'other'])
  expect(told(kept)).toEqual([
    ['k3', 3.5, -3],
    ['k90', 90, -90],
  ])
  expect(kept.offset('k91', labels)).toBe(4)
  expect(kept.values.slice(4, 6)).toEqual(new Float64Array(2))
})

describe('metrics of requests', () => {
  const stats = { inFlight: 2, upgraded: 1, mirrors: { sent: 0, dropped: 0, failed: 0 } }

  /** Everything but histograms, after some records. */
  function countersOf(records: readonly RequestRecord[], config: ProxyConfig = configOf([])): string {
    const metrics = createRequestMetrics()
    metrics.configure(config)
    for (const record of records) metrics.record(record)
    return metrics
      .families(stats)
      .filter(({ type }) => type === 'counter' || type === 'gauge')
      .flatMap(({ name, samples }) => Array.from(samples(), (sample) => formatSample(name, sample)))
      .join('')
  }

  test("the predecessor's series, and those of rule and backend", () => {
    const config = configOf([
      { hostnames: ['*.example.com'], name: 'cart', backends: [{ url: 'http://b', weight: 1 }] },
    ])
    expect(countersOf([recordOf({ rule: { name: 'cart' }, attempts: 3 })], config)).toBe(
      [
        'cftunnel_proxy_requests_in_flight 2',
        'cftunnel_proxy_websocket_active_sessions 1',
        'cftunnel_proxy_requests_total{hostname="*.example.com",status_class="2xx"} 1',
        'cftunnel_proxy_response_bytes_total{hostname="*.example.com"} 20',
        'cftunnel_proxy_request_bytes_total{hostname="*.example.com"} 10',
        'headgate_rule_requests_total{kind="",namespace="",route="",rule="0",name="cart",status_class="2xx"} 1',
        'headgate_backend_requests_total{backend="shop/cart:80",status_class="2xx"} 1',
        'headgate_backend_retries_total{backend="shop/cart:80"} 2',
        '',
      ].join('\n'),
    )
  })

  test.each([
    [0, 'aborted'],
    [101, '1xx'],
    [304, '3xx'],
    [404, '4xx'],
    [599, '5xx'],
    [600, 'other'],
    [999, 'other'],
  ])('status %i counts as %s', (status, statusClass) => {
    expect(countersOf([recordOf({ status })])).toContain(`{hostname="*.example.com",status_class="${statusClass}"} 1`)
  })

  const upstream = (phase: 'dns' | 'connect' | 'tls' | 'head'): ProxyError => ({
    kind: 'upstream',
    phase,
    cause: 'closed',
    reason: '',
  })
  test.each<[string, ProxyError, Partial<RequestRecord>]>([
    ['dial', upstream('connect'), {}],
    ['dial', upstream('dns'), {}],
    ['tls', upstream('tls'), {}],
    ['other', upstream('head'), {}],
    ['timeout', { kind: 'timeout', limit: 'request', timeoutMs: 1 }, {}],
    ['canceled', { kind: 'downstream-gone' }, {}],
    ['ws_dial', upstream('connect'), { upgradeAsked: true }],
    ['ws_handshake', upstream('head'), { upgradeAsked: true }],
  ])('a backend error of reason %s: %o', (reason, error, change) => {
    expect(countersOf([recordOf({ ...change, error })])).toContain(
      `cftunnel_proxy_backend_errors_total{hostname="*.example.com",reason="${reason}"} 1`,
    )
  })

  test.each<[string, Partial<RequestRecord>]>([
    ['no rule', { error: { kind: 'no-route' } }],
    ['a request that we cut off', { error: { kind: 'cut-off' }, status: 0 }],
    ['a client that left before a backend was chosen', { error: { kind: 'downstream-gone' }, backend: undefined }],
  ])('%s is no error of a backend', (_, change) => {
    expect(countersOf([recordOf(change)])).not.toContain('backend_errors')
  })

  test('bytes of upgraded sessions are left out, and their time is that to the 101', () => {
    const metrics = createRequestMetrics()
    metrics.record(
      recordOf({ upgraded: true, status: 101, durationMs: 3_600_000, upstreamMs: 4, ruleIndex: undefined }),
    )
    const text = metrics
      .families(stats)
      .flatMap(({ name, samples }) => Array.from(samples(), (sample) => formatSample(name, sample)))
      .join('')
    expect(text).toContain('cftunnel_proxy_request_duration_seconds_sum{hostname="*.example.com"} 0.004\n')
    expect(text).toContain('cftunnel_proxy_response_bytes_total{hostname="*.example.com"} 0\n')
  })

  test('the time of a rule, as sum and count', () => {
    const metrics = createRequestMetrics()
    const config = configOf([{ name: 'cart' }])
    metrics.configure(config)
    for (const durationMs of [250, 500]) metrics.record(recordOf({ rule: config.rules[0]!, config, durationMs }))
    const family = metrics.families(stats).find(({ name }) => name === 'headgate_rule_request_duration_seconds')!
    expect(family.type).toBe('summary')
    expect(Array.from(family.samples(), ({ suffix, value }) => [suffix, value])).toEqual([
      ['_sum', 0.75],
      ['_count', 2],
    ])
  })

  describe('labels are bounded by the config', () => {
    const ruleOf = (name: string): unknown => ({
      hostnames: [`${name}.example.com`],
      route: { kind: 'HTTPRoute', namespace: 'ns', name },
    })
    const served = (config: ProxyConfig, ruleIndex: number): RequestRecord => {
      const rule = config.rules[ruleIndex]!
      return recordOf({ hostname: rule.hostnames![0]!, rule, ruleIndex, config })
    }

    test('what the next config does not name is forgotten, what it names goes on', () => {
      const first = configOf([ruleOf('a'), ruleOf('b')])
      const second = configOf([ruleOf('b'), ruleOf('c')])
      const metrics = createRequestMetrics()
      metrics.configure(first)
      metrics.record(served(first, 0))
      metrics.record(served(first, 1))
      metrics.configure(second)
      metrics.record(served(second, 0))
      metrics.record(served(second, 0))
      const text = metrics
        .families(stats)
        .filter(({ name }) => name.endsWith('requests_total'))
        .flatMap(({ name, samples }) => Array.from(samples(), (sample) => formatSample(name, sample)))
      expect(text).toEqual([
        'cftunnel_proxy_requests_total{hostname="b.example.com",status_class="2xx"} 3\n',
        'headgate_rule_requests_total{kind="HTTPRoute",namespace="ns",route="b",rule="0",name="",status_class="2xx"} 3\n',
        'headgate_backend_requests_total{backend="shop/cart:80",status_class="2xx"} 2\n',
      ])
    })

    test('a request that ends after its config counts for its own rule, not for the one that has its index now', () => {
      const first = configOf([ruleOf('a')])
      const metrics = createRequestMetrics()
      metrics.configure(first)
      metrics.record(served(first, 0))
      metrics.configure(configOf([ruleOf('z')]))
      metrics.record(served(first, 0))
      const rules = metrics.families(stats).find(({ name }) => name === 'headgate_rule_requests_total')!
      expect([...rules.samples()].map(({ labels }) => labels['route'])).toEqual(['a'])
    })
  })
})
