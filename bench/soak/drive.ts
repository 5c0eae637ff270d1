/** Keeps clients busy until told to stop, and counts what became of every exchange. */
import { setTimeout as sleep } from 'node:timers/promises'

import type { Kind, Target } from './traffic.ts'

export interface Tally {
  done: number
  failed: number
  /** The first few reasons, each once. */
  reasons: string[]
}

export interface Drive {
  tallies: ReadonlyMap<string, Tally>
  /** Resolves when the last exchange has ended. */
  stop(): Promise<void>
}

const politeClients = 24
const rudeClients = 6
/** Broken connections cost a port for a minute: some 200 a second leave most of the 28,000 free. */
const rudePauseMs = 30

export function startDrive(target: Target, kinds: readonly Kind[]): Drive {
  const tallies = new Map(kinds.map((kind): [string, Tally] => [kind.name, { done: 0, failed: 0, reasons: [] }]))
  let stopping = false

  async function exchange(kind: Kind): Promise<void> {
    const tally = tallies.get(kind.name)
    if (!tally) return
    try {
      await kind.run(target)
      tally.done++
    } catch (error) {
      tally.failed++
      const reason = error instanceof Error ? error.message : String(error)
      if (tally.reasons.length < 3 && !tally.reasons.includes(reason)) tally.reasons.push(reason)
    }
  }

  async function client(mine: readonly Kind[], pauseMs: number): Promise<void> {
    while (!stopping) {
      const kind = mine[Math.floor(Math.random() * mine.length)]
      if (kind) await exchange(kind)
      await sleep(pauseMs)
    }
  }

  const polite = kinds.filter((kind) => !kind.rude)
  const rude = kinds.filter((kind) => kind.rude)
  const clients = [
    ...Array.from({ length: politeClients }, () => client(polite, 0)),
    ...Array.from({ length: rudeClients }, () => client(rude, rudePauseMs)),
  ]
  return {
    tallies,
    async stop() {
      stopping = true
      await Promise.all(clients)
    },
  }
}
