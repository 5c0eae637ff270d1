/** What the driver of quiche's binding does beyond the contract of `test/adapters/quic.test.ts`. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { findQuic } from '../../../adapters/node/quic.ts'
import { loadQuiche, writeHalf } from '../../../adapters/node/quiche/binding.ts'
import type { Carrier } from '../../../adapters/node/quiche/stream.ts'
import type { Address, QuicConnection, QuicListener, QuicStream, Runtime, SocketError } from '../../../src/runtime.ts'
import { createTestAuthority } from '../../support/certificates.ts'
import { until } from '../../support/until.ts'

/** What the package has binaries for; elsewhere there is nothing to test but that. */
const machines = ['darwin-arm64', 'darwin-x64', 'linux-x64', 'win32-x64']
const hasBinary = machines.includes(`${process.platform}-${process.arch}`)
const found = await findQuic()
if (hasBinary && (!found || 'reason' in found)) {
  throw new Error(`there should be QUIC: ${found?.reason ?? 'the package is not installed'}`)
}
const { connectQuic, listenQuic } = (found ?? {}) as Required<Pick<Runtime, 'connectQuic' | 'listenQuic'>>

const servername = 'edge.example.com'
const alpn = ['tunnel']
const authority = await createTestAuthority()
const certificate = await authority.issue([{ type: 'dns', value: servername }])
const times = { idleTimeoutMs: 5_000, keepAliveMs: 1_000 }

const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

async function listen(accept: (connection: QuicConnection) => void, host = '127.0.0.1'): Promise<QuicListener> {
  const listener = await listenQuic({ host, port: 0 }, { tls: { ...certificate, alpn }, ...times }, accept)
  stops.push(() => listener.close())
  return listener
}

interface Dialled {
  readonly connection: QuicConnection
  readonly ends: (SocketError | undefined)[]
}

async function dial(to: Address): Promise<Dialled> {
  const tls = { servername, ca: authority.certificate, alpn }
  const connection = await connectQuic(to, { tls, timeoutMs: 10_000, ...times })
  const ends: (SocketError | undefined)[] = []
  connection.attach({ stream() {}, close: (error) => ends.push(error) })
  stops.push(() => connection.close())
  return { connection, ends }
}

/** Hands each stream that a client opens to `serve`. */
async function pair(serve: (stream: QuicStream) => void): Promise<Dialled> {
  const listener = await listen((connection) => connection.attach({ stream: serve, close() {} }))
  return dial(listener.address)
}

interface Received {
  readonly bytes: Uint8Array
  readonly end: 'end' | 'reset'
  readonly stopped: boolean
}

/** What comes on a stream until its half is over. */
function receive(stream: QuicStream, onDrain = (): void => {}): Promise<Received> {
  return new Promise((resolve) => {
    const pieces: Uint8Array[] = []
    let stopped = false
    const over = (end: 'end' | 'reset'): void => resolve({ bytes: Buffer.concat(pieces), end, stopped })
    stream.attach({
      data(bytes, start, end) {
        pieces.push(bytes.slice(start, end))
        return true
      },
      end: () => over('end'),
      drain: onDrain,
      reset: () => over('reset'),
      stopped: () => void (stopped = true),
    })
  })
}

/** Sends back what comes, as fast as it can be sent, and no faster than that. */
function echo(stream: QuicStream): void {
  stream.attach({
    data: (bytes, start, end) => stream.write(bytes, start, end),
    drain: () => stream.resume(),
    end: () => stream.end(),
    reset: () => stream.reset(),
    stopped: () => stream.stopReading(),
  })
}

async function ask(connection: QuicConnection, bytes: Uint8Array): Promise<Received> {
  const stream = await connection.openStream()
  const received = receive(stream)
  stream.write(bytes)
  stream.end()
  return received
}

function pattern(size: number, seed: number): Uint8Array {
  return new Uint8Array(size).map((_, i) => (i * 31 + (i >> 8) * 7 + seed) & 0xff)
}

const megabyte = 1 << 20
/** On a machine that has other things to do, loopback loses packets too. */
const slowMs = 60_000

describe.runIf(hasBinary)('bytes', () => {
  test(
    'twenty streams of a megabyte each way, at once, arrive as they were sent',
    async () => {
      const { connection } = await pair(echo)
      const sent = Array.from({ length: 20 }, (_, i) => pattern(megabyte + i, i))
      const received = await Promise.all(sent.map((bytes) => ask(connection, bytes)))
      for (const [i, { bytes, end }] of received.entries()) {
        expect(end).toBe('end')
        expect(Buffer.compare(bytes, sent[i]!)).toBe(0)
      }
    },
    slowMs,
  )

  test(
    'a network that loses packets and swaps others changes nothing of them',
    async () => {
      const listener = await listen((connection) => connection.attach({ stream: echo, close() {} }))
      const { connection } = await dial(await openBadNetwork(listener.address))
      const sent = Array.from({ length: 4 }, (_, i) => pattern(megabyte / 4, i))
      const received = await Promise.all(sent.map((bytes) => ask(connection, bytes)))
      for (const [i, { bytes, end }] of received.entries()) {
        expect(end).toBe('end')
        expect(Buffer.compare(bytes, sent[i]!)).toBe(0)
      }
    },
    slowMs,
  )

  test('what a reader keeps stays as it is, while other streams are read', async () => {
    let kept: (() => Uint8Array) | undefined
    const { connection } = await pair((stream) => {
      stream.attach({
        data(bytes, start, end) {
          kept ??= () => bytes.subarray(start, end)
          return false
        },
        end() {},
        drain() {},
        reset() {},
        stopped() {},
      })
      if (kept) echo(stream)
    })
    const sent = pattern(1_000, 1)
    ;(await connection.openStream()).write(sent)
    await until(() => kept !== undefined)
    for (let i = 0; i < 20; i++) await ask(connection, pattern(10_000, i))
    expect(Buffer.compare(kept!(), sent)).toBe(0)
  })

  test(
    'a writer is held before a reader that takes nothing has much to hold',
    async () => {
      let reader: QuicStream | undefined
      const { connection } = await pair((stream) => {
        if (reader) return echo(stream)
        reader = stream
        stream.attach({ data: () => false, end() {}, drain() {}, reset() {}, stopped() {} })
      })
      const stream = await connection.openStream()
      let drains = 0
      void receive(stream, () => void drains++)
      const chunk = new Uint8Array(65_536)
      let written = 0
      const write = async (): Promise<void> => {
        while (written < 16 * megabyte) {
          const before = drains
          written += chunk.length
          if (!stream.write(chunk)) await until(() => drains > before)
        }
      }
      const held = write()
      held.catch(() => {})
      await until(() => reader !== undefined)
      // Everything else gets through meanwhile, so there was time enough.
      for (let i = 0; i < 20; i++) await ask(connection, pattern(100_000, i))
      expect(written).toBeLessThan(2 * megabyte)
      reader!.attach({ data: () => true, end() {}, drain() {}, reset() {}, stopped() {} })
      reader!.resume()
      await held
      expect(written).toBe(16 * megabyte)
    },
    slowMs,
  )
})

/** Between one client and its server: of twenty packets either way one is lost, and one comes after the next. */
async function openBadNetwork(to: Address): Promise<Address> {
  const front = await udp()
  const back = await udp()
  let client: Address | undefined
  const worsen = (send: (packet: Buffer) => void): ((packet: Buffer) => void) => {
    let count = 0
    let late: Buffer | undefined
    return (packet) => {
      count++
      if (count % 20 === 7) return
      if (count % 20 === 13) {
        late = packet
        return
      }
      send(packet)
      if (late) send(late)
      late = undefined
    }
  }
  const there = worsen((packet) => back.send(packet, to.port, to.host))
  const andBack = worsen((packet) => front.send(packet, client!.port, client!.host))
  front.on('message', (packet, { address, port }) => {
    client = { host: address, port }
    there(packet)
  })
  back.on('message', (packet) => andBack(packet))
  return { host: '127.0.0.1', port: front.address().port }
}

async function udp(): Promise<Socket> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  stops.push(() => socket.close())
  return socket
}

describe.runIf(hasBinary)('quiche lets go of streams', () => {
  // The listener grants 256 at a time, and quiche grants another one for each that it has let go of.
  test('of two thousand short ones', async () => {
    const { connection } = await pair(echo)
    let whole = 0
    for (let i = 0; i < 20; i++) {
      const received = await Promise.all(Array.from({ length: 100 }, (_, n) => ask(connection, pattern(100, n))))
      whole += received.filter(({ bytes, end }) => end === 'end' && bytes.length === 100).length
    }
    expect(whole).toBe(2_000)
  })

  test('whose reader stops, and whose writer then resets', async () => {
    const { connection } = await pair((stream) => {
      stream.attach({ data: () => true, end() {}, drain() {}, reset() {}, stopped() {} })
      stream.write(new Uint8Array(10))
      stream.end()
      stream.stopReading()
    })
    const upload = async (): Promise<void> => {
      const stream = await connection.openStream()
      await new Promise<void>((resolve) => {
        stream.attach({ data: () => true, end() {}, drain() {}, reset() {}, stopped: resolve })
        stream.write(new Uint8Array(200_000))
      })
      stream.reset()
    }
    for (let i = 0; i < 3; i++) await Promise.all(Array.from({ length: 100 }, upload))
    expect(await settled(connection)).toBe(true)
  })

  test('that were reset with much unread, whose bytes do not count for ever', async () => {
    let seen = 0
    const { connection } = await pair((stream) => {
      stream.attach({
        data() {
          seen++
          return false
        },
        end() {},
        drain() {},
        reset: () => stream.reset(),
        stopped() {},
      })
    })
    const chunk = new Uint8Array(400_000)
    for (let i = 1; i <= 100; i++) {
      const stream = await connection.openStream()
      let drained = false
      const received = receive(stream, () => void (drained = true))
      drained = stream.write(chunk)
      await until(() => drained && seen === i)
      stream.reset()
      expect((await received).end).toBe('reset')
    }
  })
})

/** Whether a stream can be opened at all. */
async function settled(connection: QuicConnection): Promise<boolean> {
  const stream = await connection.openStream()
  stream.reset()
  return true
}

describe.runIf(hasBinary)('resets', () => {
  test('a reset is told though the bytes before it are kept', async () => {
    let reset = false
    let kept = false
    const { connection } = await pair((stream) => {
      stream.attach({
        data() {
          kept = true
          return false
        },
        end() {},
        drain() {},
        reset: () => void (reset = true),
        stopped() {},
      })
    })
    const stream = await connection.openStream()
    stream.write(pattern(1_000, 0))
    await until(() => kept)
    stream.reset()
    await until(() => reset)
    expect(reset).toBe(true)
  })

  test('a reset behind the end takes away what is unread, and is never taken for the end', async () => {
    const told: string[] = []
    let far: QuicStream | undefined
    const { connection } = await pair((stream) => {
      if (far) return echo(stream)
      far = stream
      stream.attach({
        data: () => false,
        end: () => void told.push('end'),
        drain() {},
        reset: () => void told.push('reset'),
        stopped() {},
      })
    })
    const stream = await connection.openStream()
    void receive(stream)
    stream.write(pattern(100_000, 0))
    stream.end()
    await until(() => far !== undefined)
    // What is sent and answered behind it says that it has arrived.
    for (let i = 0; i < 3; i++) await ask(connection, pattern(100_000, i))
    // No stream of ours does this; quiche itself is asked.
    const { carrier, id } = stream as unknown as { carrier: Carrier; id: number }
    carrier.native.streamShutdown(id, writeHalf, 0)
    carrier.wake()
    await until(() => told.length > 0)
    far!.resume()
    expect(told[0]).toBe('reset')
  })

  test('stray datagrams are dropped, and what is said on streams goes on', async () => {
    let far: QuicStream | undefined
    const { connection, ends } = await pair((stream) => {
      far ??= stream
      return echo(stream)
    })
    await ask(connection, pattern(100, 0))
    // Nothing of ours sends one; quiche itself is asked.
    const { carrier } = far as unknown as { carrier: Carrier }
    const native = carrier.native as typeof carrier.native & { dgramSend(data: Uint8Array): void }
    for (let i = 0; i < 20; i++) {
      native.dgramSend(pattern(200, i))
      carrier.wake()
      expect((await ask(connection, pattern(100, i))).end).toBe('end')
    }
    expect(ends).toEqual([])
  })

  test('a writer that waits is told that nobody reads on, and its bytes are dropped', async () => {
    const { connection } = await pair((stream) => {
      stream.attach({
        data() {
          stream.stopReading()
          return true
        },
        end() {},
        drain() {},
        reset() {},
        stopped() {},
      })
    })
    const stream = await connection.openStream()
    let drained = false
    const stopped = new Promise<void>((resolve) => {
      stream.attach({
        data: () => true,
        end() {},
        drain: () => void (drained = true),
        reset() {},
        stopped: resolve,
      })
    })
    expect(stream.write(new Uint8Array(32 * megabyte))).toBe(false)
    await stopped
    expect(drained).toBe(false)
    expect(stream.write(new Uint8Array(1))).toBe(true)
  })
})

describe.runIf(hasBinary)('time', () => {
  test('a process that was busy for longer than the idle timeout first reads what has come', async () => {
    const hasty = { idleTimeoutMs: 1_000, keepAliveMs: 200 }
    const tls = { servername, ca: authority.certificate, alpn }
    let far: QuicStream | undefined
    const shown = { ...certificate, alpn }
    const listener = await listenQuic({ host: '127.0.0.1', port: 0 }, { tls: shown, ...hasty }, (connection) =>
      connection.attach({
        stream(stream) {
          echo(stream)
          far = stream
        },
        close() {},
      }),
    )
    stops.push(() => listener.close())
    const connection = await connectQuic(listener.address, { tls, timeoutMs: 10_000, ...hasty })
    stops.push(() => connection.close())
    const ends: unknown[] = []
    connection.attach({ stream() {}, close: (error) => ends.push(error ?? 'closed') })
    const near = await connection.openStream()
    const answered = receive(near)
    near.write(new Uint8Array(10))
    await until(() => far !== undefined)
    // Both send, which they do at the end of this turn, and neither reads until much later.
    near.write(new Uint8Array(10))
    far!.write(new Uint8Array(10))
    await new Promise<void>((resolve) => {
      setImmediate(() => {
        const untilMs = performance.now() + 1_500
        while (performance.now() < untilMs);
        resolve()
      })
    })
    near.end()
    expect((await answered).end).toBe('end')
    expect(ends).toEqual([])
  })
})

describe.runIf(hasBinary)('closing', () => {
  test('what was written to its end arrives, though the connection is closed at once', async () => {
    const sent = pattern(megabyte, 5)
    const listener = await listen((connection) =>
      connection.attach({
        stream(stream) {
          stream.attach({ data: () => true, end() {}, drain() {}, reset() {}, stopped() {} })
          stream.write(sent)
          stream.end()
          connection.close()
        },
        close() {},
      }),
    )
    const { connection, ends } = await dial(listener.address)
    const { bytes, end } = await ask(connection, pattern(10, 0))
    expect(end).toBe('end')
    expect(Buffer.compare(bytes, sent)).toBe(0)
    await until(() => ends.length === 1)
    expect(ends).toEqual([undefined])
  })

  test('twice is once, on either end', async () => {
    const { connection, ends } = await pair(echo)
    connection.close()
    connection.close()
    await until(() => ends.length > 0)
    connection.close()
    expect(ends).toEqual([undefined])
  })
})

describe.runIf(hasBinary)('addresses', () => {
  test('IPv6', async () => {
    const listener = await listen((connection) => connection.attach({ stream: echo, close() {} }), '::1')
    const { connection } = await dial(listener.address)
    expect(connection.remote).toEqual(listener.address)
    expect((await ask(connection, pattern(100, 0))).bytes.length).toBe(100)
  })

  test('a name is none', async () => {
    await expect(dial({ host: 'localhost', port: 9 })).rejects.toMatchObject({ code: 'not-found' })
  })

  test('where nobody listens: refused', async () => {
    const listener = await listen(() => {})
    await listener.close()
    await expect(dial(listener.address)).rejects.toMatchObject({ code: 'refused' })
  })
})

describe.runIf(hasBinary)('what is no QUIC', () => {
  test('changes nothing for those who speak it', async () => {
    const listener = await listen((connection) => connection.attach({ stream: echo, close() {} }))
    const { connection } = await dial(listener.address)
    const socket = await udp()
    for (const size of [0, 1, 5, 6, 20, 21, 1_199, 1_200, 1_400]) {
      for (const first of [0x00, 0x40, 0x80, 0xc0, 0xff]) {
        const datagram = pattern(size, size)
        if (size > 0) datagram[0] = first
        if (size > 5) datagram.set([0, 0, 0, 1, 255], 1)
        socket.send(datagram, listener.address.port, '127.0.0.1')
      }
    }
    expect((await ask(connection, pattern(100, 0))).bytes.length).toBe(100)
    await dial(listener.address)
  })

  test('an unknown version is answered with those that are known', async () => {
    const listener = await listen(() => {})
    const socket = await udp()
    // RFC 9000 section 17.2: first byte, version, and two ids behind their lengths.
    const datagram = Buffer.alloc(1_200)
    datagram.set([0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 4, 1, 2, 3, 4, 3, 5, 6, 7])
    const answered = once(socket, 'message')
    socket.send(datagram, listener.address.port, '127.0.0.1')
    const [answer] = (await answered) as [Buffer]
    // Section 17.2.1: version 0, and the ids change sides.
    expect([...answer.subarray(1, 5)]).toEqual([0, 0, 0, 0])
    expect([...answer.subarray(5, 14)]).toEqual([3, 5, 6, 7, 4, 1, 2, 3, 4])
    expect(answer.subarray(14).includes(Buffer.from([0, 0, 0, 1]))).toBe(true)
  })

  test('an answer that is none fails the dial, and not as if nobody had answered', async () => {
    const socket = await udp()
    socket.on('message', (_, from) => socket.send('what?', from.port, from.address))
    const tls = { servername, ca: authority.certificate, alpn }
    const dialled = connectQuic({ host: '127.0.0.1', port: socket.address().port }, { tls, timeoutMs: 300, ...times })
    await expect(dialled).rejects.toMatchObject({ code: 'other' })
  })
})

describe.runIf(hasBinary)('verification', () => {
  const dialFor = async (tls: object, issued: string, options?: { expired: boolean }): Promise<unknown> => {
    const shown = await authority.issue([{ type: 'dns', value: issued }], options)
    const listener = await listen(() => {})
    await listener.present({ ...shown, alpn })
    const all = { servername, ca: authority.certificate, alpn, ...tls }
    return connectQuic(listener.address, { tls: all, timeoutMs: 10_000, ...times }).then(
      (connection) => {
        connection.close()
        return 'connected'
      },
      (error: SocketError) => error.code,
    )
  }

  test.each([
    ['the name in the certificate', {}, servername, undefined, 'connected'],
    ['a wildcard for the name', {}, '*.example.com', undefined, 'connected'],
    ['a wildcard for another level', {}, '*.com', undefined, 'tls'],
    ['another name', {}, 'other.example.com', undefined, 'tls'],
    ['no name to verify', { servername: '' }, servername, undefined, 'tls'],
    ['an address, which is no name', { servername: '127.0.0.1' }, servername, undefined, 'tls'],
    ['a certificate that has run out', {}, servername, { expired: true }, 'tls'],
    ['the roots of the system alone', { ca: undefined }, servername, undefined, 'tls'],
    [
      'roots beside those of the system',
      { ca: undefined, extraCa: authority.certificate },
      servername,
      undefined,
      'connected',
    ],
    ['roots that are no PEM', { ca: 'trust me' }, servername, undefined, 'tls'],
    ['no protocol to agree on', { alpn: [] }, servername, undefined, 'tls'],
  ] as const)('%s', async (_, tls, issued, options, expected) => {
    expect(await dialFor(tls, issued, options)).toBe(expected)
  })
})

describe('the package', () => {
  function install(files: Readonly<Record<string, string>>): string {
    const folder = mkdtempSync(join(tmpdir(), 'headgate-quic-'))
    stops.push(() => rmSync(folder, { recursive: true }))
    const home = join(folder, 'node_modules/@matrixai/quic')
    mkdirSync(join(home, 'dist/native'), { recursive: true })
    for (const [name, text] of Object.entries(files)) writeFileSync(join(home, name), text)
    return pathToFileURL(join(folder, 'file.js')).href
  }

  test.each([
    ['is not there', {}, undefined],
    [
      'has no binary for this machine',
      { 'package.json': '{}', 'dist/native/quiche.js': `throw new Error('no binary')` },
      { reason: 'no binary' },
    ],
    ['lacks its binding', { 'package.json': '{}' }, { reason: expect.stringContaining('quiche.js') }],
    [
      'is another one than we know (CommonJS)',
      { 'package.json': '{}', 'dist/native/quiche.js': 'exports.default = {}' },
      { reason: 'the binding of @matrixai/quic is not as we know it' },
    ],
    [
      'is another one than we know (ES modules)',
      { 'package.json': '{"type":"module"}', 'dist/native/quiche.js': 'export default { Config: {} }' },
      { reason: 'the binding of @matrixai/quic is not as we know it' },
    ],
  ])('%s', (_, files, expected) => {
    expect(loadQuiche(install(files))).toEqual(expected)
  })
})
