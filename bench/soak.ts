/**
 * Ten minutes of mixed traffic, some of it broken on purpose, with a reload every ten seconds: nothing may grow, and
 * whoever behaves gets the right answer, byte for byte.
 *
 * Usage: node bench/soak.ts [--minutes 10] [--variant headgate|headgate-net|node-http] [--proxy-core 0] [--json FILE]
 */
import { rename, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

import { Pool } from 'undici8'

import { describeMachine } from './machine.ts'
import { startHeadgate } from './peers/headgate.ts'
import { nodeHttp } from './peers/node-http.ts'
import { endOnSignals, freePorts, scratchDirectory } from './processes.ts'
import { startSoakBackend } from './soak/backend.ts'
import { type SoakPorts, soakConfig } from './soak/config.ts'
import { startDrive } from './soak/drive.ts'
import { judgeGrowth, judgeQuiet } from './soak/judge.ts'
import { kinds } from './soak/traffic.ts'
import { type Reading, type Subject, takeReading } from './soak/watch.ts'

const host = 'bench.example.com'
const reloadEveryMs = 10_000

interface Running extends Subject {
  gateway: boolean
  /** Absent for what has no config. */
  reload?(version: number): Promise<void>
  stop(): Promise<void>
}

async function startSubject(variant: string, core: number, ports: SoakPorts): Promise<Running> {
  const directory = scratchDirectory()
  const common = { directory, core, backendPort: ports.backend }
  if (variant === 'node-http') {
    const rules = { count: 1, spread: 'hosts' } as const
    const setup = { ...common, door: 'http1', backendH2cPort: 0, loadCore: core } as const
    const running = await nodeHttp.start({ ...setup, host, bodyBytes: 1_024, rules })
    return { ...common, ...running, pid: running.pid ?? 0, gateway: false }
  }
  if (variant !== 'headgate' && variant !== 'headgate-net') throw new Error(`--variant knows no ${variant}`)
  const flags = variant === 'headgate-net' ? ['--no-fast-sockets'] : []
  const config = soakConfig(host, ports, 1)
  const running = await startHeadgate({ ...common, name: variant, config, flags, ready: { host, prefix: '' } })
  return {
    ...common,
    ...running,
    gateway: true,
    async reload(version) {
      const next = `${running.configFile}.next`
      await writeFile(next, JSON.stringify(soakConfig(host, ports, version)))
      await rename(next, running.configFile)
    },
  }
}

async function soak(minutes: number, variant: string, core: number, json: string | undefined): Promise<boolean> {
  const backend = await startSoakBackend()
  const [dead = 0] = await freePorts(1)
  const subject = await startSubject(variant, core, { backend: backend.port, dead })
  const pool = new Pool(`http://127.0.0.1:${subject.port}`, {
    connections: 64,
    headersTimeout: 15_000,
    bodyTimeout: 15_000,
  })
  const startedAtMs = performance.now()
  const before = await takeReading(subject, startedAtMs)
  const chosen = kinds.filter((kind) => subject.gateway || !kind.gateway)
  const drive = startDrive({ port: subject.port, host, pool }, chosen)

  const readings: Reading[] = []
  const endMs = startedAtMs + minutes * 60_000
  const everyMs = Math.min(5_000, (minutes * 60_000) / 40)
  let version = 1
  let reloadedMs = startedAtMs
  while (performance.now() < endMs) {
    await sleep(everyMs)
    if (subject.reload && performance.now() - reloadedMs > reloadEveryMs) {
      reloadedMs = performance.now()
      await subject.reload(++version)
    }
    const reading = await takeReading(subject, startedAtMs)
    readings.push(reading)
    process.stderr.write(
      `${reading.seconds.toFixed(0)} s: ${reading.residentMib.toFixed(1)} MiB resident, ` +
        `${reading.heapMib?.toFixed(1) ?? '–'} MiB heap, ${reading.files} files, ` +
        `${reading.downstream} client and ${reading.upstream} backend connections\n`,
    )
  }
  await drive.stop()
  await pool.destroy()
  await sleep(5_000) // streams that clients left are noticed by their next write, deadlines run out
  const after = await takeReading(subject, startedAtMs)
  await subject.stop()
  await backend.close()

  const judgements = [...judgeGrowth(readings), ...judgeQuiet(before, after)]
  const tallies = Object.fromEntries(drive.tallies)
  console.log(`${variant}, ${minutes} minutes, ${version - 1} reloads\n`)
  for (const [name, { done, failed, reasons }] of drive.tallies) {
    console.log(
      `${name.padEnd(24)} ${String(done).padStart(8)} done  ${failed} failed${reasons.map((reason) => `\n    ${reason}`).join('')}`,
    )
  }
  console.log('')
  for (const { what, early, late, limit, holds } of judgements) {
    console.log(
      `${what.padEnd(32)} ${early.toFixed(1)} → ${late.toFixed(1)} (limit ${limit.toFixed(1)}) ${holds ? 'holds' : 'GREW'}`,
    )
  }
  const passed =
    judgements.every((each) => each.holds) &&
    Object.values(tallies).every(({ done, failed }) => done > 0 && failed === 0)
  console.log(passed ? '\nNothing grew, and every exchange went as it must.' : '\nFAILED')
  if (json !== undefined) {
    const document = {
      schema: 1,
      machine: await describeMachine(),
      variant,
      minutes,
      passed,
      judgements,
      tallies,
      before,
      after,
      readings,
    }
    await writeFile(json, `${JSON.stringify(document, null, 1)}\n`)
  }
  return passed
}

endOnSignals()
try {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      variant: { type: 'string', default: 'headgate' },
      'proxy-core': { type: 'string', default: '0' },
      json: { type: 'string' },
    },
  })
  const minutes = Number(values.minutes)
  if (!(minutes > 0)) throw new Error(`--minutes wants a number above 0, not "${values.minutes}"`)
  process.exitCode = (await soak(minutes, values.variant, Number(values['proxy-core']), values.json)) ? 0 : 1
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  // A backend or client that was left half-open by a failure must not keep us alive.
  process.exit()
}
