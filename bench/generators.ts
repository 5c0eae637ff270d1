/** What sends the load at each door, and whether this machine has it. */
import { h2loadVersion } from './h2load.ts'
import type { Scenario } from './scenarios.ts'
import type { Door } from './variant.ts'
import { wrkVersion } from './wrk.ts'

export type Generators = Readonly<Record<Door, string | undefined>>

export async function findGenerators(): Promise<Generators> {
  return { http1: await wrkVersion(), h2c: await h2loadVersion(), links: "Headgate's own HTTP/2 client" }
}

const lacking: Readonly<Record<Door, string>> = {
  http1: 'no wrk on the PATH (Debian: wrk)',
  h2c: 'no h2load on the PATH (Debian: nghttp2-client)',
  links: '',
}

/** Why a scenario cannot be measured here; undefined when it can. Idle connections are our own. */
export function lackOf(scenario: Scenario, generators: Generators): string | undefined {
  if (scenario.kind === 'idle' || generators[scenario.door] !== undefined) return undefined
  return lacking[scenario.door]
}
