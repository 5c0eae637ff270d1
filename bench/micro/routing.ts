/**
 * What one route match costs, and what compiling a config costs, for 10 to 10,000 rules.
 *
 *     node bench/micro/routing.ts [--json]
 *
 * Requests are made as the engine makes them: host and target are fresh slices of a head's text, so that their hashes
 * are computed as in life. They are spread over all rules. The control is the same loop with a function that only reads
 * host and target.
 */
import { parseProxyConfig } from '../../src/config/proxy-config.ts'
import { headOf } from '../../src/http/head.ts'
import { authorityOf, createRequest, targetOf } from '../../src/http/request.ts'
import { normalizeTarget } from '../../src/routing/path.ts'
import { compile, match } from '../../src/routing/table.ts'

interface Case {
  readonly name: string
  readonly rule: (index: number) => object
  readonly request: (index: number) => { host: string; target: string; headers?: Record<string, string> }
  /** Whether a rule is to be found. */
  readonly found: boolean
}

const host = 'shop.example.com'
const backends = [{ url: 'http://10.0.0.1:8080', weight: 1 }]
const prefix = (value: string) => [{ path: { type: 'PathPrefix', value } }]

const cases: readonly Case[] = [
  {
    name: 'prefix, one host',
    rule: (i) => ({ hostnames: [host], matches: prefix(`/team-${i % 100}/service-${i}`) }),
    request: (i) => ({ host, target: `/team-${i % 100}/service-${i}/orders/4711?page=2` }),
    found: true,
  },
  {
    name: 'prefix, many hosts',
    rule: (i) => ({ hostnames: [`h${i}.example.com`], matches: prefix('/') }),
    request: (i) => ({ host: `h${i}.example.com`, target: '/team-1/service-1/orders/4711?page=2' }),
    found: true,
  },
  {
    name: 'wildcard hosts, port in Host',
    rule: (i) => ({ hostnames: [`*.h${i}.example.com`], matches: prefix('/') }),
    request: (i) => ({ host: `www.h${i}.example.com:8080`, target: '/team-1/service-1/orders/4711' }),
    found: true,
  },
  {
    name: 'exact, one host',
    rule: (i) => ({
      hostnames: [host],
      matches: [{ path: { type: 'Exact', value: `/team-${i % 100}/service-${i}` } }],
    }),
    request: (i) => ({ host, target: `/team-${i % 100}/service-${i}` }),
    found: true,
  },
  {
    name: 'prefix and header, one host',
    rule: (i) => ({
      hostnames: [host],
      matches: [
        {
          path: { type: 'PathPrefix', value: `/team-${i % 100}/service-${i}` },
          headers: [{ type: 'Exact', name: 'x-version', value: 'canary' }],
        },
      ],
    }),
    request: (i) => ({ host, target: `/team-${i % 100}/service-${i}/orders`, headers: { 'x-version': 'canary' } }),
    found: true,
  },
  {
    name: 'one path, as many tenants by header',
    rule: (i) => ({
      hostnames: [host],
      matches: [
        { path: { type: 'PathPrefix', value: '/' }, headers: [{ type: 'Exact', name: 'x-tenant', value: `t${i}` }] },
      ],
    }),
    request: (i) => ({ host, target: '/orders/4711', headers: { 'x-tenant': `t${i}` } }),
    found: true,
  },
  {
    name: 'query parameter, one host',
    rule: (i) => ({
      hostnames: [host],
      matches: [
        {
          path: { type: 'PathPrefix', value: `/service-${i}` },
          queryParams: [{ type: 'Exact', name: 'page', value: '2' }],
        },
      ],
    }),
    request: (i) => ({ host, target: `/service-${i}/orders?sort=name&page=2` }),
    found: true,
  },
  {
    name: 'miss: path, one host',
    rule: (i) => ({ hostnames: [host], matches: prefix(`/team-${i % 100}/service-${i}`) }),
    request: (i) => ({ host, target: `/team-${i % 100}/nothing-${i}/orders/4711` }),
    found: false,
  },
  {
    name: 'miss: host',
    rule: (i) => ({ hostnames: [`h${i}.example.com`], matches: prefix('/') }),
    request: (i) => ({ host: `x${i}.example.org`, target: '/' }),
    found: false,
  },
]

const expressions: Case = {
  name: 'regular expression, one host',
  rule: (i) => ({
    hostnames: [host],
    matches: [{ path: { type: 'RegularExpression', value: `/service-${i}/v[0-9]+/.*`, anchored: true } }],
  }),
  request: (i) => ({ host, target: `/service-${i}/v2/orders` }),
  found: true,
}

const poolSize = 1000
const freshPasses = 40
const warmPasses = 20
const warmRounds = 50
const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** A string that no map has seen: cut out of text that came as bytes. */
function fresh(text: string): string {
  return decoder.decode(encoder.encode(`GET ${text} HTTP/1.1`)).slice(4, 4 + text.length)
}

function makePool({ request }: Case, count: number, pass: number): Request[] {
  return Array.from({ length: poolSize }, (_, i) => {
    const { host, target, headers } = request((i * 7919 + pass * 104_729) % count)
    const head = headOf(new Headers({ accept: '*/*', 'user-agent': 'bench', ...headers }))
    const parts = { method: 'GET', scheme: 'http', head, body: undefined, exchange: undefined } as const
    return createRequest({ ...parts, target: fresh(target), authority: fresh(host) })
  })
}

/** What a function costs per call, in nanoseconds. */
interface Cost {
  /** Of requests that no code has seen: every string is hashed for the first time. The median of many short passes. */
  readonly freshNs: number
  /** Of the same requests again and again: what the code itself costs. The best pass. */
  readonly warmNs: number
}

function measure(subject: Case, count: number, call: (request: Request) => boolean, expected: boolean): Cost {
  const time = (pool: readonly Request[], rounds: number): number => {
    let hits = 0
    const start = performance.now()
    for (let round = 0; round < rounds; round++) for (const request of pool) if (call(request)) hits++
    const elapsedNs = (performance.now() - start) * 1e6
    const expectedHits = expected ? rounds * pool.length : 0
    if (hits !== expectedHits) throw new Error(`${hits} requests found a rule, not ${expectedHits}`)
    return elapsedNs / (rounds * pool.length)
  }
  const reused = makePool(subject, count, 0)
  const warm = Array.from({ length: warmPasses }, () => time(reused, warmRounds))
  const fresh = Array.from({ length: freshPasses }, (_, pass) => time(makePool(subject, count, pass), 1))
  return { freshNs: fresh.sort((a, b) => a - b)[freshPasses >> 1]!, warmNs: Math.min(...warm) }
}

interface Row {
  readonly case: string
  readonly rules: number
  readonly control: Cost
  readonly normalize: Cost
  readonly match: Cost
  readonly parseMs: number
  readonly compileMs: number
}

function run(subject: Case, count: number): Row {
  const rules = Array.from({ length: count }, (_, i) => ({ ...subject.rule(i), backends }))
  const parseStart = performance.now()
  const { config, issues } = parseProxyConfig({ version: 1, rules })
  const parseMs = performance.now() - parseStart
  if (config === undefined) throw new Error(JSON.stringify(issues))
  let compileMs = Number.POSITIVE_INFINITY
  let compiled = compile(config, (_, index) => index)
  for (let i = 0; i < 3; i++) {
    const start = performance.now()
    compiled = compile(config, (_, index) => index)
    compileMs = Math.min(compileMs, performance.now() - start)
  }
  const { table, diagnostics } = compiled
  if (diagnostics.length > 0) throw new Error(JSON.stringify(diagnostics[0]))
  const time = (call: (request: Request) => boolean, found: boolean): Cost => measure(subject, count, call, found)
  const control = time((request) => authorityOf(request).length + targetOf(request).length > 0, true)
  const normalize = time((request) => normalizeTarget(targetOf(request), 'resolve') !== undefined, true)
  const matching = time((request) => match(table, request) !== undefined, subject.found)
  return { case: subject.name, rules: count, control, normalize, match: matching, parseMs, compileMs }
}

const rows: Row[] = []
for (const subject of cases) for (const count of [10, 1000, 10_000]) rows.push(run(subject, count))
for (const count of [1, 10, 100, 1000]) rows.push(run(expressions, count))

if (process.argv.includes('--json')) console.log(JSON.stringify(rows, null, 2))
else {
  const round = (value: number): number => Math.round(value * 10) / 10
  console.table(
    rows.map((row) => ({
      case: row.case,
      rules: row.rules,
      'match ns (warm)': Math.round(row.match.warmNs),
      'match ns (fresh)': Math.round(row.match.freshNs),
      'normalize ns': Math.round(row.normalize.warmNs),
      'control ns (warm)': Math.round(row.control.warmNs),
      'control ns (fresh)': Math.round(row.control.freshNs),
      'parse ms': round(row.parseMs),
      'compile ms': round(row.compileMs),
    })),
  )
}
