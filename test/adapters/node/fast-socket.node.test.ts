import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fastSockets } from '../../../adapters/node/fast-sockets.ts'
import { FastSocket } from '../../../adapters/node/fast-socket.ts'
import { NetSocket, type OwnBuffer } from '../../../adapters/portable/net-socket.ts'
import { createRuntime } from '../../../adapters/portable/runtime.ts'
import type { DialOptions } from '../../../adapters/portable/sockets.ts'
import type { Listener, Runtime, Socket, SocketError } from '../../../src/runtime.ts'
import { until } from '../../support/until.ts'
import { wireOf } from '../../support/wire.ts'

/** What every kind of socket must do alike. */
const kinds: readonly {
  readonly name: string
  dial(): Promise<DialOptions>
  readonly is: abstract new (...args: never) => Socket
}[] = [
  { name: 'NetSocket', dial: async () => ({}), is: NetSocket },
  {
    name: 'NetSocket with its own buffer',
    dial: async () => ({ ownBuffer: (): OwnBuffer => ({ current: new Uint8Array(65_536), deliver: () => false }) }),
    is: NetSocket,
  },
  {
    name: 'FastSocket',
    async dial() {
      const found = await fastSockets()
      if ('reason' in found) throw new Error(found.reason)
      return found.dial
    },
    is: FastSocket,
  },
]

describe.each(kinds)('$name', ({ dial, is }) => {
  let runtime: Runtime
  let listener: Listener
  let accepted: ((socket: Socket) => void)[] = []
  const open: Socket[] = []

  beforeAll(async () => {
    runtime = createRuntime('node', 'test', await dial())
    listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => accepted.shift()?.(socket))
  })
  afterAll(async () => {
    const closed = listener.close()
    for (const socket of open) socket.destroy()
    await closed
  })

  /** A connection; its far end is of the same kind. */
  async function pair(): Promise<[Socket, Socket]> {
    const far = new Promise<Socket>((resolve) => accepted.push(resolve))
    const near = await runtime.connect(listener.address, { timeoutMs: 5_000 })
    open.push(near, await far)
    return [near, await far]
  }

  function pattern(length: number): Uint8Array {
    return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 0xff)
  }

  interface Reader {
    count: number
    wrong: number
    ended: boolean
    closed: false | { error: SocketError | undefined }
  }

  /** Reads a pattern that repeats every 64 KiB. `keep` says which reads it keeps for a moment. */
  function read(socket: Socket, keep: (reads: number) => boolean = () => false): Reader {
    const expected = pattern(65_536)
    const reader: Reader = { count: 0, wrong: 0, ended: false, closed: false }
    let reads = 0
    const check = (bytes: Uint8Array, start: number, end: number): void => {
      for (let i = start; i < end; i++) if (bytes[i] !== expected[reader.count++ & 65_535]) reader.wrong++
    }
    socket.attach({
      data(bytes, start, end) {
        if (!keep(++reads)) {
          check(bytes, start, end)
          return true
        }
        setTimeout(() => {
          check(bytes, start, end) // still as they were
          socket.resume()
        }, 1)
        return false
      },
      drain() {},
      end: () => (reader.ended = true),
      close: (error) => (reader.closed = { error }),
    })
    return reader
  }

  test('is what was asked for, at both ends', async () => {
    const [near, far] = await pair()
    expect(near).toBeInstanceOf(is)
    expect(far).toBeInstanceOf(is)
    expect(near.remote).toEqual(listener.address)
    expect(far.remote).toEqual(near.local)
  })

  test('8 MiB echoed through a reader that keeps every fourth read for a while', async () => {
    const [near, far] = await pair()
    far.attach({
      data: (bytes, start, end) => far.write('', bytes, start, end),
      drain: () => far.resume(),
      end: () => far.end(),
      close() {},
    })
    const bytes = pattern(8 << 20)
    const reader = read(near, (reads) => reads % 4 === 0)
    for (let at = 0; at < bytes.length; at += 1 << 20) near.write('', bytes, at, at + (1 << 20))
    near.end()
    // A socket that has ended both ways closes, and says so, while its last bytes may still be kept.
    await until(() => reader.ended && reader.count >= bytes.length)
    expect(reader).toMatchObject({ count: bytes.length, wrong: 0 })
  })

  test('head, body and tail stay in order and whole, whatever their sizes', async () => {
    const [near, far] = await pair()
    const body = pattern(100_000)
    const text = near.latin1(body, 0, body.length)
    let expected = ''
    for (const size of [0, 1, 100, 16_382, 16_383, 16_384, 70_000]) {
      near.write('\xe9<', body, 7, 7 + size, '>\xff')
      expected += `\xe9<${text.slice(7, 7 + size)}>\xff`
      near.write('head')
      near.write('', body, 0, size)
      near.write('', undefined, 0, 0, 'tail')
      expected += `head${text.slice(0, size)}tail`
    }
    near.end()
    expect((await wireOf(far).rest()) === expected).toBe(true)
  })

  test('a paused reader stops the writer, and drain says when to go on', async () => {
    const [near, far] = await pair()
    const reader = read(far)
    far.pause()
    let drained = 0
    near.attach({ data: () => true, drain: () => drained++, end() {}, close() {} })
    const bytes = pattern(65_536)
    let sent = 0
    while (near.write('', bytes, 0, bytes.length)) sent += bytes.length
    sent += bytes.length
    expect(sent).toBeLessThan(64 << 20)
    expect(drained).toBe(0)
    far.resume()
    await until(() => drained > 0)
    await until(() => reader.count === sent)
    expect(drained).toBe(1)
    expect(reader.wrong).toBe(0)
  })

  test('each direction ends by itself', async () => {
    const [near, far] = await pair()
    const [a, b] = [wireOf(near), wireOf(far)]
    a.send('one')
    a.finish()
    expect(await b.rest()).toBe('one')
    b.send('two')
    expect(await a.take(3)).toBe('two')
    b.finish()
    expect(await a.rest()).toBe('')
    expect(await a.closed).toBeUndefined()
    expect(await b.closed).toBeUndefined()
  })

  test('a reset is a close with its reason', async () => {
    const [near, far] = await pair()
    const reader = read(far)
    near.attach({ data: () => true, drain() {}, end() {}, close() {} })
    near.destroy('reset')
    await until(() => reader.closed !== false)
    expect(reader).toMatchObject({ ended: false, closed: { error: { code: 'reset' } } })
  })

  test('an answer that came before the peer reset is still read', async () => {
    const [near, far] = await pair()
    let text = ''
    let closed = false
    near.attach({
      data(bytes, start, end) {
        text += near.latin1(bytes, start, end)
        return true
      },
      drain() {},
      end() {},
      close: () => (closed = true),
    })
    far.attach({ data: () => true, drain() {}, end() {}, close() {} })
    far.pause()
    const bytes = pattern(1 << 20)
    for (let i = 0; i < 10; i++) near.write('', bytes, 0, bytes.length)
    far.write('too big')
    far.end()
    await until(() => text === 'too big')
    far.destroy() // with bytes unread: a reset
    near.write('', bytes, 0, bytes.length)
    await until(() => closed)
    expect(text).toBe('too big')
  })

  test('what is written after the peer has gone harms nobody', async () => {
    const [near, far] = await pair()
    const reader = read(near)
    far.attach({ data: () => true, drain() {}, end() {}, close() {} })
    far.destroy('reset')
    const bytes = pattern(70_000)
    for (let i = 0; i < 50 && reader.closed === false; i++) {
      near.write('head', bytes, 0, bytes.length, 'tail')
      near.write('head')
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    await until(() => reader.closed !== false)
    expect(near.write('', bytes, 0, bytes.length)).toBe(true)
    expect(near.write('head')).toBe(true)
    near.end()
    near.pause()
    near.resume()
    near.destroy()
    near.destroy('reset')
  })

  test('nothing is heard after the owner has given it up, but the close', async () => {
    const [near, far] = await pair()
    const heard: string[] = []
    near.attach({
      data() {
        heard.push('data')
        return true
      },
      drain: () => heard.push('drain'),
      end: () => heard.push('end'),
      close: () => heard.push('close'),
    })
    const peer = wireOf(far)
    near.destroy()
    peer.send('late')
    peer.finish()
    await peer.ended
    await until(() => heard.length > 0)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(heard).toEqual(['close'])
  })

  test('a thousand short connections leave nothing behind', async () => {
    for (let i = 0; i < 20; i++) {
      await Promise.all(
        Array.from({ length: 50 }, async () => {
          const [near, far] = await pair()
          const [a, b] = [wireOf(near), wireOf(far)]
          a.send('ping')
          expect(await b.take(4)).toBe('ping')
          b.send('pong')
          b.finish()
          expect(await a.rest()).toBe('pong')
          a.finish()
          await Promise.all([a.closed, b.closed])
        }),
      )
    }
    accepted = []
    expect(open.length).toBeGreaterThan(1_000)
  })
})
