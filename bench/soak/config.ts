/** The ProxyConfig of a soak: a rule for every kind of traffic that needs one of its own. */

export interface SoakPorts {
  backend: number
  /** Where nobody listens. */
  dead: number
}

const bench = { set: [{ name: 'x-bench', value: '1' }] }
const filters = [
  { type: 'RequestHeaderModifier', requestHeaderModifier: bench },
  { type: 'ResponseHeaderModifier', responseHeaderModifier: bench },
]

/** @param version grows with every reload; the number of rules changes with it, so that every reload builds and drops a table */
export function soakConfig(host: string, ports: SoakPorts, version: number): unknown {
  const backend = { url: `http://127.0.0.1:${ports.backend}`, weight: 1 }
  const timeouts = { request: '10s', backend: '10s' }
  const rule = (prefix: string, rest: object): unknown => ({
    hostnames: [host],
    matches: [{ path: { type: 'PathPrefix', value: prefix } }],
    backends: [backend],
    timeouts,
    ...rest,
  })
  return {
    version,
    rules: [
      rule('/', { filters }),
      rule('/upgrade', { filters, backends: [{ ...backend, websocket: true }] }),
      rule('/hang', { filters, timeouts: { request: '300ms' } }),
      rule('/dead', { backends: [{ url: `http://127.0.0.1:${ports.dead}`, weight: 1 }] }),
      rule('/redirect', {
        filters: [{ type: 'RequestRedirect', requestRedirect: { hostname: 'elsewhere.example.com', statusCode: 302 } }],
        backends: [],
      }),
      rule('/mirrored', {
        filters: [
          { type: 'URLRewrite', urlRewrite: { path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/' } } },
          { type: 'RequestMirror', requestMirror: { backendUrl: backend.url, percent: 100 } },
        ],
      }),
      ...Array.from({ length: version % 200 }, (_, i) => rule(`/unused-${version}-${i}`, { filters })),
    ],
  }
}
