/** The contract of `connectQuic` and `listenQuic`, for every runtime that has them. */
import { afterEach, describe, expect, test } from 'vitest'
import type {
  QuicConnection,
  QuicListener,
  QuicListenOptions,
  QuicOptions,
  QuicStream,
  Runtime,
  SocketError,
} from '../../src/runtime.ts'
import { createTestAuthority } from '../support/certificates.ts'
import { hasQuic, quicRuntime, quicTraits } from '../support/quic.ts'
import { until } from '../support/until.ts'
import { openUdpRelay } from '../support/udp-relay.ts'

const loopback = { host: '127.0.0.1', port: 0 }
const servername = 'edge.example.com'
const alpn = ['tunnel']
const authority = await createTestAuthority()
const certificate = await authority.issue([{ type: 'dns', value: servername }])

const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

type Quic = Required<Pick<Runtime, 'connectQuic' | 'listenQuic'>>

const times = { idleTimeoutMs: 5_000, keepAliveMs: 1_000 }

interface Server {
  readonly listener: QuicListener
  readonly accepted: Watched[]
}

/** A connection, and what it was told. */
interface Watched {
  readonly connection: QuicConnection
  readonly streams: Reading[]
  readonly ends: (SocketError | undefined)[]
}

function watch(connection: QuicConnection, keeps = false): Watched {
  const streams: Reading[] = []
  const ends: (SocketError | undefined)[] = []
  connection.attach({
    stream: (stream) => streams.push(readFrom(stream, keeps)),
    close: (error) => ends.push(error),
  })
  stops.push(() => connection.close())
  return { connection, streams, ends }
}

interface Reading {
  readonly stream: QuicStream
  bytes: number
  text: string
  drains: number
  ended: boolean
  reset: boolean
  stopped: boolean
}

/** @param keeps keeps the first bytes until the reader resumes */
function readFrom(stream: QuicStream, keeps = false): Reading {
  const reading: Reading = { stream, bytes: 0, text: '', drains: 0, ended: false, reset: false, stopped: false }
  let kept = keeps
  stream.attach({
    data(bytes, start, end) {
      reading.bytes += end - start
      if (reading.text.length < 1_000) reading.text += new TextDecoder().decode(bytes.subarray(start, end))
      if (!kept) return true
      kept = false
      return false
    },
    end: () => void (reading.ended = true),
    drain: () => void reading.drains++,
    reset: () => void (reading.reset = true),
    stopped: () => void (reading.stopped = true),
  })
  return reading
}

const say = (stream: QuicStream, text: string): boolean => stream.write(new TextEncoder().encode(text))

test.runIf(!hasQuic && quicRuntime.connectQuic === undefined)(
  'this runtime has no QUIC, and says so by having no functions',
  () => {
    expect(quicRuntime).not.toHaveProperty('connectQuic')
    expect(quicRuntime).not.toHaveProperty('listenQuic')
  },
)

test.runIf(hasQuic)('this runtime has QUIC', () => {
  expect(quicRuntime).toMatchObject({ connectQuic: expect.any(Function), listenQuic: expect.any(Function) })
})

describe.runIf(quicRuntime.connectQuic !== undefined)('QUIC', () => {
  const { connectQuic, listenQuic } = quicRuntime as unknown as Quic

  async function listen(options: Partial<QuicListenOptions> = {}, keeps = false): Promise<Server> {
    const accepted: Watched[] = []
    const listener = await listenQuic(loopback, { tls: { ...certificate, alpn }, ...times, ...options }, (connection) =>
      accepted.push(watch(connection, keeps)),
    )
    stops.push(() => listener.close())
    return { listener, accepted }
  }

  async function dial(to: { readonly port: number }, options: Partial<QuicOptions> = {}): Promise<Watched> {
    const tls = { servername, ca: authority.certificate, alpn, ...options.tls }
    const all = { timeoutMs: 10_000, ...times, ...options, tls }
    return watch(await connectQuic({ host: '127.0.0.1', port: to.port }, all))
  }

  async function pair(options: { keeps?: boolean } = {}): Promise<{ client: Watched; server: Watched }> {
    const { listener, accepted } = await listen({}, options.keeps)
    const client = await dial(listener.address)
    await until(() => accepted.length === 1)
    return { client, server: accepted[0]! }
  }

  /** A stream that the first has opened and the other has seen. */
  async function open(from: Watched, to: Watched): Promise<{ near: Reading; far: Reading }> {
    const before = to.streams.length
    const near = readFrom(await from.connection.openStream())
    say(near.stream, 'hello')
    await until(() => to.streams.length > before && to.streams[before]!.bytes >= 5)
    return { near, far: to.streams[before]! }
  }

  /** The connection carries what comes after, so what came before has been carried. */
  async function roundTrip(from: Watched, to: Watched): Promise<void> {
    const { near, far } = await open(from, to)
    near.stream.end()
    say(far.stream, 'yes')
    far.stream.end()
    await until(() => near.ended && far.ended)
  }

  test('the accepting end knows what the handshake agreed on', async () => {
    const { client, server } = await pair()
    expect(client.connection.remote.host).toBe('127.0.0.1')
    expect(server.connection.remote).toEqual({ host: '127.0.0.1', port: client.connection.local.port })
    expect(server.connection.local.port).toBe(client.connection.remote.port)
    expect(server.connection.tls).toMatchObject({ alpn: 'tunnel', servername })
  })

  test.each(['client', 'server'] as const)(
    'the %s opens a stream, and both halves live by themselves',
    async (opener) => {
      const ends = await pair()
      const { near, far } = await open(ends[opener], ends[opener === 'client' ? 'server' : 'client'])
      expect(far.text).toBe('hello')
      near.stream.end()
      await until(() => far.ended)
      expect(near.ended).toBe(false)
      say(far.stream, 'and goodbye')
      far.stream.end()
      await until(() => near.ended)
      expect(near.text).toBe('and goodbye')
      expect([near.reset, near.stopped, far.reset, far.stopped]).toEqual([false, false, false, false])
    },
  )

  test('a stream is told to an owner who comes late, and so is what came on it', async () => {
    let accepted: QuicConnection | undefined
    const listener = await listenQuic(loopback, { tls: { ...certificate, alpn }, ...times }, (connection) => {
      accepted = connection
    })
    stops.push(() => listener.close())
    const client = await dial(listener.address)
    const stream = readFrom(await client.connection.openStream()).stream
    say(stream, 'early')
    stream.end()
    await until(() => accepted !== undefined)
    // Until the peer has acknowledged it all there is nothing to wait for: this comes after.
    const server = watch(accepted!)
    await until(() => server.streams[0]?.ended === true)
    expect(server.streams[0]!.text).toBe('early')
  })

  test('bytes arrive whole and in order, and writing waits for the peer', async () => {
    const { client, server } = await pair()
    const { near, far } = await open(client, server)
    const total = 16 * 1024 * 1024
    const chunk = new Uint8Array(65_536)
    let sum = 0
    let next = 0
    far.stream.attach({
      data(bytes, start, end) {
        for (let at = start; at < end; at++) if (bytes[at] !== (next++ >> 8) % 251) sum++
        return true
      },
      end: () => void (far.ended = true),
      drain() {},
      reset: () => void (far.reset = true),
      stopped() {},
    })
    for (let written = 0; written < total; written += chunk.length) {
      // Written over only once it is ours again.
      for (let at = 0; at < chunk.length; at++) chunk[at] = ((written + at) >> 8) % 251
      const drains = near.drains
      if (!near.stream.write(chunk)) await until(() => near.drains > drains)
    }
    near.stream.end()
    await until(() => far.ended)
    expect([next, sum]).toEqual([total, 0])
  })

  interface Flood {
    readonly near: Reading
    readonly far: Reading
    readonly total: number
    readonly written: number
    readonly over: Promise<void>
  }

  /** Writes far more than there is room for to a reader that keeps what came first, while another stream goes on. */
  async function flood(): Promise<Flood> {
    const { client, server } = await pair({ keeps: true })
    const { near, far } = await open(client, server)
    const total = 48 * 1024 * 1024
    const chunk = new Uint8Array(65_536)
    let written = 0
    const fill = async (): Promise<void> => {
      while (written < total && !near.stopped) {
        written += chunk.length
        const drains = near.drains
        if (!near.stream.write(chunk)) await until(() => near.drains > drains || near.stopped)
      }
      near.stream.end()
    }
    const over = fill()
    over.catch(() => {})
    const other = await open(client, server)
    other.far.stream.resume()
    for (let i = 0; i < 20; i++) {
      const before = other.near.bytes
      say(other.far.stream, 'still here')
      await until(() => other.near.bytes > before)
    }
    return { near, far, total, written, over }
  }

  test.runIf(quicTraits.flowControl)(
    'a reader that keeps bytes holds the writer, on its own stream alone',
    async () => {
      const { far, total, written, over } = await flood()
      expect(far.bytes).toBe(5)
      expect(written).toBeLessThan(total)
      far.stream.resume()
      await until(() => far.ended)
      expect(far.bytes).toBe(total + 5)
      await over
    },
  )

  test.runIf(!quicTraits.flowControl)(
    'a stream is given up before what waits for its reader takes all memory',
    async () => {
      const { near, far, over } = await flood()
      await until(() => far.reset && near.stopped)
      expect(far.bytes).toBe(5)
      await over
    },
  )

  test('a reset breaks off one half, and is never taken for its end', async () => {
    const { client, server } = await pair()
    const { near, far } = await open(client, server)
    near.stream.reset()
    if (quicTraits.resets) await until(() => far.reset)
    await roundTrip(client, server)
    expect(far.ended).toBe(false)
    say(far.stream, 'this half goes on')
    far.stream.end()
    await until(() => near.ended)
    expect(near.text).toBe('this half goes on')
  })

  test('a reset throws away what waits to be sent', async () => {
    const { client, server } = await pair({ keeps: true })
    const { near, far } = await open(client, server)
    const chunk = new Uint8Array(1 << 20)
    for (let i = 0; i < 8; i++) near.stream.write(chunk)
    near.stream.reset()
    far.stream.resume()
    if (quicTraits.resets) await until(() => far.reset)
    await roundTrip(server, client)
    expect(far.ended).toBe(false)
    expect(far.bytes).toBeLessThan(8 << 20)
  })

  test('who stops reading tells the writer, and the other half goes on', async () => {
    const { client, server } = await pair()
    const { near, far } = await open(client, server)
    far.stream.stopReading()
    await until(() => {
      if (!quicTraits.hearsStop) say(near.stream, 'anybody?')
      return near.stopped
    })
    expect(near.reset).toBe(false)
    say(far.stream, 'this half goes on')
    far.stream.end()
    await until(() => near.ended)
    expect(near.text).toBe('this half goes on')
  })

  test('who stops reading what has ended takes nothing back', async () => {
    const { client, server } = await pair()
    const { near, far } = await open(client, server)
    near.stream.end()
    await until(() => far.ended)
    far.stream.stopReading()
    say(far.stream, 'all of it')
    far.stream.end()
    await until(() => near.ended)
    expect([near.text, near.stopped]).toEqual(['all of it', false])
  })

  test.each(['client', 'server'] as const)('the %s closes: both ends are told, streams first', async (closer) => {
    const ends = await pair()
    const { near, far } = await open(ends.client, ends.server)
    ends[closer].connection.close()
    await until(() => ends.client.ends.length === 1 && ends.server.ends.length === 1)
    expect([ends.client.ends, ends.server.ends]).toEqual([[undefined], [undefined]])
    expect([near.reset, far.reset, near.ended, far.ended]).toEqual([true, true, false, false])
    await expect(ends.client.connection.openStream()).rejects.toBeDefined()
  })

  test('what had come to its end is whole, though the connection is gone by the time it is read', async () => {
    const { client, server } = await pair({ keeps: true })
    const { near, far } = await open(client, server)
    say(near.stream, ' and goodbye')
    near.stream.end()
    await roundTrip(server, client)
    client.connection.close()
    await until(() => server.ends.length === 1)
    far.stream.resume()
    await until(() => far.ended || far.reset)
    // A runtime that reads on demand may not have seen the end.
    expect(['reset', 'hello and goodbye']).toContain(far.ended ? far.text : 'reset')
  })

  test('more streams than the peer allows at a time wait for their turn', async () => {
    const { listener, accepted } = await listen()
    const client = await dial(listener.address)
    await until(() => accepted.length === 1)
    const server = accepted[0]!
    const opened: Reading[] = []
    for (let i = 0; i < 300; i++) {
      void client.connection.openStream().then((stream) => {
        opened.push(readFrom(stream))
        say(stream, `number ${i}`)
        stream.end()
      })
    }
    const answered = new Set<Reading>()
    await until(() => {
      for (const stream of server.streams) {
        if (!stream.ended || answered.has(stream)) continue
        answered.add(stream)
        say(stream.stream, stream.text)
        stream.stream.end()
      }
      return opened.length === 300 && opened.every(({ ended }) => ended)
    })
    expect(new Set(opened.map(({ text }) => text)).size).toBe(300)
  })

  describe('dialling', () => {
    test.each([
      ['an unknown authority', async () => ({ tls: { ca: (await createTestAuthority()).certificate } })],
      ['another name', async () => ({ tls: { servername: 'other.example.com' } })],
      ['no common protocol', async () => ({ tls: { alpn: ['something-else'] } })],
      ['no authority at all', async () => ({ tls: { ca: '' } })],
    ] as const)('%s: tls', async (_, change) => {
      const { listener, accepted } = await listen()
      const options = (await change()) as unknown as Partial<QuicOptions>
      await expect(dial(listener.address, options)).rejects.toMatchObject({ code: 'tls' })
      expect(accepted).toEqual([])
    })

    test.each([
      ['nobody answers within the idle time', { timeoutMs: 10_000, idleTimeoutMs: 1_000 }],
      ['nobody answers within the time for the handshake', { timeoutMs: 1_000, idleTimeoutMs: 10_000 }],
    ])('%s: timeout', async (_, options) => {
      const relay = await openUdpRelay()
      stops.push(() => relay.close())
      await expect(dial(relay.address, options)).rejects.toMatchObject({ code: 'timeout' })
    })

    test('a listener that presents nothing refuses, and what is there stays', async () => {
      const { listener, accepted } = await listen()
      const client = await dial(listener.address)
      await until(() => accepted.length === 1)
      await listener.present(undefined)
      await expect(dial(listener.address)).rejects.toMatchObject({ code: 'refused' })
      await roundTrip(client, accepted[0]!)
      await listener.present({ ...certificate, alpn })
      await dial(listener.address)
      await until(() => accepted.length === 2)
    })

    test('a new certificate is for new connections', async () => {
      const { listener, accepted } = await listen()
      const client = await dial(listener.address)
      await until(() => accepted.length === 1)
      await listener.present({ ...(await authority.issue([{ type: 'dns', value: 'new.example.com' }])), alpn })
      await expect(dial(listener.address)).rejects.toMatchObject({ code: 'tls' })
      await dial(listener.address, { tls: { servername: 'new.example.com', ca: authority.certificate, alpn } })
      await roundTrip(client, accepted[0]!)
    })

    test('a port in use: busy', async () => {
      const { listener } = await listen()
      const again = listenQuic(listener.address, { tls: { ...certificate, alpn }, ...times }, () => {})
      await expect(again).rejects.toMatchObject({ code: 'busy' })
    })

    test.runIf(quicTraits.freesPort)(
      'a closed listener has given its port back, and its connections are closed',
      async () => {
        const { listener } = await listen()
        const client = await dial(listener.address)
        await listener.close()
        await until(() => client.ends.length === 1)
        const again = await listenQuic(listener.address, { tls: { ...certificate, alpn }, ...times }, () => {})
        await again.close()
        expect(again.address).toEqual(listener.address)
      },
    )
  })

  test('silence ends a connection, and nothing on it looks whole; quiet does not', async () => {
    const quick = { idleTimeoutMs: 1_000, keepAliveMs: 250 }
    const { listener, accepted } = await listen(quick)
    const relay = await openUdpRelay(listener.address)
    stops.push(() => relay.close())
    const client = await dial(relay.address, quick)
    await until(() => accepted.length === 1)
    const { near, far } = await open(client, accepted[0]!)
    const quietUntilMs = performance.now() + 2_500
    await until(() => performance.now() > quietUntilMs)
    expect(client.ends).toEqual([])
    relay.mute()
    await until(() => client.ends.length === 1 && accepted[0]!.ends.length === 1)
    expect([client.ends[0]?.code, accepted[0]!.ends[0]?.code]).toEqual(['timeout', 'timeout'])
    expect([near.reset, far.reset, near.ended, far.ended]).toEqual([true, true, false, false])
  })
})
