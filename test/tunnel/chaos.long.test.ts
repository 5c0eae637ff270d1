/**
 * The edge at its worst for minutes, under load, through the whole gateway: what was not in flight on a connection
 * that was broken is answered, and answered right.
 *
 * HEADGATE_CHAOS_MINUTES (2), HEADGATE_CHAOS_SEED (a new one each time, which is printed) and HEADGATE_CHAOS_PROTOCOL
 * (all that the runtime has) choose another run.
 */
import { expect, test } from 'vitest'
import { defaultOptions } from '../../src/options.ts'
import { start } from '../../src/start.ts'
import { silentLog, type Log } from '../../src/telemetry.ts'
import { createTimers } from '../../src/timers.ts'
import { startEdge } from '../../src/tunnel/edge/edge.ts'
import { formatAddress } from '../../src/options/address.ts'
import { startBackend } from '../support/backend.ts'
import { createRandom } from '../support/random.ts'
import { quicRuntime as runtime } from '../support/quic.ts'
import { until } from '../support/until.ts'
import { createChaosBackend, startLoad } from './chaos/load.ts'
import { startMonkey } from './chaos/monkey.ts'
import { transports } from './edge/scene.ts'

const minutes = Number(process.env['HEADGATE_CHAOS_MINUTES'] ?? 2)
const seed = Number(process.env['HEADGATE_CHAOS_SEED'] ?? Math.floor(Math.random() * 0x1_0000_0000))
const workers = 32
const connections = 4
/** A stall that is noticed after 30 s, and then the longest wait of a connection that has failed often. */
const recoveryMs = 120_000

const wanted = process.env['HEADGATE_CHAOS_PROTOCOL']

test.each(transports.filter((protocol) => wanted === undefined || protocol === wanted))(
  `${minutes} minutes of chaos over %s, seed ${seed}: only what was in flight on a broken connection is lost`,
  { timeout: minutes * 60_000 + 5 * recoveryMs },
  async (protocol) => {
    /** The connection that a request was passed on to, the last one where there were several, and when. */
    const taken = new Map<string, { connection: string; atMs: number }>()
    const log: Log = {
      ...silentLog,
      debug(_, { path, connection } = {}) {
        taken.set(String(path), { connection: String(connection), atMs: performance.now() })
      },
    }
    const timers = createTimers(runtime.clock)
    const loopback = { host: '127.0.0.1', port: 0 }
    const edge = await startEdge({ runtime, timers, log, eyeballs: loopback })
    const asked = createChaosBackend()
    const backend = await startBackend((request, response) => asked.answer(request, response))
    const service = await start(
      {
        ...defaultOptions(),
        listen: [],
        admin: loopback,
        origin: `http://127.0.0.1:${backend.port}`,
        edge: edge.servers.map(({ address }) => formatAddress(address)),
        connections,
        protocol,
      },
      runtime,
      {
        log: silentLog,
        accessLog: { write() {} },
        version: '1.2.3',
        tunnel: {
          credentials: edge.mint().credentials,
          origin: 'token',
          region: undefined,
          edgeCa: edge.certificate,
        },
      },
    )
    const allUp = (): boolean =>
      service.tunnel!.ready === connections &&
      edge.connections.filter(({ phase, frozen }) => phase === 'registered' && !frozen).length === connections

    /** Within the time that recovery may take; a failure says where everybody stands. */
    const within = async (what: string, holds: () => boolean): Promise<void> => {
      const endMs = performance.now() + recoveryMs
      await until(() => holds() || performance.now() > endMs)
      if (holds()) return
      const seen = edge.connections.map(({ server, phase, inFlight, frozen }) => ({ server, phase, inFlight, frozen }))
      throw new Error(`${what}: not so. ${JSON.stringify({ connector: service.tunnel!.reports, edge: seen })}`)
    }

    await within('all connections are there', allUp)
    const load = startLoad(`http://${formatAddress(edge.eyeballs!)}`, workers, seed)
    const monkey = startMonkey(edge, protocol, createRandom(seed))
    await new Promise((resolve) => setTimeout(resolve, minutes * 60_000))
    await monkey.stop()
    await within('all connections are back', allUp)
    // With all connections back, nothing is lost any more.
    const lostBefore = load.lost.length
    const answeredBefore = load.answered
    await within('requests are answered again', () => load.answered > answeredBefore + 500)
    let idle = false
    void load.stop().then(() => (idle = true))
    await within('every request has come to an end', () => idle)

    const damages = new Map(monkey.damages.map((damage) => [damage.connection, damage]))
    const causes = load.lost.map(({ method, path, how }) => {
      const took = taken.get(path)
      const damage = damages.get(took?.connection ?? '')
      if (damage && took!.atMs <= damage.atMs) return damage.how
      const since = damage && `${damage.how} ${Math.round(took!.atMs - damage.atMs)} ms before`
      return `${method} ${path}: ${how} (on ${took?.connection}: ${since ?? 'unbroken'})`
    })
    const known = new Set(monkey.damages.map(({ how }) => how))
    process.stdout.write(
      `chaos over ${protocol}, seed ${seed}: ${load.answered} answered; done: ${tell(monkey.deeds)}; lost: ${tell(countBy(causes))}\n`,
    )
    expect(causes.filter((cause) => !known.has(cause))).toEqual([])
    expect(load.wrong).toEqual([])
    expect(load.lost.length - lostBefore).toBeLessThanOrEqual(workers)
    expect([...asked.posts.values()].filter((times) => times > 1)).toEqual([])
    expect(edge.violations).toEqual([])
    expect(monkey.deeds.size).toBeGreaterThan(1)
    await within('nothing is in flight', () => service.proxy.stats.inFlight === 0)

    expect(await service.stop()).toBe(true)
    await edge.close()
    await backend.close()
  },
)

function countBy(words: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  return counts
}

function tell(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([what, count]) => `${what} ${count}`).join(', ') || 'nothing'
}
