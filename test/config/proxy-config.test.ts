import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseProxyConfig, type ProxyConfig } from '../../src/config/proxy-config.ts'
import { toWire } from '../../src/config/to-wire.ts'
import { predecessorConfigs } from './predecessor-configs.ts'

/** As it would be sent. */
const sent = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

function parsed(json: unknown): ProxyConfig {
  const { config, issues } = parseProxyConfig(json)
  expect(issues).toBeUndefined()
  return config!
}

describe("the predecessor's JSON", () => {
  test.each(predecessorConfigs)('$name: is read without a warning and written back', ({ json, echo }) => {
    const { config, warnings } = parseProxyConfig(JSON.parse(json))
    expect(warnings).toEqual([])
    expect(sent(toWire(config!))).toEqual(echo)
  })

  test.each(predecessorConfigs)('$name: what we write we read as the same config', ({ json }) => {
    const config = parsed(JSON.parse(json))
    expect(parsed(sent(toWire(config)))).toEqual(config)
  })
})

describe('the in-memory form', () => {
  const config = parsed({
    version: 7,
    rules: [
      {
        timeouts: { request: '1.5s', backend: '100µs' },
        retry: { codes: [503], attempts: 2, backoff: '25ms' },
        backends: [{ url: 'https://a', tls: { clientCertPem: btoa('CERT'), clientKeyPem: btoa('KEY') } }],
        matches: [{ method: '', path: { type: 'Exact', value: '/', anchored: true } }],
      },
      { timeouts: { request: '-1s' } },
    ],
  })

  test('has durations in milliseconds', () => {
    expect(config.rules[0]!.timeouts).toEqual({ requestMs: 1500, backendMs: 1 })
    expect(config.rules[0]!.retry).toEqual({ codes: [503], attempts: 2, backoffMs: 25 })
  })
  test('has 0 for a timeout that is off, as a negative one is', () =>
    expect(config.rules[1]!.timeouts!.requestMs).toBe(0))
  test('has PEM as text', () =>
    expect(config.rules[0]!.backends![0]!.tls).toEqual({ clientCertPem: 'CERT', clientKeyPem: 'KEY' }))
  test("has Go's zero for a missing weight", () => expect(config.rules[0]!.backends![0]!.weight).toBe(0))
  test('has no method where Go wrote the empty one', () => expect(config.rules[0]!.matches![0]!.method).toBeUndefined())
})

describe('our own additions survive the wire', () => {
  const wire = {
    version: 8,
    listeners: [
      { name: 'infra/gw/http', gateway: 'infra/gw', port: 80, protocol: 'HTTP', hostname: '*.example.com' },
      { name: 'infra/gw/https', gateway: 'infra/gw', port: 443, protocol: 'HTTPS' },
    ],
    rules: [
      {
        name: 'cart',
        route: { kind: 'HTTPRoute', namespace: 'shop', name: 'cart', rule: 2 },
        listeners: ['infra/gw/http'],
        matches: [{ path: { type: 'RegularExpression', value: '/a.*', anchored: true } }],
        filters: [
          {
            type: 'RequestMirror',
            requestMirror: {
              name: 'shop/shadow:80',
              backendUrl: 'http://shadow',
              fraction: { numerator: 1, denominator: 1000 },
              endpoints: [{ address: '10.0.0.7', port: 8080 }],
            },
          },
        ],
        backends: [
          { name: 'shop/cart:80', url: 'http://cart', weight: 1, endpoints: [{ address: '2001:db8::1', port: 8080 }] },
          { name: 'shop/none:80', url: 'http://none', weight: 1, endpoints: [] },
        ],
        retry: { codes: [500, 503], attempts: 3, backoff: '1s' },
      },
    ],
  }
  test('unchanged', () => expect(sent(toWire(parsed(wire)))).toEqual(wire))
  test('a listener hostname is compared as DNS does: lower case, no dot at the end', () => {
    const listeners = [{ name: 'a', port: 80, protocol: 'HTTP', hostname: '*.Example.COM.' }]
    expect(parsed({ listeners }).listeners![0]!.hostname).toBe('*.example.com')
  })
  test('no listener at all is something else than none named', () => {
    expect(parsed({ listeners: [] }).listeners).toEqual([])
    expect(parsed({ listeners: null }).listeners).toBeUndefined()
  })
})

describe('keys, as encoding/json reads them', () => {
  test('match in any letter case, and the later one wins', () => {
    const rules = [{ HOSTNAMES: ['b'], Hostnames: ['c'] }]
    expect(parsed({ Version: 1, VERSION: 2, Rules: rules })).toEqual({ version: 2, rules: [{ hostnames: ['c'] }] })
  })
  test('null sets nothing', () => expect(parsed({ version: null, rules: null })).toEqual({ version: 0, rules: [] }))
  test('an empty object is an empty config', () => expect(parsed({})).toEqual({ version: 0, rules: [] }))
  test('unknown ones are ignored, with a warning that names them', () => {
    const { config, warnings } = parseProxyConfig({
      versoin: 3,
      rules: [{ backends: [{ url: 'http://a', wieght: 1 }] }],
    })
    expect(config?.version).toBe(0)
    expect(warnings?.map(({ path }) => path)).toEqual(['versoin', 'rules[0].backends[0].wieght'])
  })
  test('a thousand unknown ones are not a thousand warnings', () => {
    const { warnings } = parseProxyConfig(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`x${i}`, i])))
    expect(warnings).toHaveLength(101)
    expect(warnings!.at(-1)!.message).toContain('900')
  })
  test('__proto__ is an unknown key like any other', () => {
    const json = JSON.parse('{"__proto__":{"version":9},"rules":[{"__proto__":{"unavailableStatus":200}}]}')
    const { config, warnings } = parseProxyConfig(json)
    expect(config).toEqual({ version: 0, rules: [{}] })
    expect(warnings).toHaveLength(2)
  })
})

describe('retry, which this version makes no use of', () => {
  test('is kept, and warned of', () => {
    const { config, warnings } = parseProxyConfig({ rules: [{}, { retry: { attempts: 2 } }] })
    expect(config!.rules[1]!.retry).toMatchObject({ attempts: 2 })
    expect(warnings).toEqual([
      { path: 'rules[1].retry', message: expect.stringContaining('has no effect'), fix: expect.any(String) },
    ])
  })

  test('is not named a thousand times', () => {
    const { warnings } = parseProxyConfig({ rules: Array.from({ length: 1000 }, () => ({ retry: {} })) })
    expect(warnings).toHaveLength(101)
    expect(warnings!.at(-1)).toEqual({ path: '', message: '900 more "retry" have no effect' })
  })
})

describe('what only a broken sender produces rejects the config', () => {
  test.each<[unknown, string, string]>([
    [[], '', 'an object, got a list'],
    [null, '', 'an object, got null'],
    ['{}', '', 'an object, got a string'],
    [{ version: -1 }, 'version', 'from 0'],
    [{ version: 1.5 }, 'version', 'whole number'],
    [{ version: 2 ** 60 }, 'version', 'whole number'],
    [{ version: '1' }, 'version', 'a number, got a string'],
    [{ rules: {} }, 'rules', 'a list, got an object'],
    [{ rules: [null] }, 'rules[0]', 'an object, got null'],
    [{ rules: [{ hostnames: 'a' }] }, 'rules[0].hostnames', 'a list, got a string'],
    [{ rules: [{}, { hostnames: ['a', 1] }] }, 'rules[1].hostnames[1]', 'a string, got a whole number'],
    [{ rules: [{ timeouts: { request: 10 } }] }, 'rules[0].timeouts.request', 'a string, got a whole number'],
    [{ rules: [{ timeouts: { backend: '10' } }] }, 'rules[0].timeouts.backend', 'Go duration'],
    [{ rules: [{ retry: { backoff: 'soon' } }] }, 'rules[0].retry.backoff', 'Go duration'],
    [{ rules: [{ backends: [{ weight: 1.5 }] }] }, 'rules[0].backends[0].weight', 'whole number'],
    [{ rules: [{ backends: [{ websocket: 'yes' }] }] }, 'rules[0].backends[0].websocket', 'true or false'],
    [
      { rules: [{ backends: [{ tls: { clientKeyPem: '-----' } }] }] },
      'rules[0].backends[0].tls.clientKeyPem',
      'base64',
    ],
    [{ rules: [{ unavailableStatus: '503' }] }, 'rules[0].unavailableStatus', 'a number'],
    [{ listeners: [{ port: 80, protocol: 'HTTP' }] }, 'listeners[0].name', 'given'],
    [{ listeners: [{ name: '', port: 80, protocol: 'HTTP' }] }, 'listeners[0].name', 'empty'],
    [{ listeners: [{ name: 'a', port: 0, protocol: 'HTTP' }] }, 'listeners[0].port', '1 to 65535'],
    [{ listeners: [{ name: 'a', port: 65_536, protocol: 'HTTP' }] }, 'listeners[0].port', '1 to 65535'],
    [{ listeners: [{ name: 'a', port: 80, protocol: 'TCP' }] }, 'listeners[0].protocol', 'HTTP or HTTPS'],
    [{ listeners: [{ name: 'a', port: 80, protocol: 'HTTP', hostname: 'a.*' }] }, 'listeners[0].hostname', 'hostname'],
  ])('%j: %s', (json, path, message) => {
    const { issues } = parseProxyConfig(json)
    expect(issues).toEqual([expect.objectContaining({ path, message: expect.stringContaining(message) })])
  })

  test.each<[unknown, string]>([
    [{ timeouts: { request: 5 } }, 'write it like "5s"'],
    [{ timeouts: { request: '5' } }, 'write it like "5s"'],
    [{ backends: [{ tls: { clientKeyPem: ['-----BEGIN'] } }] }, 'as standard base64'],
  ])('%j: how to write it', (rule, fix) => {
    const { issues } = parseProxyConfig({ rules: [rule] })
    expect(issues).toEqual([expect.objectContaining({ fix: expect.stringContaining(fix) })])
  })

  test('two listeners of one name', () => {
    const listener = { name: 'a', port: 80, protocol: 'HTTP' }
    const { issues } = parseProxyConfig({ listeners: [listener, listener] })
    expect(issues).toEqual([{ path: 'listeners', message: expect.stringContaining('"a"') }])
  })

  test('all mistakes are named at once, up to a point', () => {
    const rules = Array.from({ length: 1000 }, () => ({ hostnames: 'a' }))
    expect(parseProxyConfig({ version: -1, rules: rules.slice(0, 2) }).issues).toHaveLength(3)
    expect(parseProxyConfig({ rules }).issues).toHaveLength(50)
    expect(parseProxyConfig({ rules: Array.from({ length: 100_000 }, () => 1) }).issues).toHaveLength(1)
  })

  test('no issue repeats what was sent: it may be a secret', () => {
    const { issues } = parseProxyConfig({ rules: [{ backends: [{ tls: 'hunter2', filters: 'hunter2' }] }, 'hunter2'] })
    expect(issues).toHaveLength(3)
    expect(JSON.stringify(issues)).not.toContain('hunter2')
  })
})

describe('whatever is sent', () => {
  const keys = fc
    .constantFrom(
      'version rules listeners hostnames matches filters backends timeouts retry path type value name url weight tls',
      'headers request REQUEST cors __proto__ toString',
    )
    .chain((names) => fc.constantFrom(...names.split(' ')))
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { depthSize: 'medium' },
      fc.constantFrom<unknown>(null, true, 0, 1, -1, 1.5, 1e300, '', '1s', 'Exact', 'http://a', 'HTTP'),
      fc.array(tie('tree'), { maxLength: 3 }),
      fc.dictionary(keys, tie('tree'), { maxKeys: 5 }),
    ),
  }))
  const bases = predecessorConfigs.map(({ json }) => JSON.parse(json) as Record<string, unknown>)

  test('there is a config or there are issues, never an exception', () => {
    let configs = 0
    fc.assert(
      fc.property(fc.oneof(tree, fc.anything()), (json) => {
        const { config, issues } = parseProxyConfig(json)
        if (config !== undefined) configs++
        expect(config === undefined).toBe(issues !== undefined && issues.length > 0)
      }),
      { numRuns: 2000 },
    )
    expect(configs).toBeGreaterThan(0)
  })

  test('a valid config with one value replaced never throws, and what it makes can be written and read again', () => {
    let configs = 0
    fc.assert(
      fc.property(fc.constantFrom(...bases), fc.nat(), tree, (base, place, value) => {
        const { config, issues = [] } = parseProxyConfig(replaceNth(sent(base), place, value))
        if (config !== undefined) configs++
        expect(config === undefined).toBe(issues.length > 0)
        expect(config && parsed(sent(toWire(config)))).toEqual(config)
      }),
      { numRuns: 2000 },
    )
    expect(configs).toBeGreaterThan(100)
  })
})

/** The tree with its n-th value, counted depth first and around, replaced. */
function replaceNth(tree: unknown, n: number, value: unknown): unknown {
  const places: (() => void)[] = []
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return
    const holder = node as Record<string, unknown>
    for (const key of Object.keys(holder)) {
      places.push(() => {
        holder[key] = value
      })
      visit(holder[key])
    }
  }
  visit(tree)
  places[n % places.length]?.()
  return tree
}
