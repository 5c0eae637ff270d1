import { beforeEach, describe, expect, test } from 'vitest'
import { createConfigControl, type ConfigControl, type ConfigControlOptions } from '../../src/control/config-control.ts'
import type { ConfigIssue } from '../../src/config/issues.ts'
import type { ProxyConfig } from '../../src/config/proxy-config.ts'
import { createStateDirectory } from '../../src/sources/state-directory.ts'
import { createMemoryFiles } from '../support/memory-files.ts'
import { createRecordedLog, type RecordedLog } from '../support/recorded-log.ts'

let nowMs: number
let log: RecordedLog
let applied: ProxyConfig[]
let issues: readonly ConfigIssue[]

const clock = { now: () => nowMs, wallNow: () => nowMs, every: () => () => {} }

beforeEach(() => {
  nowMs = 1_000_000
  log = createRecordedLog()
  applied = []
  issues = []
})

function controlOf(options: Partial<ConfigControlOptions> = {}): ConfigControl {
  return createConfigControl({
    proxy: {
      get config() {
        return applied.at(-1)
      },
      apply(config) {
        applied.push(config)
        return issues
      },
    },
    clock,
    log,
    ...options,
  })
}

const configOf = (version: number): ProxyConfig => ({
  version,
  rules: [],
  hasGrpcRoute: undefined,
  listeners: undefined,
})
const secret = {
  version: 7,
  rules: [
    {
      filters: [
        {
          type: 'RequestHeaderModifier',
          requestHeaderModifier: { set: [{ name: 'Authorization', value: 'Bearer hunter2' }] },
        },
      ],
      backends: [{ url: 'https://u:hunter2@b.example', weight: 1, tls: { clientKeyPem: btoa('hunter2') } }],
    },
  ],
}

describe('versions of pushed configs', () => {
  test.each<[string, number[], number, boolean, string]>([
    ['the first one is applied', [], 1, false, 'applied'],
    ['a newer one is applied', [3], 4, false, 'applied'],
    ['an equal one is applied again', [3], 3, false, 'applied'],
    ['an older one is stale', [3], 2, false, 'stale'],
    ['an older one with force is applied', [3], 2, true, 'applied'],
    ['version 0 is refused', [], 0, false, 'invalid'],
    ['version 0 is refused after another as well', [3], 0, false, 'invalid'],
    ['version 0 with force is applied', [3], 0, true, 'applied'],
  ])('%s', async (_, before, version, force, kind) => {
    const control = controlOf()
    for (const earlier of before) await control.push({ version: earlier, rules: [] }, false)
    const serving = control.version()
    expect((await control.push({ version, rules: [] }, force)).kind).toBe(kind)
    expect(control.version()).toBe(kind === 'applied' ? version : serving)
    expect(applied).toHaveLength(before.length + (kind === 'applied' ? 1 : 0))
  })

  test('what follows a forced older one counts from there', async () => {
    const control = controlOf()
    await control.push({ version: 9 }, false)
    await control.push({ version: 2 }, true)
    expect((await control.push({ version: 3 }, false)).kind).toBe('applied')
  })
})

describe('what a push is told', () => {
  test('the reasons, when it is no config; and the last good one serves on', async () => {
    const control = controlOf()
    await control.push({ version: 1 }, false)
    const outcome = await control.push({ version: 2, rules: 'none' }, false)
    expect(outcome).toMatchObject({ kind: 'invalid', issues: [{ path: 'rules' }] })
    expect(control.version()).toBe(1)
    expect(control.describe()).toMatchObject({ lastFailure: { stillServing: true } })
  })

  test('warnings of the reader and findings of the compiler', async () => {
    issues = [{ path: 'rules[0]', message: 'answers 500' }]
    const outcome = await controlOf().push({ version: 1, colour: 'blue' }, false)
    expect(outcome).toMatchObject({ kind: 'applied', diagnostics: [{ path: 'colour' }, { path: 'rules[0]' }] })
  })

  test('a failure is forgotten once a config has been applied', async () => {
    const control = controlOf()
    await control.push([], false)
    await control.push({ version: 1 }, false)
    expect(control.describe()).toMatchObject({ lastFailure: null, config: { version: 1, from: 'push' } })
  })

  test('that files are the only source', async () => {
    const control = controlOf({ files: { kind: 'manifests', paths: ['routes'] } })
    expect(control.refusesPushes).toBe('this config comes from manifests files (routes), and from nowhere else')
    expect((await control.push({ version: 1 }, true)).kind).toBe('not-accepted')
    expect(applied).toEqual([])
  })
})

describe('configs from files', () => {
  test('what cannot be served changes nothing, and every reason is logged', () => {
    const control = controlOf({ files: { kind: 'manifests', paths: ['routes'] } })
    control.load({ config: configOf(1), findings: [] })
    control.load({ problems: ['routes/a.yaml:3:1: a tab.', 'routes/b.yaml:1:1: an ampersand.'] })
    expect(control.version()).toBe(1)
    expect(log.lines).toEqual([
      'info: config applied',
      'error: routes/a.yaml:3:1: a tab.',
      'error: routes/b.yaml:1:1: an ampersand.',
      'error: config not applied: the last good config keeps serving',
    ])
    expect(control.describe()).toMatchObject({
      config: { version: 1 },
      source: { kind: 'manifests', paths: ['routes'] },
      lastFailure: { problems: ['routes/a.yaml:3:1: a tab.', 'routes/b.yaml:1:1: an ampersand.'], stillServing: true },
    })
  })

  test('findings are logged by their weight, and described', () => {
    const control = controlOf()
    control.load({ config: configOf(1), findings: [{ level: 'error', text: 'Service a/b has no port 1.' }] })
    expect(log.lines).toEqual(['info: config applied', 'warn: Service a/b has no port 1.'])
    expect(control.describe()).toMatchObject({ config: { findings: [{ level: 'error' }], findingsInAll: 1 } })
  })

  test('ten thousand findings do not make ten thousand log lines', () => {
    const findings = Array.from({ length: 10_000 }, (_, i) => ({ level: 'warning' as const, text: `finding ${i}.` }))
    controlOf().load({ config: configOf(1), findings })
    expect(log.lines).toHaveLength(52)
    expect(log.lines.at(-1)).toBe('warn: 9950 more findings')
  })
})

describe('no secret is shown', () => {
  test('neither in the config, nor in what is said of it, nor in the log', async () => {
    const control = controlOf()
    await control.push(secret, false)
    const shown = JSON.stringify([control.config(), control.describe(), log.lines, log.fields])
    expect(shown).toContain('[redacted]')
    expect(shown).not.toContain('hunter2')
    expect(shown).not.toContain(btoa('hunter2'))
  })
})

describe('the state directory', () => {
  const stateOf = (files = createMemoryFiles(), maxAgeMs = Infinity): ReturnType<typeof createStateDirectory> =>
    createStateDirectory(files, clock, '/state/', maxAgeMs)

  test('brings back what was pushed before, secrets and all', async () => {
    const files = createMemoryFiles()
    await controlOf({ state: stateOf(files) }).push(secret, false)
    const [pushed] = applied
    expect([...files.texts.keys()]).toEqual(['/state/config.json'])
    applied = []
    nowMs += 60_000
    const control = controlOf({ state: stateOf(files) })
    await control.restore()
    expect(applied).toEqual([pushed])
    expect(control.describe()).toMatchObject({ config: { version: 7, from: 'state', keptSecondsAgo: 60 } })
    expect((await control.push({ version: 6 }, false)).kind).toBe('stale')
  })

  test('keeps the last of several pushes', async () => {
    const files = createMemoryFiles()
    const control = controlOf({ state: stateOf(files) })
    await Promise.all([1, 2, 3].map((version) => control.push({ version }, false)))
    expect(JSON.parse(files.texts.get('/state/config.json')!)).toMatchObject({ config: { version: 3 } })
  })

  test('a disk that fails does not fail the push', async () => {
    const files = { ...createMemoryFiles(), writeAtomically: () => Promise.reject(new Error('ENOSPC')) }
    const control = controlOf({ state: createStateDirectory(files, clock, '/state', Infinity) })
    expect((await control.push({ version: 1 }, false)).kind).toBe('applied')
    expect((await control.push({ version: 2 }, false)).kind).toBe('applied')
    expect(log.lines.filter((line) => line.startsWith('error: '))).toHaveLength(2)
  })

  test('that is empty is no reason to complain', async () => {
    await controlOf({ state: stateOf() }).restore()
    expect([applied, log.lines]).toEqual([[], []])
  })

  const kept = (config: unknown): string => JSON.stringify({ savedAtMs: 1_000_000, config })
  test.each([
    ['is cut off', '{"savedAtMs": 1', 'is damaged'],
    ['is something else', '[]', 'is damaged'],
    ['has no time', '{"config": {"version": 1}, "savedAtMs": "then"}', 'is damaged'],
    ['holds no config', kept({ version: -1 }), 'holds no config that can be served'],
  ])('whose file %s is not served, and said so', async (_, text, reason) => {
    await controlOf({ state: stateOf(createMemoryFiles({ '/state/config.json': text })) }).restore()
    expect(applied).toEqual([])
    expect(log.lines).toEqual([`warn: no config restored: /state/config.json ${reason}`])
  })

  test.each([
    [59_999, 1],
    [60_001, 0],
  ])('with a config of %i ms and a greatest age of a minute', async (ageMs, served) => {
    nowMs += ageMs
    await controlOf({
      state: stateOf(createMemoryFiles({ '/state/config.json': kept({ version: 1 }) }), 60_000),
    }).restore()
    expect(applied).toHaveLength(served)
  })
})

test('metrics count what became of configs', async () => {
  const control = controlOf()
  await control.push({ version: 5 }, false)
  await control.push({ version: 4 }, false)
  await control.push({ version: 'x' }, false)
  nowMs += 30_000
  const samples = control
    .families()
    .flatMap(({ name, samples }) =>
      [...samples()].map(({ labels, value }) => [name, ...Object.values(labels), value].join(' ')),
    )
  expect(samples).toEqual([
    'headgate_config_version 5',
    'headgate_config_rules 0',
    'headgate_config_findings 0',
    'headgate_config_applied_timestamp_seconds 1000',
    'headgate_config_age_seconds 30',
    'headgate_config_failing 1',
    'headgate_config_loads_total applied 1',
    'headgate_config_loads_total refused 1',
    'headgate_config_loads_total stale 1',
  ])
})
