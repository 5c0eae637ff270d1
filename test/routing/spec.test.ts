import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Listener, Match, ProxyConfig, Rule, ValueMatch } from '../../src/config/proxy-config.ts'
import { compile, match } from '../../src/routing/table.ts'
import { engineRequestOf } from './requests.ts'
import { judge } from './spec-oracle.ts'

/* Small alphabets, so that nearly everything overlaps with nearly everything. */
const hosts = ['a.com', 'b.a.com', 'c.b.a.com', 'd.c.b.a.com', 'x.com', 'com', 'a.org']
const patterns = [...hosts.slice(0, 4), '*.com', '*.a.com', '*.b.a.com', '*.c.b.a.com', '*.org']
const segments = ['a', 'b', 'ab', '']
const badExpression = '(?=a)'
const expressions = ['/a.*', 'a', '/(a|b)/?', '/[ab]+/b', '^/a$', '/.*', badExpression]
const names = ['x', 'X', 'y']
const values = ['1', '2', '1, 2', '']
const methods = ['GET', 'POST', 'PUT']
const gateways = ['n/one', 'n/two']
const ports = [80, 8080]

const some = <T>(value: fc.Arbitrary<T>, maxLength: number) => fc.array(value, { maxLength })
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 })

const paths = fc.array(fc.constantFrom(...segments), { minLength: 1, maxLength: 4 }).map((all) => `/${all.join('/')}`)

const conditions: fc.Arbitrary<ValueMatch> = fc.oneof(
  fc.record({ type: fc.constant('Exact'), name: fc.constantFrom(...names), value: fc.constantFrom(...values) }),
  fc.record({
    type: fc.constant('RegularExpression'),
    name: fc.constantFrom(...names),
    value: fc.constantFrom('1', '[12]', '^1$', '.*'),
    anchored: maybe(fc.boolean()),
  }),
)

const matches: fc.Arbitrary<Match> = fc.record({
  path: maybe(
    fc.oneof(
      { weight: 3, arbitrary: fc.record({ type: fc.constant('PathPrefix'), value: paths }) },
      { weight: 2, arbitrary: fc.record({ type: fc.constant('Exact'), value: paths }) },
      {
        weight: 1,
        arbitrary: fc.record({
          type: fc.constant('RegularExpression'),
          value: fc.constantFrom(...expressions),
          anchored: maybe(fc.boolean()),
        }),
      },
    ),
  ),
  method: maybe(fc.constantFrom(...methods.slice(0, 2))),
  headers: maybe(some(conditions, 2)),
  queryParams: maybe(some(conditions, 2)),
})

const isBad = ({ path }: Match): boolean => path?.value === badExpression

const listeners: fc.Arbitrary<Listener[]> = fc
  .uniqueArray(
    fc.record({
      gateway: fc.constantFrom(...gateways),
      port: fc.constantFrom(...ports),
      protocol: fc.constantFrom('HTTP', 'HTTP', 'HTTPS'),
      hostname: maybe(fc.constantFrom(...patterns)),
    }),
    { maxLength: 8, selector: ({ gateway, port, hostname }) => `${gateway}/${port}/${hostname}` },
  )
  .map((all) => all.map((listener, i) => ({ ...listener, name: `l${i}` })))

const configs: fc.Arbitrary<ProxyConfig> = maybe(listeners).chain((listeners) => {
  const listenerNames = listeners?.map(({ name }) => name) ?? []
  const rule: fc.Arbitrary<Rule> = fc.record({
    hostnames: maybe(some(fc.constantFrom(...patterns), 3)),
    listeners: listenerNames.length === 0 ? fc.constant(undefined) : maybe(some(fc.constantFrom(...listenerNames), 3)),
    matches: maybe(some(matches, 4)),
    backends: fc.constant([{ url: 'http://127.0.0.1:1', weight: 1 }]),
  })
  return fc.array(rule, { minLength: 4, maxLength: 24, size: 'max' }).map((rules) => ({ version: 1, rules, listeners }))
})

const requests = fc.record({
  method: fc.constantFrom(...methods),
  host: fc.constantFrom(...hosts),
  path: paths,
  query: some(fc.tuple(fc.constantFrom(...names, '%78'), fc.constantFrom('1', '2', '1,+2', '%31', '')), 3).map(
    (pairs) => pairs.map(([name, value]) => `${name}=${value}`).join('&'),
  ),
  headers: some(fc.tuple(fc.constantFrom(...names), fc.constantFrom(...values)), 3),
  authority: fc.constantFrom<(host: string) => string>(
    (host) => host,
    (host) => `${host}:8080`,
    (host) => `${host.toUpperCase()}.`,
  ),
})

const entrances = maybe(
  fc.record({ gateway: maybe(fc.constantFrom(...gateways)), port: maybe(fc.constantFrom(...ports)) }),
)

test('the table finds what a literal reading of the specification finds', () => {
  let found = 0
  let asked = 0
  fc.assert(
    fc.property(configs, fc.array(fc.tuple(requests, entrances), { minLength: 10, maxLength: 30 }), (config, all) => {
      const { table } = compile(config, (_, index) => index)
      for (const [{ authority, ...request }, entrance] of all) {
        const { method, host, path, query, headers } = request
        const url = `http://${authority(host)}${path}${query === '' ? '' : `?${query}`}`
        const expected = judge(config, request, entrance, isBad)
        const actual = match(table, engineRequestOf({ method, url, headers }), entrance)
        asked++
        if (expected !== undefined) found++
        expect(
          actual && {
            ruleIndex: actual.ruleIndex,
            target: actual.target,
            matchIndex: actual.matchIndex,
            hostname: actual.hostname,
            failed: actual.failed ?? false,
          },
        ).toEqual(
          expected && {
            ruleIndex: expected.ruleIndex,
            target: expected.ruleIndex,
            matchIndex: expected.matchIndex,
            hostname: expected.hostname,
            failed: expected.failed,
          },
        )
      }
    }),
    { numRuns: 400 },
  )
  // A generator that seldom hits anything would prove nothing.
  expect(found / asked).toBeGreaterThan(0.25)
  expect(found / asked).toBeLessThan(0.95)
})
