/** CPU, memory and latency under load. */
import { type Backend, bodies } from './backend.ts'
import { runH2load } from './h2load.ts'
import { questionFor } from './http2-client.ts'
import { coreTime, cpuTime, residentKib } from './procfs.ts'
import { ruleTargets, sampleTargets } from './rules.ts'
import type { LoadResult } from './load.ts'
import type { LoadSample, Subject } from './sample.ts'
import type { LoadScenario } from './scenarios.ts'
import { verify } from './verify.ts'
import { runWrk } from './wrk.ts'

const targetLimit = 100

/** The most memory seen while the load runs. */
function watchMemory(pid: number): () => number {
  let mostKib = residentKib(pid)
  const timer = setInterval(() => (mostKib = Math.max(mostKib, residentKib(pid))), 200)
  return () => {
    clearInterval(timer)
    return mostKib / 1024
  }
}

/**
 * Asks the subject whether it is what it should be, and warms it up.
 *
 * @returns takes one sample: charges the proxy's process tree with the CPU time that it used while its answers were counted
 * @throws when the subject does not serve what it should
 */
export async function prepareLoad(
  subject: Subject,
  scenario: LoadScenario,
  backend: Backend,
): Promise<() => Promise<LoadSample>> {
  const { plan, lane, setup } = subject
  const { pid, port } = subject.running
  const ask = subject.running.ask ?? questionFor(scenario.door)
  const send = subject.running.load ?? (scenario.door === 'h2c' ? runH2load : runWrk)
  const control = lane.variant.role === 'control'
  const targets = sampleTargets(ruleTargets(setup), targetLimit)
  const [first, last] = [targets[0], targets.at(-1)]
  if (!first || !last) throw new Error('no rule to measure')
  const idleMib = pid === undefined ? 0 : residentKib(pid) / 1024
  for (const target of new Set([first, last])) await verify({ ...scenario, port, ask, control, target })

  const load = { scenario, port, targets, core: plan.loadCore, directory: setup.directory }
  let before = await send({ ...load, seconds: plan.warmupSeconds })
  const unsaid = errorsOf(before).map((what) => `${what} while warming up`)
  return measure

  async function measure(): Promise<LoadSample> {
    const served = await backend.served()
    const core = coreTime(plan.proxyCore)
    const cpu = pid === undefined ? undefined : cpuTime(pid)
    const began = performance.now()
    const memory = pid === undefined ? undefined : watchMemory(pid)
    const result = await send({
      ...load,
      seconds: plan.seconds,
      expectedPerSecond: before.requests / before.seconds,
    })
    before = result
    const elapsedUs = (performance.now() - began) * 1_000
    const cpuAfter = pid === undefined ? undefined : cpuTime(pid)
    const coreAfter = coreTime(plan.proxyCore)
    const loadedMib = memory?.() ?? 0
    const servedAfter = await backend.served()

    const problems = [...unsaid.splice(0), ...errorsOf(result)]
    if (result.requests === 0) problems.push('not one request was answered')
    if (result.bytes < result.requests * bodies[scenario.path].length && first?.prefix === '')
      problems.push('short answers')
    const reached = servedAfter - served - 1 // less our second question
    if (reached < result.requests) problems.push(`only ${reached} of ${result.requests} requests reached the backend`)

    const busyUs = coreAfter.busyUs - core.busyUs + coreAfter.stolenUs - core.stolenUs
    const userUs = cpu && cpuAfter ? cpuAfter.userUs - cpu.userUs : 0
    const kernelUs = cpu && cpuAfter ? cpuAfter.kernelUs - cpu.kernelUs : 0
    const totalUs = userUs + kernelUs
    return {
      kind: 'load',
      requests: result.requests,
      seconds: result.seconds,
      requestsPerSecond: result.requests / result.seconds,
      ...(result.p50Us !== undefined && { p50Ms: result.p50Us / 1_000 }),
      ...(result.p99Us !== undefined && { p99Ms: result.p99Us / 1_000 }),
      ...(pid !== undefined && {
        proxy: {
          cpuUs: totalUs / Math.max(1, result.requests),
          kernelShare: kernelUs / Math.max(1, totalUs),
          coreShare: totalUs / elapsedUs,
          disturbance: Math.max(0, busyUs - totalUs) / elapsedUs,
          idleMib,
          loadedMib,
        },
      }),
      problems,
    }
  }
}

function errorsOf({ errors }: LoadResult): string[] {
  return Object.entries(errors).map(([kind, count]) => `${count} ${kind} errors`)
}
