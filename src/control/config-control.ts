/** The config that serves: where it came from, which may replace it, and what was wrong with the last one. */
import type { ConfigIssue } from '../config/issues.ts'
import { parseProxyConfig, type ProxyConfig, type WireConfig } from '../config/proxy-config.ts'
import type { PushOutcome } from '../config/push-outcome.ts'
import { redact } from '../config/redact.ts'
import { toWire } from '../config/to-wire.ts'
import type { Proxy } from '../proxy/proxy.ts'
import type { Clock } from '../runtime.ts'
import type { Finding, Loaded } from '../sources/source.ts'
import type { StateDirectory } from '../sources/state-directory.ts'
import type { Log, MetricFamily } from '../telemetry.ts'

export interface ConfigControlOptions {
  readonly proxy: Pick<Proxy, 'apply' | 'config'>
  /** Told of each config, right after it has begun to serve. */
  readonly onApplied?: (config: ProxyConfig) => void
  readonly clock: Clock
  readonly log: Log
  /** Files that are the config's only source; absent: it is pushed. */
  readonly files?: { readonly kind: string; readonly paths: readonly string[] } | undefined
  readonly state?: StateDirectory | undefined
}

export interface ConfigControl {
  /** 0 while there is none. */
  readonly version: () => number
  /** The wire form, secrets redacted. */
  readonly config: () => WireConfig | undefined
  readonly refusesPushes: string | undefined
  readonly push: (json: unknown, force: boolean) => Promise<PushOutcome>
  /** Serves what a source has read; or, if that cannot be served, stays with what there is, and says so. */
  readonly load: (loaded: Loaded) => void
  /** Serves the config kept by an earlier run, if there is one that may be. */
  readonly restore: () => Promise<void>
  /** For `/readyz?verbose`. */
  readonly describe: () => Readonly<Record<string, unknown>>
  readonly families: () => readonly MetricFamily[]
}

/** How many findings one reload writes to the log, and one description lists. */
const mostFindings = 50

export function createConfigControl(options: ConfigControlOptions): ConfigControl {
  const { proxy, clock, log, files, state } = options
  let appliedAtMs = 0
  let savedAtMs: number | undefined
  let findings: readonly Finding[] = []
  let origin: 'files' | 'push' | 'state' | undefined
  let failure: { readonly atMs: number; readonly problems: readonly string[] } | undefined
  const counts = { applied: 0, refused: 0, stale: 0 }
  const refusesPushes =
    files &&
    (files.kind === 'origin'
      ? `every request goes to ${files.paths.join(', ')} as --origin says, and no config is taken`
      : `this config comes from ${files.kind} files (${files.paths.join(', ')}), and from nowhere else`)

  function apply(
    config: ProxyConfig,
    from: 'files' | 'push' | 'state',
    said: readonly Finding[],
  ): readonly ConfigIssue[] {
    const issues = proxy.apply(config)
    counts.applied++
    appliedAtMs = clock.wallNow()
    origin = from
    failure = undefined
    findings = [...said, ...issues.map((issue): Finding => ({ level: 'error', text: sentenceOf(issue) }))]
    options.onApplied?.(config)
    log.info('config applied', {
      source: from,
      version: config.version,
      rules: config.rules.length,
      findings: findings.length,
    })
    for (const { level, text } of findings.slice(0, mostFindings)) {
      if (level === 'info') log.info(text)
      else log.warn(text)
    }
    if (findings.length > mostFindings) log.warn(`${findings.length - mostFindings} more findings`)
    return issues
  }

  async function save(config: ProxyConfig): Promise<void> {
    try {
      await state?.save(config)
    } catch (error) {
      log.error('the config serves, but could not be kept in the state directory', { error: (error as Error).message })
    }
  }

  return {
    refusesPushes,
    version: () => proxy.config?.version ?? 0,
    config: () => proxy.config && redact(toWire(proxy.config)),

    async push(json, force) {
      if (refusesPushes !== undefined) return { kind: 'not-accepted', reason: refusesPushes }
      const parsed = parseProxyConfig(json)
      const issues = parsed.issues ?? (force || parsed.config.version >= 1 ? undefined : unversioned)
      if (issues !== undefined) {
        counts.refused++
        failure = { atMs: clock.wallNow(), problems: issues.map(sentenceOf) }
        log.warn('pushed config refused', { issues: issues.length, first: sentenceOf(issues[0]!) })
        return { kind: 'invalid', issues }
      }
      const config = parsed.config!
      const current = proxy.config?.version ?? 0
      if (config.version < current && !force) {
        counts.stale++
        log.warn('pushed config refused: its version is older', { version: config.version, current })
        return { kind: 'stale', version: config.version, current }
      }
      const warnings = parsed.warnings!.map((issue): Finding => ({ level: 'warning', text: sentenceOf(issue) }))
      const diagnostics = apply(config, 'push', warnings)
      savedAtMs = undefined
      await save(config)
      return { kind: 'applied', version: config.version, diagnostics: [...parsed.warnings!, ...diagnostics] }
    },

    load(loaded) {
      if (loaded.problems === undefined) {
        apply(loaded.config, 'files', loaded.findings)
        return
      }
      counts.refused++
      failure = { atMs: clock.wallNow(), problems: loaded.problems }
      const consequence = proxy.config ? 'the last good config keeps serving' : 'there is no config to serve'
      for (const problem of loaded.problems.slice(0, mostFindings)) log.error(problem)
      log.error(`config not applied: ${consequence}`, { problems: loaded.problems.length })
    },

    async restore() {
      const restored = await state?.restore()
      if (restored === undefined) return
      if (restored.fault !== undefined) {
        log.warn(`no config restored: ${restored.fault}`)
        return
      }
      apply(restored.config, 'state', [])
      savedAtMs = restored.savedAtMs
    },

    describe() {
      const { config } = proxy
      const nowMs = clock.wallNow()
      return {
        config: config
          ? {
              version: config.version,
              rules: config.rules.length,
              from: origin,
              appliedAt: timeOf(appliedAtMs),
              ...(savedAtMs === undefined
                ? {}
                : { keptAt: timeOf(savedAtMs), keptSecondsAgo: secondsOf(nowMs - savedAtMs) }),
              findings: findings.slice(0, mostFindings),
              findingsInAll: findings.length,
            }
          : null,
        source: files ? { kind: files.kind, paths: files.paths } : { kind: 'push' },
        lastFailure: failure
          ? {
              at: timeOf(failure.atMs),
              problems: failure.problems.slice(0, mostFindings),
              stillServing: config !== undefined,
            }
          : null,
      }
    },

    families() {
      const one = (name: string, help: string, value: () => number | undefined): MetricFamily => ({
        name,
        help,
        type: 'gauge',
        *samples() {
          const now = value()
          if (now !== undefined) yield { labels: {}, value: now }
        },
      })
      return [
        one(
          'headgate_config_version',
          'Version of the config that serves; 0 for none.',
          () => proxy.config?.version ?? 0,
        ),
        one('headgate_config_rules', 'Rules of the config that serves.', () => proxy.config?.rules.length),
        one('headgate_config_findings', 'What is wrong with the config that serves.', () => findings.length),
        one('headgate_config_applied_timestamp_seconds', 'When the config that serves was applied.', () =>
          proxy.config ? appliedAtMs / 1000 : undefined,
        ),
        one('headgate_config_age_seconds', 'How long the config has been serving.', () =>
          proxy.config ? (clock.wallNow() - appliedAtMs) / 1000 : undefined,
        ),
        one('headgate_config_failing', '1 while the last attempt to replace the config has failed.', () =>
          failure ? 1 : 0,
        ),
        {
          name: 'headgate_config_loads_total',
          help: 'Configs that were pushed or read, by what became of them.',
          type: 'counter',
          *samples() {
            for (const [result, value] of Object.entries(counts)) yield { labels: { result }, value }
          },
        },
      ]
    },
  }
}

const unversioned: readonly ConfigIssue[] = [
  {
    path: 'version',
    message: 'must be 1 or more, so that an older config can never replace a newer one',
    fix: 'count it up with each config, or PUT /config?force=true',
  },
]

function sentenceOf({ path, message, fix }: ConfigIssue): string {
  return `${path === '' ? 'the config' : path} ${message}${fix === undefined ? '' : `; ${fix}`}`
}

function timeOf(atMs: number): string {
  return new Date(atMs).toISOString()
}

function secondsOf(durationMs: number): number {
  return Math.max(0, Math.round(durationMs / 1000))
}
