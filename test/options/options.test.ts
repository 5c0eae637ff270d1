import { describe, expect, test } from 'vitest'
import { defaultPoolLimits } from '../../src/backends/pool.ts'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import {
  defaultOptions,
  environmentName,
  groups,
  optionTable,
  type OptionName,
  type OptionSpec,
} from '../../src/options.ts'
import { defaultMirrorLimits } from '../../src/proxy/mirror.ts'
import { readOptions, type Environment, type FlagValues } from '../../src/options/read.ts'

function optionsOf(flags: FlagValues, environment: Environment = {}): ReturnType<typeof defaultOptions> {
  const { options, problems } = readOptions(flags, environment)
  if (problems) throw new Error(problems.join('\n'))
  return options
}

const names = Object.keys(optionTable) as OptionName[]

describe('where a value comes from', () => {
  test('nothing is said: every option has its default', () => {
    expect(optionsOf({})).toEqual(defaultOptions())
  })

  test.each([
    [
      'a flag beats everything',
      { gracePeriodMs: '1s' },
      { HEADGATE_GRACE_PERIOD: '2s', PROXY_GRACE_PERIOD: '3s' },
      1000,
    ],
    ['then HEADGATE_ and the option', {}, { HEADGATE_GRACE_PERIOD: '2s', PROXY_GRACE_PERIOD: '3s' }, 2000],
    ["then the predecessor's name", {}, { PROXY_GRACE_PERIOD: '3s' }, 3000],
    ['an empty variable is not set', {}, { HEADGATE_GRACE_PERIOD: '', PROXY_GRACE_PERIOD: ' ' }, 30_000],
  ])('%s', (_, flags, environment, gracePeriodMs) => {
    expect(optionsOf(flags, environment).gracePeriodMs).toBe(gracePeriodMs)
  })

  test('several values: the flag is repeated, the environment separates them by commas', () => {
    const { trustedProxies } = optionsOf({}, { HEADGATE_TRUSTED_PROXIES: '10.0.0.0/8, fd00::/8,192.0.2.1,' })
    expect(trustedProxies).toEqual(['10.0.0.0/8', 'fd00::/8', '192.0.2.1/32'])
    expect(optionsOf({ trustedProxies: ['10.0.0.0/8', '::1'] }).trustedProxies).toEqual(['10.0.0.0/8', '::1/128'])
  })

  test('the secret has no flag: everybody on the machine can read a command line', () => {
    const secrets = names.filter((name) => (optionTable[name] as OptionSpec).flag === undefined)
    expect(secrets.map((name) => [name, environmentName(name)])).toEqual([
      ['tunnelToken', 'HEADGATE_TUNNEL_TOKEN'],
      ['tunnelCredentials', 'HEADGATE_TUNNEL_CREDENTIALS'],
      ['authToken', 'HEADGATE_AUTH_TOKEN'],
    ])
  })
})

describe('the table', () => {
  test.each(names)('%s has one group, a sentence of help, and a name of its own', (name) => {
    const spec: OptionSpec = optionTable[name]
    expect(groups).toContain(spec.group)
    expect(spec.help).toMatch(/^[A-Z].*\.$/)
    expect(names.filter((other) => environmentName(other) === environmentName(name))).toEqual([name])
  })

  const withDefault = names.filter((name) => {
    const { argument, fallback } = optionTable[name] as OptionSpec
    return argument !== undefined && fallback !== undefined && (fallback as unknown[]).length !== 0
  })
  test.each(withDefault)('the default of %s in words is read as the default', (name) => {
    const { fallback, fallbackText, read, many } = optionTable[name] as OptionSpec
    const value = read.parse(fallbackText ?? String(fallback))
    expect(many ? [value] : value).toEqual(fallback)
  })

  test('the defaults of limits are those of the rooms that keep them', () => {
    const { options } = readOptions({}, {})
    expect(options).toMatchObject({
      maxHeadBytes: defaultHttp1Limits.maxHeadBytes,
      maxFieldLines: defaultHttp1Limits.maxFieldLines,
      headTimeoutMs: defaultHttp1Limits.headTimeoutMs,
      idleTimeoutMs: defaultHttp1Limits.idleTimeoutMs,
      stallTimeoutMs: defaultHttp1Limits.bodyStallTimeoutMs,
      halfClosedTimeoutMs: defaultHttp1Limits.halfClosedTimeoutMs,
      upgradeTimeoutMs: defaultHttp1Limits.upgradeTimeoutMs,
      upgradeIdleTimeoutMs: defaultHttp1Limits.upgradeIdleTimeoutMs,
      connectTimeoutMs: defaultPoolLimits.connectTimeoutMs,
      backendIdleTimeoutMs: defaultPoolLimits.idleTimeoutMs,
      backendMaxConnections: defaultPoolLimits.maxConnections,
      backendMaxWaiting: defaultPoolLimits.maxWaiting,
    })
    expect(defaultHttp1Limits.writeStallTimeoutMs).toBe(defaultHttp1Limits.bodyStallTimeoutMs)
  })
})

describe('values', () => {
  test.each<[OptionName, string, unknown]>([
    ['listen', '127.0.0.1:8080', [{ address: { host: '127.0.0.1', port: 8080 } }]],
    ['listen', ':8080', [{ address: { host: '::', port: 8080 } }]],
    ['listen', '8080', [{ address: { host: '::', port: 8080 } }]],
    ['listen', '[::1]:80', [{ address: { host: '::1', port: 80 } }]],
    ['listen', 'localhost:0', [{ address: { host: 'localhost', port: 0 } }]],
    ['listen', '80=:8080', [{ address: { host: '::', port: 8080 }, entrance: { port: 80 } }]],
    [
      'listen',
      'shop/web:443=[::1]:9',
      [{ address: { host: '::1', port: 9 }, entrance: { gateway: 'shop/web', port: 443 } }],
    ],
    ['admin', '[::]:8081', { host: '::', port: 8081 }],
    ['gracePeriodMs', '1m30s', 90_000],
    ['gracePeriodMs', '0s', 0],
    ['upgradeIdleTimeoutMs', 'none', Infinity],
    ['adminBodyLimitBytes', '2048', 2048],
    ['adminBodyLimitBytes', '64k', 65_536],
    ['adminBodyLimitBytes', '1MiB', 1_048_576],
    ['backendMaxConnections', '10', 10],
    ['pathNormalization', 'Reject', 'reject'],
    ['accessLogSampling', '.25', 0.25],
    ['logLevel', 'debug', 'debug'],
    ['protocol', 'HTTP2', 'http2'],
    ['protocol', ' quic ', 'quic'],
    ['edge', '[2001:db8::7]:7844', ['[2001:db8::7]:7844']],
    ['origin', 'http://localhost:3000', 'http://localhost:3000'],
    ['region', 'US', 'us'],
  ])('--%s %s', (name, text, value) => {
    expect(optionsOf({ [name]: text })[name]).toEqual(value)
  })

  test.each([
    ['yes', true],
    ['ON', true],
    ['1', true],
    ['true', true],
    ['no', false],
    ['off', false],
    ['0', false],
    ['false', false],
  ])('a switch in the environment: %s', (text, value) => {
    expect(optionsOf({}, { HEADGATE_ACCESS_LOG: text }).accessLog).toBe(value)
  })
})

describe('a mistyped value refuses to start, naming the option and the fix, never the value', () => {
  test.each<[FlagValues, Environment, RegExp]>([
    [{ listen: 'http://x' }, {}, /^--listen must be an address such as .*, and is another text of 8 characters\.$/],
    [{ listen: ':65536' }, {}, /^--listen must be an address/],
    [{ listen: '[127.0.0.1]:80' }, {}, /^--listen must be an address/],
    [{ listen: '0=:80' }, {}, /^--listen must be an address/],
    [{ listen: 'web:80=:80' }, {}, /^--listen must be an address/],
    [{ listen: 'Shop/web:80=:80' }, {}, /^--listen must be an address/],
    [{ admin: '80=:80' }, {}, /^--admin must be HOST:PORT/],
    [{ protocol: '' }, {}, /^--protocol must be one of auto, quic, http2, and is empty\.$/],
    [{ protocol: 'h2' }, {}, /^--protocol must be one of auto, quic, http2, and is/],
    [{ protocol: 'quic,http2' }, {}, /^--protocol must be one of auto, quic, http2, and is/],
    [{ protocol: 'htpp2' }, {}, /^--protocol must be one of auto, quic, http2, and is/],
    [{}, { PROXY_TUNNEL_PROTOCOL: 'quick' }, /^PROXY_TUNNEL_PROTOCOL must be one of auto, quic, http2/],
    [{}, { TUNNEL_TRANSPORT_PROTOCOL: 'tcp' }, /^TUNNEL_TRANSPORT_PROTOCOL must be one of auto, quic, http2/],
    [{}, { TUNNEL_TOKEN: '' }, /^TUNNEL_TOKEN must be/],
    [{}, { TUNNEL_GRACE_PERIOD: 'soon' }, /^TUNNEL_GRACE_PERIOD must be a duration/],
    [{}, { TUNNEL_METRICS: 'everywhere' }, /^TUNNEL_METRICS must be HOST:PORT/],
    [{ edge: ['edge.example.com'] }, {}, /^--edge must be HOST:PORT/],
    [{ origin: 'localhost:3000' }, {}, /^--origin must be an http:/],
    [{ origin: 'http://u:p@h' }, {}, /^--origin must be an http:/],
    [{ region: 'us.evil' }, {}, /^--region must be letters/],
    [{ origin: 'http://h', config: 'c.json' }, {}, /^--origin forwards every request/],
    [{ quick: true }, { TUNNEL_TOKEN: 'x' }, /^--quick asks for a tunnel of its own/],
    [{ gracePeriodMs: '5' }, {}, /^--grace-period must be a duration such as 30s.*, and is a bare number\.$/],
    [{ gracePeriodMs: '-1s' }, {}, /^--grace-period must be a duration/],
    [{ idleTimeoutMs: 'none' }, {}, /^--idle-timeout must be a duration/],
    [{ adminBodyLimitBytes: '1.5m' }, {}, /^--admin-body-limit must be a number of bytes/],
    [{ adminBodyLimitBytes: '2g' }, {}, /^--admin-body-limit must be a number of bytes/],
    [{ backendMaxConnections: '0' }, {}, /^--backend-max-connections must be a whole number from 1/],
    [{ pathNormalization: 'merge' }, {}, /^--path-normalization must be one of resolve, reject, off/],
    [{ trustedProxies: ['10.0.0.0/33'] }, {}, /^--trusted-proxies must be an address or a block/],
    [{ accessLogSampling: '1.5' }, {}, /^--access-log-sampling must be a number from 0 to 1/],
    [
      {},
      { HEADGATE_METRICS: 'maybe' },
      /^HEADGATE_METRICS must be true or false, and is another text of 5 characters\.$/,
    ],
    [{}, { HEADGATE_AUTH_TOKEN: '' }, /^HEADGATE_AUTH_TOKEN must be .*, and is empty\.$/],
    [{}, { PROXY_AUTH_TOKEN: '' }, /^PROXY_AUTH_TOKEN must be .*, and is empty\.$/],
    [{}, { HEADGATE_AUTH_TOKEN: 'two words' }, /^HEADGATE_AUTH_TOKEN must be printable ASCII without spaces/],
    [{}, { PROXY_ADDR: 'everywhere' }, /^PROXY_ADDR must be an address/],
    [{ config: 'a.json', manifests: ['b'] }, {}, /^--manifests and --config are both given/],
    [{ adminTlsCert: 'a.pem' }, {}, /^--admin-tls-cert and --admin-tls-key go together/],
  ])('%o %o', (flags, environment, message) => {
    const { problems } = readOptions(flags, environment)
    expect(problems).toHaveLength(1)
    expect(problems![0]).toMatch(message)
  })

  test('every mistake is told at once', () => {
    expect(readOptions({ listen: ['a', 'b'], admin: 'c' }, {}).problems).toHaveLength(3)
  })

  test('a secret in the wrong place is not repeated', () => {
    const { problems } = readOptions({ gracePeriodMs: 's3cr3t' }, { HEADGATE_AUTH_TOKEN: 'hush hush' })
    expect(problems!.join()).not.toMatch(/s3cr3t|hush/)
  })
})

describe("the predecessor's environment, read as it read it", () => {
  test.each<[string, string, OptionName, unknown]>([
    ['PROXY_ADDR', ':8080', 'listen', [{ address: { host: '::', port: 8080 } }]],
    ['PROXY_CONFIG_ADDR', ':8081', 'admin', { host: '::', port: 8081 }],
    ['PROXY_AUTH_TOKEN', 'abc', 'authToken', 'abc'],
    ['PROXY_METRICS_ENABLED', ' False ', 'metrics', false],
    ['PROXY_METRICS_ENABLED', '0', 'metrics', false],
    ['PROXY_METRICS_ENABLED', 'no', 'metrics', true],
    ['PROXY_GRACE_PERIOD', '45s', 'gracePeriodMs', 45_000],
    ['PROXY_GRACE_PERIOD', '1h', 'gracePeriodMs', 180_000],
    ['PROXY_ACCESS_LOG_ENABLED', '1', 'accessLog', true],
    ['PROXY_ACCESS_LOG_ENABLED', 'yes', 'accessLog', false],
    ['PROXY_ACCESS_LOG_SAMPLING_RATE', '7', 'accessLogSampling', 1],
    ['PROXY_ACCESS_LOG_SAMPLING_RATE', '-1', 'accessLogSampling', 0],
    ['PROXY_ACCESS_LOG_STRIP_QUERY', 'true', 'accessLogQuery', false],
    ['PROXY_ACCESS_LOG_STRIP_QUERY', 'false', 'accessLogQuery', true],
    ['PROXY_WS_DIAL_TIMEOUT', '2s', 'connectTimeoutMs', 2000],
    ['PROXY_WS_HANDSHAKE_TIMEOUT', '1.5s', 'upgradeTimeoutMs', 1500],
    ['PROXY_WS_IDLE_TIMEOUT', '1h', 'upgradeIdleTimeoutMs', 3_600_000],
  ])('%s=%s', (name, text, option, value) => {
    const { options, warnings } = readOptions({}, { [name]: text })
    expect(options![option]).toEqual(value)
    expect(warnings).toEqual([])
  })

  test.each<[string, string, OptionName]>([
    ['PROXY_GRACE_PERIOD', 'soon', 'gracePeriodMs'],
    ['PROXY_GRACE_PERIOD', '0s', 'gracePeriodMs'],
    ['PROXY_ACCESS_LOG_SAMPLING_RATE', 'half', 'accessLogSampling'],
    ['PROXY_WS_DIAL_TIMEOUT', '-1s', 'connectTimeoutMs'],
    ['PROXY_WS_HANDSHAKE_TIMEOUT', '0s', 'upgradeTimeoutMs'],
    ['PROXY_WS_IDLE_TIMEOUT', 'never', 'upgradeIdleTimeoutMs'],
  ])('%s=%s warns and takes the default', (name, text, option) => {
    const { options, warnings } = readOptions({}, { [name]: text })
    expect(options![option]).toEqual(defaultOptions()[option])
    expect(warnings).toEqual([expect.stringMatching(`^${name} cannot be read and is ignored; set HEADGATE_`)])
  })

  test('the certificate and key of its config API are those of the admin API', () => {
    const { options, warnings } = readOptions(
      {},
      { PROXY_CONFIG_TLS_CERT_FILE: '/tls/tls.crt', PROXY_CONFIG_TLS_KEY_FILE: '/tls/tls.key' },
    )
    expect(options).toMatchObject({ adminTlsCert: '/tls/tls.crt', adminTlsKey: '/tls/tls.key' })
    expect(warnings).toEqual([])
  })

  test.each([
    ['PROXY_TRACING_ENABLED', 'this version sends no traces.'],
    ['PROXY_TUNNEL_PROTOCOL_WAIT', 'the tunnel is connected once'],
    ['PROXY_MIRROR_MAX_IN_FLIGHT', `mirrors have a limit of their own, ${defaultMirrorLimits.maxInFlight} copies`],
    ['PROXY_ALLOW_X_ORIGINAL_HOST', 'X-Original-Host is dropped'],
    ['PROXY_OF_A_LATER_VERSION', 'no option reads it.'],
    ['PROXY_PORT', 'no option reads it.'],
  ])('%s has no effect, and says so, without its value', (name, why) => {
    const { options, warnings } = readOptions({}, { [name]: 'eyJhIjoi' })
    expect(options).toEqual(defaultOptions())
    expect(warnings).toEqual([expect.stringContaining(`${name} is set and has no effect: ${why}`)])
    expect(warnings!.join()).not.toContain('eyJhIjoi')
  })
})

test.each<[FlagValues, Environment, string]>([
  [{ protocol: 'h2mux' }, { TUNNEL_TRANSPORT_PROTOCOL: 'h2mux' }, '--protocol'],
  [{}, { HEADGATE_PROTOCOL: ' H2MUX ' }, 'HEADGATE_PROTOCOL'],
  [{}, { PROXY_TUNNEL_PROTOCOL: 'h2mux' }, 'PROXY_TUNNEL_PROTOCOL'],
  [{}, { TUNNEL_TRANSPORT_PROTOCOL: 'h2mux' }, 'TUNNEL_TRANSPORT_PROTOCOL'],
])('a protocol that is long gone means HTTP/2, with one warning: %o %o', (flags, environment, source) => {
  const { options, warnings } = readOptions(flags, environment)
  expect(options!.protocol).toBe('http2')
  expect(warnings).toEqual([`${source}: h2mux is out of date, and read as http2; write http2.`])
})

describe("the reference connector's environment", () => {
  test.each<[string, string, OptionName, unknown]>([
    ['TUNNEL_GRACE_PERIOD', '45s', 'gracePeriodMs', 45_000],
    ['TUNNEL_GRACE_PERIOD', '0s', 'gracePeriodMs', 0],
    ['TUNNEL_METRICS', '0.0.0.0:2000', 'admin', { host: '0.0.0.0', port: 2000 }],
    ['TUNNEL_METRICS', 'localhost:20241', 'admin', { host: 'localhost', port: 20_241 }],
  ])('%s=%s', (name, text, option, value) => {
    const { options, warnings } = readOptions({}, { [name]: text })
    expect(options![option]).toEqual(value)
    expect(warnings).toEqual([])
  })

  test("ours wins, then the predecessor's, and then this", () => {
    const theirs = { TUNNEL_GRACE_PERIOD: '3s', TUNNEL_METRICS: ':3' }
    const predecessors = { ...theirs, PROXY_GRACE_PERIOD: '2s', PROXY_CONFIG_ADDR: ':2' }
    const ours = { ...predecessors, HEADGATE_GRACE_PERIOD: '1s', HEADGATE_ADMIN: ':1' }
    const read = (environment: Environment): unknown[] => {
      const { gracePeriodMs, admin } = optionsOf({}, environment)
      return [gracePeriodMs, admin.port]
    }
    expect([ours, predecessors, theirs].map(read)).toEqual([
      [1000, 1],
      [2000, 2],
      [3000, 3],
    ])
  })

  test.each([
    ['TUNNEL_POST_QUANTUM', 'true'],
    ['TUNNEL_POST_QUANTUM', '1'],
    ['TUNNEL_EDGE_BIND_ADDRESS', '192.0.2.7'],
    ['TUNNEL_RETRIES', '7'],
    ['TUNNEL_STREAM_WRITE_TIMEOUT', '1m'],
    ['TUNNEL_DISABLE_QUIC_PMTU', 'true'],
  ])('%s=%s has no effect, and says so', (name, text) => {
    const { options, warnings } = readOptions({}, { [name]: text })
    expect(options).toEqual(defaultOptions())
    expect(warnings).toEqual([expect.stringMatching(`^${name} is set and has no effect: `)])
  })

  test.each(['', 'false', 'False'])('a switch that is off (%j) is nothing to warn of', (text) => {
    expect(readOptions({}, { TUNNEL_POST_QUANTUM: text }).warnings).toEqual([])
  })
})

describe('PROXY_ADDR, which the chart of the predecessor sets always, opens no port beside a tunnel', () => {
  const theirs = { PROXY_ADDR: ':8080' }
  test.each<[string, FlagValues, Environment]>([
    ['a token', {}, { TUNNEL_TOKEN: 'x' }],
    ["a token's file", { tunnelTokenFile: 't' }, {}],
    ['a credentials file', {}, { TUNNEL_CRED_FILE: 'c.json' }],
    ['credentials', {}, { TUNNEL_CRED_CONTENTS: '{}' }],
    ['a quick tunnel', { quick: true }, { HEADGATE_LISTEN: '' }],
  ])('with %s', (_, flags, environment) => {
    const { options, warnings } = readOptions(flags, { ...theirs, ...environment })
    expect(options!.listen).toBe(optionTable.listen.fallback)
    expect(warnings).toEqual([
      expect.stringMatching(/^PROXY_ADDR is ignored beside a tunnel.* --listen or HEADGATE_LISTEN opens a port/),
    ])
  })

  test.each<[string, FlagValues, Environment]>([
    ['without a tunnel', {}, { PROXY_ADDR: ':9' }],
    ['when --listen is given', { listen: [':9'] }, { ...theirs, TUNNEL_TOKEN: 'x' }],
    ['when HEADGATE_LISTEN is', {}, { ...theirs, HEADGATE_LISTEN: ':9', TUNNEL_TOKEN: 'x' }],
  ])('%s the port is opened', (_, flags, environment) => {
    const { options, warnings } = readOptions(flags, environment)
    expect(options!.listen).toEqual([{ address: { host: '::', port: 9 } }])
    expect(warnings).toEqual([])
  })
})

describe('names that do nothing', () => {
  test.each([
    ['a misspelt one', 'HEADGATE_GRACE_PEROID', 'HEADGATE_GRACE_PERIOD'],
    ['a letter too many', 'HEADGATE_LISTENS', 'HEADGATE_LISTEN'],
  ])('%s is pointed out', (_, name, meant) => {
    expect(readOptions({}, { [name]: '1s' }).warnings).toEqual([
      `${name} is set and has no effect; did you mean ${meant}?`,
    ])
  })

  test('what Kubernetes sets for a Service named headgate is no misspelling', () => {
    const environment = { HEADGATE_SERVICE_HOST: '10.0.0.1', HEADGATE_PORT: 'tcp://10.0.0.1:80' }
    expect(readOptions({}, environment).warnings).toEqual([])
  })

  test('nor is what it sets for one named proxy', () => {
    const environment = {
      PROXY_SERVICE_HOST: '10.0.0.1',
      PROXY_SERVICE_PORT_HTTP: '80',
      PROXY_PORT: 'tcp://10.0.0.1:80',
      PROXY_PORT_80_TCP_ADDR: '10.0.0.1',
      PROXY_B_SERVICE_HOST: '10.0.0.2',
      PROXY_B_PORT: 'tcp://10.0.0.2:80',
    }
    expect(readOptions({}, environment).warnings).toEqual([])
  })

  test('a state directory beside a config from files', () => {
    expect(readOptions({ stateDir: '/s', config: 'c.json' }, {}).warnings).toEqual([
      expect.stringContaining('--state-dir has no effect'),
    ])
  })
})
