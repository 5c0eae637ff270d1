/** `npm run bench`: every chosen scenario with every chosen variant, alternated, to a table and a JSON file. */
import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'

import { startBackend } from './backend.ts'
import { judge, type FloorResult } from './floors.ts'
import { findGenerators, lackOf } from './generators.ts'
import { describeMachine } from './machine.ts'
import { type Options, readOptions, usage } from './options.ts'
import { endOnSignals, output, scratchDirectory } from './processes.ts'
import { renderFloors, renderRows } from './report.ts'
import { measureRounds, type Problem } from './rounds.ts'
import type { Lane, Plan } from './sample.ts'
import { type Scenario, scenarios } from './scenarios.ts'
import { summarise } from './summary.ts'
import type { Availability, Variant } from './variant.ts'
import { variants } from './variants.ts'

const references = ['nginx', 'haproxy', 'haproxy-big', 'caddy', 'go', 'own-h2-tls', 'own-h2c']

function lanes(scenario: Scenario, present: readonly Variant[]): Lane[] {
  const taking = present.filter(
    ({ role, doors = ['http1'] }) =>
      (!scenario.oursOnly || role === 'ours') &&
      (scenario.kind === 'idle' ? role !== 'control' && doors.includes('http1') : doors.includes(scenario.door)),
  )
  return taking.flatMap((variant) =>
    scenario.ruleSets.map((rules) => ({
      name: scenario.ruleSets.length === 1 ? variant.name : `${variant.name}, ${rules.count} ${rules.spread}`,
      variant,
      rules,
    })),
  )
}

async function list(): Promise<void> {
  console.log('Scenarios:')
  for (const { name, title } of scenarios) console.log(`  ${name.padEnd(16)} ${title}`)
  console.log('\nVariants:')
  for (const variant of variants) {
    const { missing, version } = await variant.available()
    console.log(
      `  ${variant.name.padEnd(16)} ${variant.summary}${version ? ` [${version}]` : ''}${missing ? ` – MISSING: ${missing}` : ''}`,
    )
  }
}

async function bench(options: Options): Promise<boolean> {
  const { proxyCore, loadCore } = options
  if (Math.max(proxyCore, loadCore) >= availableParallelism() || proxyCore === loadCore) {
    throw new Error(`cores ${proxyCore} and ${loadCore} are wanted; this machine has ${availableParallelism()}`)
  }
  const generators = await findGenerators()
  // We wait and read /proc while others are measured: not on the proxy's core.
  await output('taskset', ['-acp', String(loadCore), String(process.pid)])

  const asked = await Promise.all(
    options.variants.map(
      async (variant) => ({ variant, ...(await variant.available()) }) satisfies Availability & { variant: Variant },
    ),
  )
  const present = asked.filter((each) => each.missing === undefined)
  const missing = asked.filter((each) => each.missing !== undefined)
  for (const each of missing) process.stderr.write(`not measured: ${each.variant.name}: ${each.missing}\n`)
  const unmeasured = missing.map((each) => `${each.variant.name} (${each.missing})`)

  const startedAt = new Date()
  const machine = await describeMachine()
  const backend = await startBackend(scratchDirectory(), loadCore)
  const problems: Problem[] = []
  const floors: FloorResult[] = []
  const results = []
  console.log(
    `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}, commit ${machine.commit}`,
  )
  console.log(
    `${options.rounds} rounds of ${options.turns} turns of ${options.seconds} s; "vs X" is X's CPU per request divided by the row's\n`,
  )
  for (const scenario of options.scenarios) {
    const lack = lackOf(scenario, generators)
    if (lack !== undefined) {
      unmeasured.push(`${scenario.name} (${lack})`)
      process.stderr.write(`not measured: ${scenario.name}: ${lack}\n`)
      continue
    }
    const all = lanes(
      scenario,
      present.map(({ variant }) => variant),
    )
    if (all.length === 0) continue
    const plan: Plan = { ...options, scenario }
    const rounds = await measureRounds({ plan, lanes: all, backend, problems })
    const names = all.map((lane) => lane.name)
    const compared = scenario.oursOnly ? names.filter((name) => / 10 /.test(name)) : references
    const rows = summarise(names, compared, rounds)
    floors.push(...judge(scenario.name, rows))
    results.push({ scenario, rows, rounds: rounds.map((round) => Object.fromEntries(round)) })
    console.log(`${renderRows(scenario.title, rows, compared)}\n`)
  }
  await backend.stop()

  if (unmeasured.length > 0) console.log(`Not measured: ${unmeasured.join('; ')}\n`)
  if (floors.length > 0) console.log(`${renderFloors(floors)}\n`)
  for (const { scenario, lane, round, what } of problems)
    console.log(`PROBLEM ${scenario}, ${lane}, round ${round}: ${what}`)

  const file =
    options.json ??
    join(import.meta.dirname, 'results', `${startedAt.toISOString().replaceAll(':', '-').slice(0, 19)}Z.json`)
  await mkdir(dirname(file), { recursive: true })
  const document = {
    schema: 3,
    startedAt: startedAt.toISOString(),
    endedAt: new Date().toISOString(),
    machine,
    load: generators,
    unmeasured,
    settings: {
      rounds: options.rounds,
      turns: options.turns,
      seconds: options.seconds,
      warmupSeconds: options.warmupSeconds,
      proxyCore,
      loadCore,
    },
    variants: asked.map(({ variant: { name, role, summary }, ...rest }) => ({ name, role, summary, ...rest })),
    results,
    floors,
    problems,
  }
  await writeFile(file, `${JSON.stringify(document, null, 1)}\n`)
  console.log(`Result: ${file}`)
  return problems.length === 0 && (!options.check || floors.every((each) => each.holds))
}

endOnSignals()

try {
  const options = readOptions(process.argv.slice(2))
  if (options.help) console.log(usage)
  else if (options.list) await list()
  else process.exit((await bench(options)) ? 0 : 1) // and with us whatever did not come up
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
