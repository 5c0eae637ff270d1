/** Breaks the connections of a local edge, one after the other, and remembers what it broke, and when. */
import type { ConnectorConnection } from '../../../src/tunnel/edge/connection.ts'
import type { Edge } from '../../../src/tunnel/edge/edge.ts'
import { rateLimited, registrationErrors, type ConnectionFaults } from '../../../src/tunnel/edge/faults.ts'
import type { Transport } from '../../../src/tunnel/protocol.ts'
import type { Random } from '../../support/random.ts'

/** Something that costs the requests in flight on one connection. */
export interface Damage {
  /** The connection's name at the edge. */
  readonly connection: string
  readonly how: string
  /** What it was given later is not to be lost by it. */
  readonly atMs: number
}

export interface Monkey {
  readonly damages: readonly Damage[]
  /** How often each thing was done. */
  readonly deeds: ReadonlyMap<string, number>
  /** Nothing goes wrong any more. */
  stop(): Promise<void>
}

/** What can be done to a connection. `costs`: what is in flight on it may be lost. */
const deeds: Readonly<Record<string, { readonly costs: boolean; act(connection: ConnectorConnection): void }>> = {
  kill: { costs: true, act: (connection) => connection.close() },
  reset: { costs: true, act: (connection) => connection.close('reset') },
  stall: { costs: true, act: (connection) => connection.freeze() },
  'stall, hearing': { costs: true, act: (connection) => connection.freeze('writing') },
  'stall, talking': { costs: true, act: (connection) => connection.freeze('reading') },
  'lose control': { costs: true, act: (connection) => connection.loseControl() },
  drain: { costs: false, act: (connection) => connection.goAway() },
}
const brisk = ['kill', 'reset', 'drain', 'lose control', 'restart'] as const
const stalls = ['stall', 'stall, hearing', 'stall, talking'] as const
/**
 * Stalls take half a minute to be noticed, so they are rarer than the rest. Over QUIC none is: whoever hangs has a
 * runtime that goes on acknowledging.
 */
const choices = {
  http2: [...Array.from({ length: 6 }, () => brisk).flat(), ...stalls],
  quic: brisk,
} as const

/** What a connection may meet with before it serves; most meet with nothing. */
const misfortunes: readonly (ConnectionFaults | undefined)[] = [
  ...Array.from({ length: 12 }, () => undefined),
  { rpcDelayMs: 150 },
  { segmented: true },
  { pace: { pieceBytes: 700, delayMs: 1 } },
  { registration: { kind: 'exception', reason: 'chaos' } },
  { registration: { kind: 'abort' } },
  { registration: { kind: 'error', error: registrationErrors.duplicate } },
  { registration: { kind: 'error', error: rateLimited(1_500) } },
  { registration: { kind: 'close-after' } },
]

export function startMonkey(edge: Edge, protocol: Transport, random: Random): Monkey {
  const damages: Damage[] = []
  const counts = new Map<string, number>()
  const broken = new WeakSet<ConnectorConnection>()
  const restarts = new Set<Promise<void>>()
  let stopping = false

  const healthy = (): ConnectorConnection[] =>
    edge.connections.filter((each) => each.phase === 'registered' && !each.frozen && !broken.has(each))

  function damage(connection: ConnectorConnection, how: string): void {
    broken.add(connection)
    damages.push({ connection: connection.id!, how, atMs: performance.now() })
  }

  function act(): void {
    const whole = healthy()
    // A tunnel without any connection answers nothing, whatever the connector does: one is always left.
    if (whole.length < 2) return
    const victim = random.pick(whole)
    const choice = random.pick<string>(choices[protocol])
    counts.set(choice, (counts.get(choice) ?? 0) + 1)
    const deed = deeds[choice]
    if (!deed) restarts.add(restart(victim.server))
    else if (deed.costs) damage(victim, choice)
    deed?.act(victim)
    broken.add(victim)
  }

  /** A server of the edge's is gone, with its connections, and comes back after a while. */
  async function restart(server: number): Promise<void> {
    await edge.servers[server]!.refuse()
    for (const connection of edge.connections) {
      if (connection.server !== server) continue
      if (connection.phase !== 'accepted') damage(connection, 'restart')
      connection.close()
    }
    await pause(random.between(200, 4_000))
    await edge.servers[server]!.accept()
  }

  edge.plan = () => {
    const fault = random.pick(misfortunes)
    if (fault?.registration?.kind !== 'close-after') return fault
    // It has no name yet, and gets one when it registers.
    queueMicrotask(() => {
      const connection = edge.connections.at(-1)!
      broken.add(connection)
      closers.push(connection)
    })
    return fault
  }
  const closers: ConnectorConnection[] = []

  async function run(): Promise<void> {
    while (!stopping) {
      act()
      await pause(random.between(100, 1_500))
    }
  }

  const running = run()
  return {
    get damages() {
      return [
        ...damages,
        ...closers.map(({ id }) => ({
          connection: id ?? 'never registered',
          how: 'close after registration',
          atMs: Infinity,
        })),
      ]
    },
    deeds: counts,
    async stop() {
      stopping = true
      edge.plan = () => undefined
      await running
      await Promise.all(restarts)
    },
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
