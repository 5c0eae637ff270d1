import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { defaultInWords } from '../../src/cli/option-flags.ts'
import { createConfigControl } from '../../src/control/config-control.ts'
import { createRequestMetrics } from '../../src/observe/request-metrics.ts'
import { createServiceMetrics } from '../../src/observe/service-metrics.ts'
import { environmentName, groups, optionTable, type OptionName, type OptionSpec } from '../../src/options.ts'
import { runtime } from '../support/service.ts'
import { silentLog } from '../../src/telemetry.ts'

const page = fileURLToPath(new URL('../../docs/operations.md', import.meta.url))
const text = await readFile(page, 'utf8')

/** A table for each group of options, as the page must have it. */
function optionTables(): string {
  return groups
    .map((group) => {
      const rows = (Object.keys(optionTable) as OptionName[]).flatMap((name) => {
        const spec: OptionSpec = optionTable[name]
        return spec.group === group ? [optionRow(name, spec)] : []
      })
      return `### ${group}\n\n| Option | In the environment | Default | |\n|---|---|---|---|\n${rows.join('\n')}\n`
    })
    .join('\n')
}

function optionRow(name: OptionName, spec: OptionSpec): string {
  const { flag, argument, fallback, predecessor, help, helpOff } = spec
  const negated = flag === undefined ? [] : [`\`--no-${flag}\``]
  const plain = flag === undefined ? [] : [`\`--${flag}${argument === undefined ? '' : ` ${argument}`}\``]
  const isSwitch = argument === undefined
  const flags =
    isSwitch && fallback === true ? negated : isSwitch && fallback === undefined ? [...plain, ...negated] : plain
  const names = [environmentName(name), predecessor?.name, predecessor?.also].flatMap((each) =>
    each ? [`\`${each}\``] : [],
  )
  const meaning = isSwitch && fallback === true ? helpOff : help
  const cells = [flags.join(' '), names.join(' '), defaultInWords(spec), meaning ?? help]
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('<', '&lt;')).join(' | ')} |`
}

describe('docs/operations.md', () => {
  test('lists every option as it is (vitest -u writes the tables)', async () => {
    const current = text.replace(
      /(<!-- options -->\n)[^]*(<!-- end of options -->)/,
      (_, begin: string, end: string) => `${begin}\n${optionTables()}\n${end}`,
    )
    await expect(current).toMatchFileSnapshot(page)
  })

  test('names every metric of ours, and no other', () => {
    const stats = { inFlight: 0, upgraded: 0, mirrors: { sent: 0, dropped: 0, failed: 0 } }
    const proxy = { config: undefined, apply: () => [] }
    const facts = { version: '', runtime: '', runtimeVersion: '', connections: () => 0, stats }
    const names = [
      ...createRequestMetrics().families(stats),
      ...createServiceMetrics(facts).families(),
      ...createConfigControl({ proxy, clock: runtime.clock, log: silentLog }).families(),
    ].map(({ name }) => name)
    const documented = [...text.matchAll(/`((?:cftunnel_proxy|headgate)_[a-z_]+)/g)].map(([, name]) => name)
    expect(new Set(documented)).toEqual(new Set(names))
  })
})
