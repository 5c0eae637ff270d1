import { describe, expect, test } from 'vitest'
import { parseProxyConfig } from '../../src/config/proxy-config.ts'
import { isCredentialName, redact } from '../../src/config/redact.ts'
import { toWire } from '../../src/config/to-wire.ts'
import { predecessorConfigs } from './predecessor-configs.ts'

const secret = 'hunter2'
const header = { name: 'Authorization', value: `Bearer ${secret}` }
const modifier = { set: [header, { name: 'X-Env', value: 'prod' }], add: [{ name: 'X-Api-Key', value: secret }] }
const tls = { serverName: 'a', clientCertPem: btoa('public'), clientKeyPem: btoa(secret) }
const filters = [
  { type: 'RequestHeaderModifier', requestHeaderModifier: modifier },
  { type: 'ResponseHeaderModifier', responseHeaderModifier: { add: [{ name: 'Set-Cookie', value: secret }] } },
  { type: 'RequestMirror', requestMirror: { backendUrl: `http://user:${secret}@m:80/p?token=${secret}`, tls } },
]
const matches = [
  {
    path: { type: 'Exact', value: '/' },
    headers: [{ type: 'Exact', name: 'cf-access-client-secret', value: secret }],
    queryParams: [{ type: 'RegularExpression', name: 'access_token', value: `^${secret}$` }],
  },
]
const backends = [{ url: `https://${secret}@b/?key=${secret}`, weight: 1, tls, filters }]

describe('a config that is shown', () => {
  const { config } = parseProxyConfig({ version: 1, rules: [{ name: 'r', matches, filters, backends }] })
  const shown = JSON.stringify(redact(toWire(config!)))

  test('holds no secret, plain or in base64', () => {
    expect(shown).not.toContain(secret)
    expect(shown).not.toContain(btoa(secret))
  })
  test.each([
    '"name":"r"',
    '"value":"prod"',
    btoa('public'),
    '"clientKeyPem":"[redacted]"',
    'https://[redacted]@b/?[redacted]',
  ])('still shows %s', (text) => expect(shown).toContain(text))
  test('cannot be applied by mistake', () => {
    expect(parseProxyConfig(JSON.parse(shown)).issues?.map(({ path }) => path)).toContain(
      'rules[0].backends[0].tls.clientKeyPem',
    )
  })
  test('is a copy: the config itself keeps its secrets', () => {
    expect(config!.rules[0]!.backends![0]!.tls!.clientKeyPem).toBe(secret)
    expect(config!.rules[0]!.filters![0]!.requestHeaderModifier!.set![0]!.value).toContain(secret)
  })
})

test.each(predecessorConfigs)('$name: where nothing is secret, nothing changes', ({ json }) => {
  const wire = toWire(parseProxyConfig(JSON.parse(json)).config!)
  const shown = JSON.stringify(redact(wire)).replaceAll(/"clientKeyPem":"[^"]*"/g, '')
  expect(shown).toBe(JSON.stringify(wire).replaceAll(/"clientKeyPem":"[^"]*"/g, ''))
})

test.each([
  ['Authorization', true],
  ['proxy-authorization', true],
  ['Cookie', true],
  ['X-API-Key', true],
  ['X-Amz-Security-Token', true],
  ['password', true],
  ['X-Request-Id', false],
  ['Accept', false],
  ['page', false],
])('%s is the name of a credential: %s', (name, expected) => expect(isCredentialName(name)).toBe(expected))
