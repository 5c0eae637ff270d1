import { expect, test } from 'vitest'
import { convert } from '../../src/gateway/convert.ts'
import { compile, match } from '../../src/routing/table.ts'
import { engineRequestOf } from '../routing/requests.ts'

const tenant = (value: string): unknown => ({ name: 'tenant', value })

/** Worst first, so that the order of rules decides nothing that the specification decides. */
const rules: readonly (readonly [name: string, matches: readonly unknown[] | undefined])[] = [
  ['everything', undefined],
  ['tenant', [{ headers: [tenant('a')] }]],
  ['method', [{ method: { method: 'Get' } }, { method: { method: 'Add' } }]],
  ['method of a tenant', [{ method: { method: 'Get' }, headers: [tenant('a')] }]],
  ['service', [{ method: { service: 'Cart' } }]],
  ['service of a tenant', [{ method: { service: 'Cart' }, headers: [tenant('a')] }]],
  ['expression', [{ method: { type: 'RegularExpression', service: 'P[a-z]+', method: 'Re.*' } }]],
  ['both', [{ method: { service: 'Cart', method: 'Get' } }]],
]

const { config, diagnostics } = convert(
  [
    {
      kind: 'Gateway',
      metadata: { name: 'web' },
      spec: { gatewayClassName: 'headgate', listeners: [{ name: 'http', port: 80, protocol: 'HTTP' }] },
    },
    {
      kind: 'GRPCRoute',
      metadata: { name: 'calls' },
      spec: {
        parentRefs: [{ name: 'web' }],
        rules: rules.map(([name, matches]) => ({
          name: name.replaceAll(' ', '-'),
          matches,
          backendRefs: [{ name: 'app', port: 1 }],
        })),
      },
    },
    { apiVersion: 'v1', kind: 'Service', metadata: { name: 'app' }, spec: { ports: [{ port: 1 }] } },
  ].map((value) => ({ value: { apiVersion: 'gateway.networking.k8s.io/v1', ...value } })),
)
const { table } = compile(config, (rule) => rule.name?.replaceAll('-', ' '))

test('the manifests say what they are to say', () => {
  expect(diagnostics.filter(({ level }) => level !== 'info')).toEqual([])
})

test.each([
  ['/Cart/Get', {}, 'both'],
  ['/Cart/Get', { tenant: 'a' }, 'both'],
  ['/Cart/Add', {}, 'service'],
  ['/Cart/Add', { tenant: 'a' }, 'service of a tenant'],
  ['/Card/Add', {}, 'method'],
  ['/Other/Get', {}, 'method'],
  ['/Other/Get', { tenant: 'a' }, 'method of a tenant'],
  ['/Other/Gets', { tenant: 'a' }, 'tenant'],
  ['/Pay/Refund', {}, 'expression'],
  ['/xPay/Refund', {}, 'everything'],
  ['/Pay/Get', {}, 'method'],
  ['/cart/get', {}, 'everything'],
])('GRPCRouteRule.matches: %s with metadata %o goes to the rule for %s', (path, metadata, rule) => {
  const request = engineRequestOf({ method: 'POST', url: `http://a.example${path}`, headers: Object.entries(metadata) })
  expect(match(table, request)?.target).toBe(rule)
})
