/** A gigabyte each way, and events one by one, from an eyeball through edge, tunnel and gateway to a backend. */
import { once } from 'node:events'
import { get, request, type IncomingMessage } from 'node:http'
import { describe, expect, test } from 'vitest'
import { transports } from './edge/scene.ts'
import { isPattern, patternAt } from './long/pattern.ts'
import { openLongTunnel, residentBytes, type LongTunnel } from './long/tunnel.ts'

const mebibyte = 1 << 20
/** Windows and what allocators keep for later have grown to their size by then. */
const warmUpBytes = 512 * mebibyte
const gibibyte = 1 << 30
/** What resident memory may grow by, warmed up, however much goes through. */
const growthBytes = 64 * mebibyte

/** @returns how many bytes of the pattern came; rejects where they are not it */
async function download(address: string, length: number): Promise<number> {
  const [response] = (await once(get(`http://${address}/bytes/${length}`), 'response')) as [IncomingMessage]
  let received = 0
  for await (const piece of response) {
    const bytes = piece as Uint8Array
    if (!isPattern(bytes, received)) throw new Error(`wrong between ${received} and ${received + bytes.length}`)
    received += bytes.length
  }
  return received
}

/** @returns what the backend says that came */
async function upload(address: string, length: number): Promise<string> {
  const upgoing = request(`http://${address}/bytes`, { method: 'POST', headers: { 'content-length': length } })
  const answered = once(upgoing, 'response') as Promise<[IncomingMessage]>
  for (let sent = 0; sent < length;) {
    const piece = patternAt(sent, Math.min(65_536, length - sent))
    sent += piece.length
    if (!upgoing.write(piece)) await once(upgoing, 'drain')
  }
  upgoing.end()
  const [response] = await answered
  let said = ''
  for await (const piece of response) said += String(piece)
  return said
}

interface Memory {
  readonly gateway: number
  readonly edge: number
  readonly heap: number
}

async function measure({ gateway, edge, metric }: LongTunnel): Promise<Memory> {
  return {
    gateway: await residentBytes(gateway),
    edge: await residentBytes(edge),
    heap: await metric('nodejs_heap_size_used_bytes'),
  }
}

/** The most of each that was seen while something ran. */
async function watch<T>(tunnel: LongTunnel, running: Promise<T>): Promise<{ result: T; most: Memory }> {
  let over = false
  const settled = running.finally(() => (over = true))
  const samples: Memory[] = []
  do {
    samples.push(await measure(tunnel))
    await new Promise((resolve) => setTimeout(resolve, 250))
  } while (!over)
  const most = (of: keyof Memory): number => Math.max(...samples.map((sample) => sample[of]))
  return { result: await settled, most: { gateway: most('gateway'), edge: most('edge'), heap: most('heap') } }
}

function tell(what: string, before: Memory, most: Memory): void {
  const inMiB = (bytes: number): string => (bytes / mebibyte).toFixed(0)
  const grown = (of: keyof Memory): string => `${inMiB(before[of])} to ${inMiB(most[of])} MiB`
  process.stdout.write(`${what}: gateway ${grown('gateway')}, of these heap ${grown('heap')}; edge ${grown('edge')}\n`)
}

describe.each(transports)('over %s', (protocol) => {
  test.each([
    ['down', download, gibibyte],
    ['up', upload, String(gibibyte)],
  ] as const)('1 GiB %s, whole, in flat memory', async (what, transfer, expected) => {
    await using tunnel = await openLongTunnel(protocol)
    await transfer(tunnel.address, warmUpBytes)
    const before = await measure(tunnel)
    const startedMs = performance.now()
    const { result, most } = await watch<number | string>(tunnel, transfer(tunnel.address, gibibyte))
    const seconds = (performance.now() - startedMs) / 1_000
    tell(`1 GiB ${what} over ${protocol}, ${(gibibyte / mebibyte / seconds).toFixed(0)} MiB/s`, before, most)
    expect(result).toBe(expected)
    expect(most.gateway - before.gateway).toBeLessThan(growthBytes)
    expect(most.edge - before.edge).toBeLessThan(growthBytes)
    expect(most.heap - before.heap).toBeLessThan(growthBytes)
  })

  test('an eyeball that does not read on keeps the backend waiting, not our memory', async () => {
    await using tunnel = await openLongTunnel(protocol)
    await download(tunnel.address, warmUpBytes)
    const before = await measure(tunnel)
    const eyeballs = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const asked = get(`http://${tunnel.address}/bytes/${gibibyte}`, { agent: false })
        const [response] = (await once(asked, 'response')) as [IncomingMessage]
        await once(response, 'readable')
        return asked
      }),
    )
    const { most } = await watch(tunnel, new Promise((resolve) => setTimeout(resolve, 10_000)))
    for (const asked of eyeballs) asked.destroy()
    tell(`20 eyeballs that stopped over ${protocol}`, before, most)
    expect(most.gateway - before.gateway).toBeLessThan(growthBytes)
    expect(most.edge - before.edge).toBeLessThan(growthBytes)
  })

  test('server-sent events come one by one: the next is sent when the one before has been acknowledged', async () => {
    await using tunnel = await openLongTunnel(protocol)
    const count = 200
    const follow = async (): Promise<number> => {
      const response = await fetch(`http://${tunnel.address}/events/${count}`)
      const decoder = new TextDecoder()
      let text = ''
      let seen = 0
      for await (const piece of response.body!) {
        text += decoder.decode(piece as Uint8Array, { stream: true })
        for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
          const [, id, stream] = /^id: (\d+)\ndata: (\S+)$/.exec(text.slice(0, end))!
          text = text.slice(end + 2)
          expect(Number(id)).toBe(++seen)
          await fetch(`http://${tunnel.address}/ack/${stream}`, { method: 'POST' })
        }
      }
      return seen
    }
    const seen = await Promise.all(Array.from({ length: 50 }, follow))
    expect(new Set(seen)).toEqual(new Set([count]))
  })
})
