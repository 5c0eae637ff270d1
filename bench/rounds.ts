/** Who is measured when, so that nobody is favoured. */
import type { Backend } from './backend.ts'
import { measureIdle } from './measure-idle.ts'
import { prepareLoad } from './measure-load.ts'
import type { Lane, Plan, Sample, Subject } from './sample.ts'
import type { IdleScenario, LoadScenario } from './scenarios.ts'
import { startLane } from './start-lane.ts'
import type { Round } from './summary.ts'

export interface Problem {
  scenario: string
  lane: string
  round: number
  what: string
}

export interface Measuring {
  readonly plan: Plan
  readonly lanes: readonly Lane[]
  readonly backend: Backend
  readonly problems: Problem[]
}

/** Does something for a lane in a round, and notes what goes wrong. */
async function attempt<T>(
  measuring: Measuring,
  lane: Lane,
  round: number,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    note(measuring, lane, round, error instanceof Error ? error.message : String(error))
    return undefined
  }
}

/** The same for a sample, which may say by itself what is wrong with it. */
async function attemptSample(
  measuring: Measuring,
  lane: Lane,
  round: number,
  take: () => Promise<Sample>,
): Promise<Sample | undefined> {
  const sample = await attempt(measuring, lane, round, take)
  for (const what of sample?.problems ?? []) note(measuring, lane, round, what)
  return sample
}

function note({ plan, problems }: Measuring, lane: Lane, round: number, what: string): void {
  problems.push({ scenario: plan.scenario.name, lane: lane.name, round: round + 1, what })
  process.stderr.write(`  PROBLEM ${what}\n`)
}

/** Forward, then backward: a machine that grows slower or faster on the way favours nobody. */
function inTurn<T>(all: readonly T[], turn: number): readonly T[] {
  return turn % 2 === 0 ? all : all.toReversed()
}

/**
 * Everybody is started and warmed up, and then measured in turns that are short against what the machine's other
 * tenants change: whom they disturb, they disturb alike.
 *
 * @returns a round of samples for each turn
 */
async function measureTogether(measuring: Measuring, scenario: LoadScenario, round: number): Promise<Round[]> {
  const { plan, lanes, backend } = measuring
  const started: Subject[] = []
  const ready: { lane: Lane; take: () => Promise<Sample> }[] = []
  try {
    for (const lane of inTurn(lanes, round)) {
      process.stderr.write(`${scenario.name}: round ${round + 1} of ${plan.rounds}: ${lane.name} warms up\n`)
      const take = await attempt(measuring, lane, round, async () => {
        const subject = await startLane(plan, lane, backend)
        started.push(subject)
        return prepareLoad(subject, scenario, backend)
      })
      if (take) ready.push({ lane, take })
    }
    const rounds: Round[] = []
    for (let turn = 0; turn < plan.turns; turn++) {
      process.stderr.write(
        `${scenario.name}: round ${round + 1} of ${plan.rounds}: turn ${turn + 1} of ${plan.turns}\n`,
      )
      const samples = new Map<string, Sample>()
      for (const { lane, take } of inTurn(ready, turn)) {
        const sample = await attemptSample(measuring, lane, round, take)
        if (sample) samples.set(lane.name, sample)
      }
      rounds.push(samples)
    }
    return rounds
  } finally {
    for (const { running } of started) await running.stop()
  }
}

/** One after the other, since memory is what is asked for. */
async function measureAlone(measuring: Measuring, scenario: IdleScenario, round: number): Promise<Round[]> {
  const { plan, lanes, backend } = measuring
  const samples = new Map<string, Sample>()
  for (const lane of inTurn(lanes, round)) {
    process.stderr.write(`${scenario.name}: round ${round + 1} of ${plan.rounds}: ${lane.name}\n`)
    const sample = await attemptSample(measuring, lane, round, async () => {
      const subject = await startLane(plan, lane, backend)
      return measureIdle(subject, scenario).finally(() => subject.running.stop())
    })
    if (sample) samples.set(lane.name, sample)
  }
  return [samples]
}

export async function measureRounds(measuring: Measuring): Promise<Round[]> {
  const { scenario, rounds } = measuring.plan
  const all: Round[] = []
  for (let round = 0; round < rounds; round++) {
    all.push(
      ...(scenario.kind === 'load'
        ? await measureTogether(measuring, scenario, round)
        : await measureAlone(measuring, scenario, round)),
    )
  }
  return all
}
