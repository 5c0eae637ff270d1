/** Memory that a proxy spends on connections that say nothing. */
import { setTimeout as sleep } from 'node:timers/promises'

import { get } from './client.ts'
import { holdConnections } from './held-connections.ts'
import { residentKib } from './procfs.ts'
import { ruleTargets } from './rules.ts'
import type { IdleSample, Subject } from './sample.ts'
import type { IdleScenario } from './scenarios.ts'
import { verify } from './verify.ts'

/** Connections that come first and stay, so that code and buffers every process needs once are not counted. */
const settlingConnections = 200

/**
 * No load first: what a garbage collector has lying about after it would hide the memory of connections. So whatever the
 * connections' own requests leave behind counts, too.
 */
export async function measureIdle(subject: Subject, scenario: IdleScenario): Promise<IdleSample> {
  const { lane, setup } = subject
  const { pid, port } = subject.running
  if (pid === undefined) throw new Error(`${lane.name} has no process of its own`)
  const target = ruleTargets(setup)[0] ?? { host: setup.host, prefix: '' }
  await verify({ port, ask: get, control: false, target, path: '/1k', method: 'GET', sendBytes: 0 })

  const settling = await holdConnections(port, target, settlingConnections)
  await sleep(2_000)
  const beforeMib = residentKib(pid) / 1024
  const held = await holdConnections(port, target, scenario.connections)
  await sleep(2_000)
  const afterMib = residentKib(pid) / 1024

  const open = settling.open() + held.open()
  const expected = settlingConnections + scenario.connections
  settling.close()
  held.close()
  return {
    kind: 'idle',
    connections: scenario.connections,
    beforeMib,
    afterMib,
    kibPerConnection: ((afterMib - beforeMib) * 1024) / scenario.connections,
    problems: open === expected ? [] : [`only ${open} of ${expected} connections stayed open`],
  }
}
