import { describe, expect, test, vi } from 'vitest'
import type { Address, Handler, Socket } from '../../src/runtime.ts'
import { bodyOfText } from '../../src/http/body.ts'
import { headOf } from '../../src/http/head.ts'
import { engineRequest } from '../../src/http/request.ts'
import { responseOf } from '../../src/http/response.ts'
import { runtime } from '../support/runtime.ts'
import { dial, startWireServer, type Wire } from '../support/wire.ts'
import { passTo, startEngine, type Engine } from './engine.ts'

/*
 * Client -> our server -> our client -> backend, with bare sockets at both ends. Nothing between may keep more than a few
 * buffers, whatever the ends do.
 */

/** More than the sockets of two connections hold between them, and less than would fit in by mistake. */
const muchBytes = 64 << 20
/** What the system may keep in four socket buffers, and we in ours. */
const maxInFlightBytes = 24 << 20

function pass(to: Address): Promise<Engine> {
  return startEngine(passTo(to))
}

/** Writes so many bytes of a pattern, as fast as the peer takes them. */
function pour(socket: Socket, count: number, counted: (sent: number) => void): { drain(): void } {
  const piece = pattern(65_536)
  let sent = 0
  const drain = (): void => {
    while (sent < count) {
      const size = Math.min(piece.length, count - sent)
      sent += size
      counted(sent)
      if (!socket.write('', piece, 0, size)) return
    }
  }
  return { drain }
}

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 0xff)
}

/** Adds up what comes, byte by byte of the pattern, without keeping it. */
function checkPattern(): { add(bytes: Uint8Array, start: number, end: number): void; count: number; wrong: number } {
  const piece = pattern(65_536)
  return {
    count: 0,
    wrong: 0,
    add(bytes, start, end) {
      for (let i = start; i < end; i++) if (bytes[i] !== piece[this.count++ & 65_535]) this.wrong++
    },
  }
}

interface Tap {
  readonly socket: Socket
  pour(count: number, counted: (sent: number) => void): void
}

/** A bare connection for bulk: `data` is called with what comes behind the first head. */
function bulk(
  socket: Socket,
  data: (bytes: Uint8Array, start: number, end: number) => void,
  ended: () => void = () => socket.end(),
): Tap & { head: Promise<string> } {
  let pouring: { drain(): void } | undefined
  let text = ''
  let headDone = false
  let tellHead = (_head: string): void => {}
  const head = new Promise<string>((resolve) => (tellHead = resolve))
  socket.attach({
    data(bytes, start, end) {
      let from = start
      if (!headDone) {
        const before = text.length
        text += socket.latin1(bytes, start, end)
        const at = text.indexOf('\r\n\r\n')
        if (at < 0) return true
        headDone = true
        from = start + at + 4 - before
        tellHead(text.slice(0, at + 4))
      }
      if (from < end) data(bytes, from, end)
      return true
    },
    drain: () => pouring?.drain(),
    end: () => ended(),
    close() {},
  })
  return {
    socket,
    head,
    pour(count, counted) {
      pouring = pour(socket, count, counted)
      pouring.drain()
    },
  }
}

async function startBulkServer(serve: (socket: Socket) => void): Promise<{ address: Address } & AsyncDisposable> {
  const sockets: Socket[] = []
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => {
    sockets.push(socket)
    serve(socket)
  })
  return {
    address: listener.address,
    async [Symbol.asyncDispose]() {
      const closed = listener.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** However busy the machine is. */
function until(condition: () => boolean): Promise<void> {
  return vi.waitFor(
    () => {
      if (!condition()) throw new Error('what was waited for did not happen')
    },
    { timeout: 50_000, interval: 5 },
  )
}

const patient = { timeout: 60_000 }

/** Resolves when a number has stopped growing: everything between the ends is full. */
async function settled(value: () => number): Promise<number> {
  for (let last = -1, same = 0; ;) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    same = value() === last ? same + 1 : 0
    last = value()
    if (same >= 10 && last > 0) return last
  }
}

describe('64 MiB through a pair of connections', patient, () => {
  test('a client that stops reading stops the backend', async () => {
    let sent = 0
    await using backend = await startBulkServer((socket) => {
      const tap = bulk(socket, () => {})
      void tap.head.then(() => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${muchBytes}\r\n\r\n`)
        tap.pour(muchBytes, (count) => (sent = count))
      })
    })
    await using engine = await pass(backend.address)
    const check = checkPattern()
    const client = bulk(await runtime.connect(engine.address, { timeoutMs: 5_000 }), (bytes, start, end) =>
      check.add(bytes, start, end),
    )
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.head
    client.socket.pause()
    const received = check.count
    expect((await settled(() => sent)) - received).toBeLessThan(maxInFlightBytes)
    client.socket.resume()
    await until(() => check.count === muchBytes)
    expect(check.wrong).toBe(0)
    client.socket.destroy()
  })

  test.each(['with a length', 'in chunks'])('a backend that stops reading stops the client, %s', async (how) => {
    let taken = 0
    const check = checkPattern()
    const sockets: Socket[] = []
    await using backend = await startBulkServer((socket) => {
      sockets.push(socket)
      const tap = bulk(socket, (bytes, start, end) => {
        taken += end - start
        if (how === 'with a length') check.add(bytes, start, end)
        if (check.count === muchBytes) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      })
      void tap.head.then(() => socket.pause())
    })
    await using engine = await pass(backend.address)
    let text = ''
    const client = bulk(await runtime.connect(engine.address, { timeoutMs: 5_000 }), (bytes, start, end) => {
      text += client.socket.latin1(bytes, start, end)
    })
    let sent = 0
    if (how === 'with a length') {
      client.socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${muchBytes}\r\n\r\n`)
    } else {
      client.socket.write(
        `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${muchBytes.toString(16)}\r\n`,
      )
    }
    client.pour(muchBytes, (count) => (sent = count))
    expect((await settled(() => sent)) - taken).toBeLessThan(maxInFlightBytes)
    expect(sent).toBeLessThan(muchBytes)
    sockets[0]!.resume()
    await until(() => (how === 'with a length' ? text === 'ok' : taken > muchBytes))
    expect({ sent, wrong: check.wrong }).toEqual({ sent: muchBytes, wrong: 0 })
    client.socket.destroy()
  })

  test('a slow client and a slow backend, both directions at once, byte for byte', async () => {
    const bytes = 8 << 20
    await using backend = await startBulkServer((socket) => {
      let waiting = false
      let first = true
      socket.attach({
        data(piece, start, end) {
          let from = start
          if (first) {
            first = false
            from = start + socket.latin1(piece, start, end).indexOf('\r\n\r\n') + 4
            socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`)
            if (from === end) return true
          }
          waiting = !socket.write('', piece, from, end)
          return !waiting
        },
        drain() {
          if (!waiting) return
          waiting = false
          socket.resume()
        },
        end() {},
        close() {},
      })
    })
    await using engine = await pass(backend.address)
    const check = checkPattern()
    let pauses = 0
    const client = bulk(await runtime.connect(engine.address, { timeoutMs: 5_000 }), (piece, start, end) => {
      check.add(piece, start, end)
      if (check.count < bytes && ++pauses % 8 === 0) {
        client.socket.pause()
        setTimeout(() => client.socket.resume(), 1)
      }
    })
    client.socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n\r\n`)
    client.pour(bytes, () => {})
    await until(() => check.count === bytes)
    expect(check.wrong).toBe(0)
    client.socket.destroy()
  })
})

test('full duplex: each byte of the client is answered before the next is sent', async () => {
  await using backend = await startWireServer(async (wire) => {
    await wire.until('\r\n\r\n')
    wire.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
    for (;;) {
      const size = Number.parseInt(await wire.until('\r\n'), 16)
      const data = await wire.until('\r\n')
      wire.send(`${size.toString(16)}\r\n${data}`)
      if (size === 0) return
    }
  })
  await using engine = await pass(backend.address)
  const wire = await dial(engine.address)
  wire.send('POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0\r\n')
  await wire.until('\r\n\r\n')
  expect(await wire.take(6)).toBe('1\r\n0\r\n')
  for (const c of '123456789') {
    wire.send(`1\r\n${c}\r\n`)
    expect(await wire.take(6)).toBe(`1\r\n${c}\r\n`)
  }
  wire.send('0\r\n\r\n')
  expect(await wire.rest()).toBe('0\r\n\r\n')
  wire.destroy()
})

test('trailers go through, both ways', async () => {
  await using backend = await startWireServer(async (wire) => {
    await wire.until('\r\n\r\n')
    const body = await wire.until('\r\n\r\n')
    wire.send(
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\nX-Down: 2\r\n\r\n`,
    )
  })
  await using engine = await pass(backend.address)
  const wire = await dial(engine.address)
  wire.send(
    'POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Up: 1\r\n\r\n',
  )
  const answered = await wire.rest()
  expect(answered).toContain('0\r\nX-Up: 1\r\n\r\n')
  expect(answered.endsWith('0\r\nX-Down: 2\r\n\r\n')).toBe(true)
})

test('an event stream: each event is on its way when it comes', async () => {
  await using backend = await startWireServer(async (wire) => {
    await wire.until('\r\n\r\n')
    wire.send('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n')
  })
  await using engine = await pass(backend.address)
  const wire = await dial(engine.address)
  wire.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  expect(await wire.until('\r\n\r\n')).toContain('Transfer-Encoding: chunked')
  const up = await backend.wire(0)
  for (let i = 0; i < 5; i++) {
    up.send(`data: ${i}\n\n`)
    expect(await wire.until('\n\n\r\n')).toContain(`data: ${i}\n\n`)
  }
  up.finish()
  expect(await wire.until('0\r\n\r\n')).toBe('0\r\n\r\n')
  wire.destroy()
})

describe('a client that leaves', () => {
  const ways = ['finish', 'destroy', 'reset'] as const

  test.each(ways)('before the answer, by %s: the backend is left too', async (way) => {
    await using backend = await startWireServer()
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    wire.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc')
    const up = await backend.wire(0)
    await up.until('abc')
    leave(wire, way)
    await up.ended
    await until(() => engine.outcomes.length === 1)
    expect(engine.outcomes[0]).toMatchObject({ status: 0, error: { kind: 'downstream-gone' } })
    await until(() => engine.server.connections.size === 0)
  })

  test.each(['destroy', 'reset'] as const)('inside the answer, by %s: the backend is left too', async (way) => {
    await using backend = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n')
    })
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    wire.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await wire.until('abc\r\n')
    leave(wire, way)
    const up = await backend.wire(0)
    // A FIN alone may come of a client that only waits: writing tells.
    const beat = setInterval(() => up.send('1\r\na\r\n'), 5)
    await up.ended
    clearInterval(beat)
    await until(() => engine.outcomes.length === 1)
    expect(engine.outcomes[0]).toMatchObject({ status: 200, error: { kind: 'downstream-gone' } })
    await until(() => engine.server.connections.size === 0)
  })

  test('only half, behind a whole request: it still gets its answer', async () => {
    await using backend = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    })
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    wire.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    wire.finish()
    expect((await wire.rest()).endsWith('\r\n\r\nok')).toBe(true)
  })

  function leave(wire: Wire, way: 'finish' | 'destroy' | 'reset'): void {
    if (way === 'finish') wire.finish()
    else wire.destroy(way === 'reset' ? 'reset' : undefined)
  }
})

describe('a backend that breaks', () => {
  test.each([
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc', 'abc'],
    ['chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n', '3\r\nabc\r\n'],
  ])('inside a body with %s: the client sees that it is not all', async (_, answer, seen) => {
    await using backend = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send(answer)
    })
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    wire.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await wire.until('abc')
    backend.wires[0]!.destroy('reset')
    expect(`${seen.slice(0, seen.indexOf('abc') + 3)}${await wire.rest()}`).toBe(seen)
    expect(engine.outcomes).toMatchObject([{ status: 200, bytesSent: 3, error: { kind: 'upstream', phase: 'body' } }])
  })

  test('inside a body until close, by a reset: no clean end of the chunks', async () => {
    await using backend = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 200 OK\r\n\r\nabc')
    })
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    wire.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await wire.until('abc\r\n')
    backend.wires[0]!.destroy('reset')
    expect(await wire.rest()).toBe('')
  })

  test('before its answer: 502', async () => {
    await using backend = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.destroy()
    })
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    wire.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    expect(await wire.rest()).toMatch(/^HTTP\/1.1 502 /)
  })

  test('ahead of 10 MiB of upload, after an answer: the client gets that or a 502, and no reset', async () => {
    await using backend = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 6\r\n\r\ntoobig')
      wire.destroy()
    })
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    // Where all of the upload has gone by when the answer comes, the connection would otherwise be kept.
    wire.send(`POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${10 << 20}\r\n\r\n`)
    wire.send(new Uint8Array(10 << 20))
    const answered = await wire.rest()
    expect(answered).toMatch(/^HTTP\/1.1 (?:413|502) /)
    wire.destroy()
  })

  test('an answer ahead of 10 MiB of upload, from a backend that stays', async () => {
    await using backend = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.socket.pause()
      wire.send('HTTP/1.1 413 Content Too Large\r\nContent-Length: 6\r\n\r\ntoobig')
    })
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    wire.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${10 << 20}\r\n\r\n`)
    wire.send(new Uint8Array(10 << 20))
    const answered = await wire.rest()
    expect(answered).toMatch(/^HTTP\/1.1 413 .*toobig$/s)
    wire.destroy()
  })
})

describe('an upgrade through the pass', () => {
  test('bytes both ways, behind both heads, and each direction ends by itself', async () => {
    await using backend = await startWireServer(async (wire) => {
      expect(await wire.until('\r\n\r\n')).toContain('\r\nUpgrade: echo\r\n')
      wire.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ')
    })
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    wire.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ')
    const head = await wire.until('\r\n\r\n')
    expect(head).toMatch(/^HTTP\/1.1 101 Switching Protocols\r\n/)
    expect(head).toMatch(/\r\nConnection: Upgrade\r\n/)
    expect(head).toMatch(/\r\nUpgrade: echo\r\n/)
    const up = await backend.wire(0)
    expect(await wire.take(6)).toBe('hello ')
    expect(await up.take(6)).toBe('early ')
    wire.send('more')
    expect(await up.take(4)).toBe('more')
    wire.finish()
    expect(await up.rest()).toBe('')
    up.send('last words')
    expect(await wire.take(10)).toBe('last words')
    up.finish()
    expect(await wire.rest()).toBe('')
    await until(() => engine.outcomes.length === 1)
    expect(engine.outcomes).toEqual([{ status: 101, bytesReceived: 10, bytesSent: 16 }])
    await until(() => engine.server.connections.size === 0)
  })

  test('a 101 of a handler that has left a body unread is refused: its rest is not for the new protocol', async () => {
    let failed: unknown
    await using engine = await startEngine(() => {
      const outgoing = { data: () => true, end() {}, fail: (error: unknown) => void (failed = error) }
      const upgrade = { incoming: bodyOfText(''), outgoing, onWritable() {} }
      return responseOf(101, '', headOf([['Upgrade', 'x']]), undefined, upgrade)
    })
    const wire = await dial(engine.address)
    wire.send('POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc')
    expect(await wire.rest()).toMatch(/^HTTP\/1\.1 502 /)
    expect(failed).toBeDefined()
  })

  test('one that we cut off ends as that', async () => {
    await using backend = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
    })
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    wire.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
    await wire.until('\r\n\r\n')
    engine.server.destroy()
    await wire.ended
    await until(() => engine.outcomes.length === 1)
    expect(engine.outcomes).toMatchObject([{ status: 101, error: { kind: 'cut-off' } }])
  })

  test('16 MiB each way at once, with a slow reader', patient, async () => {
    const bytes = 16 << 20
    const backendCheck = checkPattern()
    await using backend = await startBulkServer((socket) => {
      const tap = bulk(socket, (piece, start, end) => backendCheck.add(piece, start, end))
      void tap.head.then(() => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
        tap.pour(bytes, () => {})
      })
    })
    await using engine = await pass(backend.address)
    const check = checkPattern()
    let pauses = 0
    const client = bulk(await runtime.connect(engine.address, { timeoutMs: 5_000 }), (piece, start, end) => {
      check.add(piece, start, end)
      if (++pauses % 16 === 0) {
        client.socket.pause()
        setTimeout(() => client.socket.resume(), 1)
      }
    })
    client.socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n')
    await client.head
    client.pour(bytes, () => {})
    await until(() => check.count === bytes && backendCheck.count === bytes)
    expect(check.wrong + backendCheck.wrong).toBe(0)
    client.socket.destroy()
    await until(() => engine.server.connections.size === 0)
  })

  test(
    'a backend that has ended its side and reads slowly still gets all that the client sends, and its end',
    patient,
    async () => {
      const bytes = 8 << 20
      const check = checkPattern()
      let ended = 0
      await using backend = await startBulkServer((socket) => {
        let pieces = 0
        const tap = bulk(
          socket,
          (piece, start, end) => {
            check.add(piece, start, end)
            if (++pieces % 8 !== 0) return
            socket.pause()
            setTimeout(() => socket.resume(), 1)
          },
          () => ended++,
        )
        void tap.head.then(() => {
          socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
          socket.end()
        })
      })
      await using engine = await pass(backend.address)
      const client = bulk(
        await runtime.connect(engine.address, { timeoutMs: 5_000 }),
        () => {},
        () => {},
      )
      client.socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n')
      await client.head
      client.pour(bytes, (sent) => {
        if (sent === bytes) queueMicrotask(() => client.socket.end())
      })
      await until(() => ended === 1)
      expect([check.count, check.wrong]).toEqual([bytes, 0])
      await until(() => engine.outcomes.length === 1)
      expect(engine.outcomes).toEqual([{ status: 101, bytesReceived: bytes, bytesSent: 0 }])
    },
  )

  test.each(['client', 'backend'])('a reset by the %s reaches the other side', async (who) => {
    await using backend = await startWireServer(async (wire) => {
      await wire.until('\r\n\r\n')
      wire.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
    })
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    wire.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n')
    await wire.until('\r\n\r\n')
    const up = await backend.wire(0)
    ;(who === 'client' ? wire : up).destroy('reset')
    await (who === 'client' ? up : wire).ended
    await until(() => engine.outcomes.length === 1)
    expect(engine.outcomes[0]).toMatchObject({ status: 101, error: { kind: expect.any(String) } })
    await until(() => engine.server.connections.size === 0)
  })

  test('no upgrade to what we would lose sight of: h2c', async () => {
    await using backend = await startWireServer(async (wire) => {
      const head = await wire.until('\r\n\r\n')
      wire.send(`HTTP/1.1 200 OK\r\nContent-Length: ${head.length}\r\n\r\n${head}`)
    })
    await using engine = await pass(backend.address)
    const wire = await dial(engine.address)
    wire.send(
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n',
    )
    const answered = await wire.rest()
    expect(answered).not.toMatch(/upgrade|h2c|http2-settings/i)
  })
})

test('500 requests of all kinds at once come out as they went in, each connection used again', patient, async () => {
  const digest = async (bytes: ArrayBuffer): Promise<string> =>
    Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)), (byte) =>
      byte.toString(16).padStart(2, '0'),
    ).join('')
  /** Answers with the digest of what it got, and then with all of it again, in one of three framings. */
  const handler: Handler = async (request) => {
    const bytes = await request.arrayBuffer()
    const kind = Number(new URL(request.url).searchParams.get('kind'))
    const headers = { 'x-digest': await digest(bytes) }
    return new Response(kind % 2 === 0 ? bytes : new Blob([bytes]).stream(), { headers })
  }
  await using backend = await startEngine(handler)
  await using engine = await pass(backend.address)
  const bodies = await Promise.all(
    [0, 1, 100, 10_000, 300_000].map(async (length) => {
      const bytes = pattern(length).map((byte, i) => (i % 97 === 0 ? 0xff - byte : byte))
      let text = ''
      for (let at = 0; at < length; at += 8_192) text += String.fromCharCode(...bytes.subarray(at, at + 8_192))
      return { text, digest: await digest(bytes.buffer) }
    }),
  )
  let wrong = 0
  async function work(number: number): Promise<void> {
    const wire = await dial(engine.address)
    for (let i = 0; i < 25; i++) {
      const kind = number * 25 + i
      const body = bodies[kind % bodies.length]!
      if (kind % 3 === 0) {
        wire.send(`POST /?kind=${kind} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n`)
        for (let at = 0; at < body.text.length; at += 70_000) {
          const piece = body.text.slice(at, at + 70_000)
          wire.send(`${piece.length.toString(16)}\r\n${piece}\r\n`)
        }
        wire.send('0\r\n\r\n')
      } else
        wire.send(`PUT /?kind=${kind} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.text.length}\r\n\r\n${body.text}`)
      const head = await wire.until('\r\n\r\n')
      let text = ''
      const length = /content-length: (\d+)/i.exec(head)
      if (length) text = await wire.take(Number(length[1]))
      else {
        for (;;) {
          const size = Number.parseInt(await wire.until('\r\n'), 16)
          if (size > 0) text += await wire.take(size)
          await wire.until('\r\n')
          if (size === 0) break
        }
      }
      if (!head.includes(body.digest) || text !== body.text) wrong++
    }
    wire.destroy()
  }
  await Promise.all(Array.from({ length: 20 }, (_, number) => work(number)))
  expect(wrong).toBe(0)
  expect(backend.asked).toHaveLength(500)
  expect(backend.server.connections.size).toBeLessThanOrEqual(20)
  expect(engine.errors).toEqual([])
  expect(engine.outcomes.filter(({ error }) => error !== undefined)).toEqual([])
})

test('a request for another path than its bytes say cannot be made by what it holds', async () => {
  await using backend = await startEngine((request) => new Response(engineRequest(request)!.target))
  await using engine = await pass(backend.address)
  const wire = await dial(engine.address)
  const body = 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n'
  wire.send(`POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  wire.send('GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  await wire.rest()
  expect(backend.asked).toEqual(['POST /open', 'GET /last'])
})
