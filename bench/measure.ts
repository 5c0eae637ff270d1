/** One measurement of one variant, from its start to its end. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import { type Backend, bodies } from './backend.ts'
import { measureIdle } from './measure-idle.ts'
import { measureLoad } from './measure-load.ts'
import { scratchDirectory } from './processes.ts'
import type { Lane, Plan, Sample, Subject } from './sample.ts'
import type { Setup } from './variant.ts'

let runs = 0

/** Starts the lane's variant afresh, measures, and ends it. @throws when it does not start or does not serve what it should */
export async function takeSample(plan: Plan, lane: Lane, backend: Backend): Promise<Sample> {
  const { scenario } = plan
  const directory = join(scratchDirectory(), `run-${runs++}`)
  await mkdir(directory, { recursive: true })
  const setup: Setup = {
    host: 'bench.example.com',
    door: scenario.kind === 'load' ? scenario.door : 'http1',
    backendPort: backend.port,
    backendH2cPort: backend.h2cPort,
    core: plan.proxyCore,
    loadCore: plan.loadCore,
    bodyBytes: scenario.kind === 'load' ? Math.max(bodies[scenario.path].length, scenario.sendBytes) : 1_024,
    rules: lane.rules,
    directory,
  }
  const running = await lane.variant.start(setup)
  try {
    const subject: Subject = { plan, lane, setup, running }
    return scenario.kind === 'load'
      ? await measureLoad(subject, scenario, backend)
      : await measureIdle(subject, scenario)
  } finally {
    await running.stop()
  }
}
