/** The ProxyConfig that Headgate is measured with. */
import { ruleTargets } from './rules.ts'
import type { Setup } from './variant.ts'

const bench = { set: [{ name: 'x-bench', value: '1' }] }

/** One rule per target, each with a path match, a filter for either direction, and both timeouts. */
export function proxyConfig(setup: Pick<Setup, 'host' | 'backendPort' | 'rules'>): unknown {
  return {
    version: 1,
    rules: ruleTargets(setup).map(({ host, prefix }) => ({
      hostnames: [host],
      matches: [{ path: { type: 'PathPrefix', value: prefix === '' ? '/' : prefix } }],
      filters: [
        { type: 'RequestHeaderModifier', requestHeaderModifier: bench },
        { type: 'ResponseHeaderModifier', responseHeaderModifier: bench },
      ],
      backends: [{ url: `http://127.0.0.1:${setup.backendPort}`, weight: 1 }],
      timeouts: { request: '10s', backend: '5s' },
    })),
  }
}
