/** Variants, from their start to their end. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import { type Backend, bodies } from './backend.ts'
import { scratchDirectory } from './processes.ts'
import type { Lane, Plan, Subject } from './sample.ts'
import type { Setup } from './variant.ts'

let runs = 0

/** Starts the lane's variant afresh. Whoever asked for it stops it. @throws when it does not start */
export async function startLane(plan: Plan, lane: Lane, backend: Backend): Promise<Subject> {
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
  return { plan, lane, setup, running: await lane.variant.start(setup) }
}
