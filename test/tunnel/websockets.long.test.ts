/**
 * Hundreds of WebSockets through edge, tunnel and gateway, talking both ways, and then told that we leave.
 *
 * HEADGATE_SOAK_SECONDS (60) and HEADGATE_SOAK_WEBSOCKETS (300) choose another run.
 */
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { createRandom, type Random } from '../support/random.ts'
import { transports } from './edge/scene.ts'
import { patternAt } from './long/pattern.ts'
import { openLongTunnel, residentBytes } from './long/tunnel.ts'

const seconds = Number(process.env['HEADGATE_SOAK_SECONDS'] ?? 60)
const count = Number(process.env['HEADGATE_SOAK_WEBSOCKETS'] ?? 300)
/** Of RFC 6455 section 7.4.1: an endpoint that goes away, as a server that stops. */
const goingAway = 1001
const mebibyte = 1 << 20

interface Talk {
  readonly sent: number
  /** Sent back, as they were and in order. */
  readonly echoed: number
  /** The backend's own. */
  readonly counted: number
  readonly wrong: readonly string[]
  readonly closed: Promise<number>
  /** Sends nothing more. */
  hush(): void
}

async function talk(address: string, random: Random): Promise<Talk> {
  const socket = new WebSocket(`ws://${address}/chat`)
  const wrong: string[] = []
  const expected: Buffer[] = []
  let sent = 0
  let echoed = 0
  let counted = 0
  let timer: NodeJS.Timeout
  const closed = new Promise<number>((resolve) => socket.once('close', resolve))
  socket.on('error', (error) => wrong.push(error.message))
  socket.on('message', (data: Buffer, isBinary) => {
    if (!isBinary) {
      if (Number(data) !== ++counted) wrong.push(`${String(data)} in place of ${counted}`)
    } else if (expected[0]?.equals(data)) {
      expected.shift()
      echoed++
    } else wrong.push(`message ${echoed}, of ${data.length} bytes, is another one`)
  })
  await once(socket, 'open')
  const say = (): void => {
    const message = patternAt(random.between(0, mebibyte), random.pick([0, 1, 125, 126, 5_000, 65_536]))
    expected.push(message)
    sent++
    socket.send(message, { binary: true })
    timer = setTimeout(say, random.between(100, 700))
  }
  say()
  return {
    get sent() {
      return sent
    },
    get echoed() {
      return echoed
    },
    get counted() {
      return counted
    },
    wrong,
    closed,
    hush: () => clearTimeout(timer),
  }
}

test.each(transports)(
  `over %s, ${count} WebSockets talk for ${seconds} s, and are told when the gateway leaves`,
  { timeout: seconds * 1_000 + 120_000 },
  async (protocol) => {
    await using tunnel = await openLongTunnel(protocol)
    const talks = await Promise.all(Array.from({ length: count }, (_, i) => talk(tunnel.address, createRandom(i))))
    const memory = async (): Promise<string> =>
      `gateway ${((await residentBytes(tunnel.gateway)) / mebibyte).toFixed(0)} MiB, edge ${((await residentBytes(tunnel.edge)) / mebibyte).toFixed(0)} MiB`
    const before = await memory()
    expect(await tunnel.metric('cftunnel_proxy_websocket_active_sessions')).toBe(count)
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000))

    for (const each of talks) each.hush()
    await expect.poll(() => talks.filter(({ sent, echoed }) => sent !== echoed).length, { timeout: 30_000 }).toBe(0)
    const sum = (of: 'sent' | 'counted'): number => talks.reduce((total, each) => total + each[of], 0)
    process.stdout.write(
      `${count} WebSockets over ${protocol}, ${seconds} s: ${sum('sent')} messages and back, ${sum('counted')} of the backend's; ${before} at first, ${await memory()} in the end\n`,
    )
    expect(talks.flatMap(({ wrong }) => wrong)).toEqual([])
    expect(Math.min(...talks.map(({ counted }) => counted))).toBeGreaterThan(seconds)

    tunnel.gateway.signal('SIGTERM')
    expect(new Set(await Promise.all(talks.map(({ closed }) => closed)))).toEqual(new Set([goingAway]))
    expect(await tunnel.gateway.ended).toBe(0)
    expect(talks.flatMap(({ wrong }) => wrong)).toEqual([])
  },
)
