/** The whole proxy between peers that are not ours: undici in front, node:http behind. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Agent, request } from 'undici8'
import { openRuntime } from '../../adapters/node/runtime.ts'
import { startProxy, toBackend, type Rig, type WireRule } from '../support/proxy.ts'
import { until } from '../support/until.ts'

/** Bytes that are the same for the same name, and different everywhere. */
function bytesOf(name: string, size: number): Buffer {
  const block = createHash('sha512').update(name).digest()
  const bytes = Buffer.alloc(size)
  for (let at = 0; at < size; at += block.length) {
    block.writeUInt32LE(at, 0)
    block.copy(bytes, at)
  }
  return bytes
}

const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** `/bytes/NAME/SIZE`, `/dribble/NAME/SIZE` in small chunks, `/echo`, `/hash` of what is sent, `/early` before it is read. */
async function answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const [, what, name = '', size = '0'] = incoming.url!.split('/')
  if (what === 'bytes') {
    response.setHeader('content-length', size)
    response.end(bytesOf(name, Number(size)))
  } else if (what === 'dribble') {
    const bytes = bytesOf(name, Number(size))
    for (let at = 0; at < bytes.length; at += 1_000) {
      response.write(bytes.subarray(at, at + 1_000))
      if (at % 8_000 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    response.end()
  } else if (what === 'echo') {
    incoming.pipe(response)
  } else if (what === 'hash') {
    const digest = createHash('sha256')
    for await (const chunk of incoming) digest.update(chunk as Buffer)
    response.end(digest.digest('hex'))
  } else {
    response.statusCode = 413
    response.end('no, thanks')
  }
}

let server: Server
let url = ''
beforeAll(async () => {
  server = createServer((incoming, response) => void answer(incoming, response).catch(() => response.destroy()))
  server.keepAliveTimeout = 60_000
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 4096, resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})

type Ask = (origin: string, agent: Agent, i: number) => Promise<void>

async function get(origin: string, agent: Agent, what: string, name: string, size: number): Promise<void> {
  const { statusCode, body } = await request(`${origin}/${what}/${name}/${size}`, { dispatcher: agent })
  const got = Buffer.from(await body.arrayBuffer())
  expect([statusCode, got.length, hash(got)]).toEqual([200, size, hash(bytesOf(name, size))])
}

const sizes = [0, 1, 100, 1_023, 16_384, 65_537, 300_000]
const sizeOf = (i: number): number => sizes[i % sizes.length]!

/** Half with a length, half in chunks. */
const upload = (bytes: Buffer, i: number): Buffer | Readable =>
  i % 2 === 0
    ? bytes
    : Readable.from(
        Array.from({ length: Math.ceil(bytes.length / 10_000) }, (_, at) =>
          bytes.subarray(at * 10_000, (at + 1) * 10_000),
        ),
      )

const mix: readonly Ask[] = [
  (origin, agent, i) => get(origin, agent, 'bytes', `n${i}`, sizeOf(i)),
  (origin, agent, i) => get(origin, agent, 'dribble', `n${i}`, sizeOf(i) % 70_000),
  async (origin, agent, i) => {
    const bytes = bytesOf(`e${i}`, sizeOf(i))
    const { statusCode, body } = await request(`${origin}/echo`, {
      dispatcher: agent,
      method: 'POST',
      body: upload(bytes, i),
    })
    const got = Buffer.from(await body.arrayBuffer())
    expect([statusCode, hash(got)]).toEqual([200, hash(bytes)])
  },
  async (origin, agent, i) => {
    const bytes = bytesOf(`h${i}`, sizeOf(i))
    const { body } = await request(`${origin}/hash`, { dispatcher: agent, method: 'PUT', body: upload(bytes, i) })
    expect(await body.text()).toBe(hash(bytes))
  },
  async (origin, agent, i) => {
    const { statusCode, headers, body } = await request(`${origin}/bytes/x/${sizeOf(i)}`, {
      dispatcher: agent,
      method: 'HEAD',
    })
    expect([statusCode, headers['content-length'], await body.text()]).toEqual([200, String(sizeOf(i)), ''])
  },
  async (origin, agent) => {
    const { statusCode, body } = await request(`${origin}/redirect`, { dispatcher: agent })
    expect([statusCode, await body.text()]).toEqual([302, ''])
  },
]

const rules = (backend: string): WireRule[] => [
  {
    matches: [{ path: { type: 'Exact', value: '/redirect' } }],
    filters: [{ type: 'RequestRedirect', requestRedirect: { hostname: 'r.example' } }],
  },
  {
    filters: [
      { type: 'RequestHeaderModifier', requestHeaderModifier: { set: [{ name: 'x-a', value: '1' }] } },
      { type: 'ResponseHeaderModifier', responseHeaderModifier: { set: [{ name: 'x-b', value: '1' }] } },
    ],
    timeouts: { request: '60s', backend: '60s' },
    ...toBackend(backend)[0],
  },
]

const failedOf = (rig: Rig): unknown[] =>
  rig.records
    .filter(({ error, flags }) => error !== undefined || flags.includes('U'))
    .map(({ path, error }) => [path, error])

const { runtime: fast, note } = await openRuntime({ fastSockets: true })
const { runtime: plain } = await openRuntime({ fastSockets: false })

test('fast sockets are at hand: what follows is about both kinds', () => expect(note).toBeUndefined())

describe.each([
  ['fast sockets', fast],
  ['public sockets', plain],
])('%s', (_, runtime) => {
  test(
    '2,000 mixed requests at once: every byte arrives, and not one connection is reset',
    { timeout: 60_000 },
    async () => {
      await using rig = await startProxy(rules(url), { runtime })
      const agent = new Agent({ pipelining: 1 })
      const origin = `http://127.0.0.1:${rig.port}`
      await Promise.all(
        Array.from({ length: 2_000 }, (_, i) => mix[i % mix.length]!(origin, agent, Math.floor(i / mix.length))),
      )
      await rig.recorded(2_000)
      expect(failedOf(rig)).toEqual([])
      expect(rig.proxy.stats.inFlight).toBe(0)
      await agent.destroy()
    },
  )

  test('new configs every few milliseconds under load: not one request fails', { timeout: 60_000 }, async () => {
    await using rig = await startProxy(rules(url), { runtime })
    const agent = new Agent({ pipelining: 1, connections: 64 })
    const origin = `http://127.0.0.1:${rig.port}`
    let version = 1
    let over = false
    const pushing = (async () => {
      while (!over) {
        version++
        // The backend by address or by name, with other rules around it: pools come and go.
        const backend = version % 2 === 0 ? url : url.replace('127.0.0.1', 'localhost')
        const around = Array.from({ length: version % 20 }, (_, i) => ({
          hostnames: [`h${i}.example`],
          ...toBackend(url)[0],
        }))
        rig.apply([...around, ...rules(backend)], { version })
        await new Promise((resolve) => setTimeout(resolve, 3))
      }
    })()
    await Promise.all(
      Array.from({ length: 2_000 }, (_, i) => mix[i % mix.length]!(origin, agent, Math.floor(i / mix.length))),
    )
    over = true
    await pushing
    expect(version).toBeGreaterThan(20)
    await rig.recorded(2_000)
    expect(failedOf(rig)).toEqual([])
    await agent.destroy()
  })

  test('those who leave in between break nobody else', { timeout: 60_000 }, async () => {
    await using rig = await startProxy(rules(url), { runtime, pool: { maxConnections: 16, maxWaiting: 5_000 } })
    const agent = new Agent({ pipelining: 1, connections: 128 })
    const origin = `http://127.0.0.1:${rig.port}`
    const leaving = Array.from({ length: 300 }, async (_, i) => {
      const controller = new AbortController()
      setTimeout(() => controller.abort(), i % 40)
      const big = i % 2 === 0 ? { method: 'POST' as const, body: upload(bytesOf(`l${i}`, 2_000_000), i) } : {}
      const path = i % 2 === 0 ? '/hash' : `/bytes/l${i}/2000000`
      const answered = await request(origin + path, { dispatcher: agent, signal: controller.signal, ...big }).catch(
        () => undefined,
      )
      await answered?.body.arrayBuffer().catch(() => undefined)
    })
    const staying = Array.from({ length: 600 }, (_, i) =>
      mix[i % mix.length]!(origin, agent, Math.floor(i / mix.length)),
    )
    await Promise.all([...leaving, ...staying])
    await until(() => rig.proxy.stats.inFlight === 0)
    const upstream = rig.records.filter(({ error }) => error?.kind === 'upstream')
    expect(upstream).toEqual([])
    await agent.destroy()
  })

  test('an answer before the request has been read arrives whole', { timeout: 30_000 }, async () => {
    await using rig = await startProxy(rules(url), { runtime })
    const origin = `http://127.0.0.1:${rig.port}`
    for (let i = 0; i < 20; i++) {
      const agent = new Agent()
      const { statusCode, body } = await request(`${origin}/early`, {
        dispatcher: agent,
        method: 'POST',
        body: bytesOf('early', 500_000),
      })
      expect([statusCode, await body.text()]).toEqual([413, 'no, thanks'])
      await agent.destroy()
    }
  })

  test('readers who take nothing hold their backends back', { timeout: 60_000 }, async () => {
    const size = 200_000_000
    let written = 0
    const chunk = Buffer.alloc(100_000)
    const endless = createServer((_, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write(chunk)) written += chunk.length
        written += chunk.length
      }
      response.on('drain', more)
      more()
    })
    await new Promise<void>((resolve) => endless.listen(0, '127.0.0.1', resolve))
    await using rig = await startProxy(toBackend(`http://127.0.0.1:${(endless.address() as AddressInfo).port}`), {
      runtime,
    })
    const agent = new Agent({ pipelining: 1 })
    const readers = 10
    const answers = await Promise.all(
      Array.from({ length: readers }, () => request(`http://127.0.0.1:${rig.port}/`, { dispatcher: agent })),
    )
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    // What the system's own buffers of two connections hold is all that is on its way.
    expect(written / readers).toBeLessThan(size / 5)
    for (const { body } of answers) body.on('error', () => {}).destroy()
    await agent.destroy()
    endless.closeAllConnections()
    endless.close()
  })
})
