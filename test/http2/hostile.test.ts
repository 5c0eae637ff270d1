/** Peers that mean harm: each costs its own connection, or its stream, and nobody else anything. */
import { expect, test } from 'vitest'
import { createResponse, responseOf } from '../../src/http/response.ts'
import { emptyHead } from '../../src/http/head.ts'
import { errorCode, flag, frameType, readUint32 } from '../../src/http2/frames.ts'
import { HpackEncoder } from '../../src/http2/hpack-encoder.ts'
import type { Handler, Socket } from '../../src/runtime.ts'
import type { Http2Limits } from '../../src/http2/limits.ts'
import { until } from '../support/until.ts'
import { RawPeer, type Frame } from './raw-peer.ts'
import { patternBody, requestFor, startHttp2, type Http2Rig } from './rig.ts'

function headBlock(path = '/', lines = ''): Uint8Array {
  const encoder = new HpackEncoder()
  const out = new Uint8Array(512 + HpackEncoder.bound(lines))
  let at = encoder.method('GET', out, 0)
  at = encoder.scheme('http', out, at)
  at = encoder.authority('a.example', out, at)
  at = encoder.path(path, out, at)
  return out.slice(0, encoder.fields(lines, out, at))
}

const openHeaders = flag.endHeaders | flag.endStream

async function attacked(
  handler: Handler,
  limits: Partial<Http2Limits>,
  attack: (peer: RawPeer, rig: Http2Rig) => Promise<void>,
  settings?: Uint8Array,
): Promise<void> {
  await using rig = await startHttp2(handler, limits)
  const bystander = await rig.connect()
  const peer = new RawPeer(await rig.dial(), settings)
  await until(() => peer.frames.length > 0)
  await attack(peer, rig)
  expect((await bystander.send(requestFor('/'), {})).status).toBe(200)
  peer.destroy()
}

const ok: Handler = () => createResponse(200, [], 'ok')

test('rapid reset (CVE-2023-44487) ends the connection', async () => {
  let running = 0
  let most = 0
  const slow: Handler = async (request, exchange) => {
    if (request.url.endsWith('/attack')) {
      most = Math.max(most, ++running)
      await new Promise<void>((resolve) => exchange!.onAbort(() => resolve()))
      await new Promise((resolve) => setTimeout(resolve, 5))
      running--
    }
    return createResponse(200, [], 'ok')
  }
  await attacked(slow, { maxConcurrentStreams: 10, resetBurst: 100, resetsPerSecond: 1 }, async (peer) => {
    const cancel = Uint8Array.of(0, 0, 0, 8)
    for (let i = 0; i < 500; i++) {
      peer.sendMany([
        [frameType.headers, openHeaders, 2 * i + 1, headBlock('/attack')],
        [frameType.rstStream, 0, 2 * i + 1, cancel],
      ])
    }
    expect(await peer.goaway()).toBe(errorCode.enhanceYourCalm)
    expect(most).toBeLessThanOrEqual(10)
  })
})

test('resets that the peer provokes (CVE-2025-8671) end the connection', async () => {
  const slow: Handler = async (request) => {
    if (request.url.endsWith('/attack')) await new Promise((resolve) => setTimeout(resolve, 5))
    return createResponse(200, [], 'ok')
  }
  await attacked(slow, { resetBurst: 50, resetsPerSecond: 1 }, async (peer) => {
    for (let i = 0; i < 200; i++) {
      peer.sendMany([
        [frameType.headers, openHeaders, 2 * i + 1, headBlock('/attack')],
        [frameType.windowUpdate, 0, 2 * i + 1, new Uint8Array(4)],
      ])
    }
    expect(await peer.goaway()).toBe(errorCode.enhanceYourCalm)
  })
})

test.each<[string, number, number, Uint8Array, number?]>([
  ['PING', frameType.ping, 0, new Uint8Array(8)],
  ['SETTINGS', frameType.settings, 0, new Uint8Array(0)],
  ['PRIORITY', frameType.priority, 1, Uint8Array.of(0, 0, 0, 0, 1)],
  ['WINDOW_UPDATE by one', frameType.windowUpdate, 0, Uint8Array.of(0, 0, 0, 1)],
  ['frames of unknown type', 77, 0, new Uint8Array(3)],
  ['acknowledgements of SETTINGS', frameType.settings, 0, new Uint8Array(0), flag.ack],
  ['answers to no PING', frameType.ping, 0, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), flag.ack],
])('a flood of %s ends the connection', async (_name, type, streamId, payload, flags = 0) => {
  await attacked(ok, { idleFrameBurst: 100, idleFramesPerSecond: 1 }, async (peer) => {
    peer.sendMany(Array.from({ length: 500 }, () => [type, flags, streamId, payload] as const))
    expect(await peer.goaway()).toBe(errorCode.enhanceYourCalm)
  })
})

test('acknowledgements of what we sent are no flood', async () => {
  const limits = { idleFrameBurst: 1, idleFramesPerSecond: 0, pingIntervalMs: 25, pingTimeoutMs: 5_000 }
  await attacked(ok, limits, async (peer) => {
    peer.send(frameType.settings, flag.ack, 0)
    for (let answered = 0; answered < 5; answered++) {
      const pings = (): readonly Frame[] =>
        peer.frames.filter(({ type, flags }) => type === frameType.ping && flags === 0)
      await until(() => pings().length > answered)
      peer.send(frameType.ping, flag.ack, 0, pings()[answered]!.payload)
    }
    peer.send(frameType.ping, 0, 0, new Uint8Array(8)) // the one that there is a token for
    await until(() => peer.frames.some(({ type, flags }) => type === frameType.ping && flags === flag.ack))
  })
})

/** Stream 1, from its request to its answer. */
async function openAndClose(peer: RawPeer): Promise<void> {
  peer.send(frameType.headers, openHeaders, 1, headBlock())
  await until(() => peer.text(1) === 'ok')
}

test.each([
  ['PRIORITY that depends on itself', frameType.priority, Uint8Array.of(0, 0, 0, 1, 1)],
  ['WINDOW_UPDATE by much', frameType.windowUpdate, Uint8Array.of(0, 1, 0, 0)],
])('a flood of %s, on a stream that is over, ends the connection', async (_name, type, payload) => {
  await attacked(ok, { idleFrameBurst: 100, idleFramesPerSecond: 1 }, async (peer) => {
    await openAndClose(peer)
    peer.sendMany(Array.from({ length: 500 }, () => [type, 0, 1, payload] as const))
    expect(await peer.goaway()).toBe(errorCode.enhanceYourCalm)
  })
})

test('RFC 9113 section 6.3: PRIORITY of a wrong size, on a stream that is over, ends the connection', async () => {
  await attacked(ok, {}, async (peer) => {
    await openAndClose(peer)
    peer.send(frameType.priority, 0, 1, new Uint8Array(4))
    expect(await peer.goaway()).toBe(errorCode.frameSize)
  })
})

test('whoever reads an answer to its end may make room for the next, though it is out already', async () => {
  const large: Handler = () => createResponse(200, [], 'x'.repeat(60_000))
  await attacked(large, { idleFrameBurst: 1, idleFramesPerSecond: 0 }, async (peer) => {
    peer.send(frameType.headers, openHeaders, 1, headBlock())
    await until(() => peer.text(1).length === 60_000)
    peer.sendMany(
      Array.from({ length: 60 }, () => [frameType.windowUpdate, 0, 1, Uint8Array.of(0, 0, 3, 232)] as const),
    )
    peer.send(frameType.ping, 0, 0, new Uint8Array(8))
    await until(() => peer.frames.some(({ type, flags }) => type === frameType.ping && flags === flag.ack))
  })
})

const waits: Handler = async (request) => {
  await request.text().catch(() => '')
  return createResponse(200, [], 'ok')
}

test.each([
  ['empty DATA', 0, new Uint8Array(0)],
  ['DATA that is padding alone', flag.padded, Uint8Array.of(3, 0, 0, 0)],
])('a flood of %s ends the connection', async (_name, flags, payload) => {
  await attacked(waits, { idleFrameBurst: 100, idleFramesPerSecond: 1 }, async (peer) => {
    peer.send(frameType.headers, flag.endHeaders, 1, headBlock())
    peer.sendMany(Array.from({ length: 500 }, () => [frameType.data, flags, 1, payload] as const))
    expect(await peer.goaway()).toBe(errorCode.enhanceYourCalm)
  })
})

/** A stream that is answered, and reset, before its request is whole. */
async function openAndReset(peer: RawPeer): Promise<void> {
  peer.send(frameType.headers, flag.endHeaders, 1, headBlock())
  await peer.frame(frameType.rstStream, 1)
}

test.each([
  ['empty DATA', frameType.data, 0, new Uint8Array(0)],
  ['DATA beyond the windows', frameType.data, 0, new Uint8Array(10_000)],
  ['DATA that ends it', frameType.data, flag.endStream, new Uint8Array(0)],
  ['heads', frameType.headers, flag.endHeaders, headBlock()],
  ['trailers', frameType.headers, openHeaders, headBlock()],
])('a flood of %s, on a stream that we have reset, ends the connection', async (_name, type, flags, payload) => {
  const limits = { idleFrameBurst: 100, idleFramesPerSecond: 1, resetBurst: 100, resetsPerSecond: 1 }
  await attacked(ok, limits, async (peer) => {
    await openAndReset(peer)
    peer.sendMany(Array.from({ length: 500 }, () => [type, flags, 1, payload] as const))
    expect(await peer.goaway()).toBe(errorCode.enhanceYourCalm)
  })
})

test.each([
  ['in large pieces', 16, 16_384],
  ['byte by byte', 5_000, 1],
])('what was under way of a body that nobody wants is no flood %s', async (_name, count, size) => {
  const limits = { idleFrameBurst: 1, idleFramesPerSecond: 0, resetBurst: 0, resetsPerSecond: 0 }
  await attacked(ok, limits, async (peer) => {
    await openAndReset(peer)
    peer.sendMany(Array.from({ length: count }, () => [frameType.data, 0, 1, new Uint8Array(size)] as const))
    peer.send(frameType.data, flag.endStream, 1)
    peer.send(frameType.ping, 0, 0, new Uint8Array(8))
    await until(() => peer.frames.some(({ type, flags }) => type === frameType.ping && flags === flag.ack))
  })
})

test('nor are many such bodies, of clients that give each stream a window of its own', async () => {
  const limits = { idleFrameBurst: 2, idleFramesPerSecond: 0, resetBurst: 0, resetsPerSecond: 0 }
  await attacked(ok, limits, async (peer) => {
    for (let id = 1; id < 4_000; id += 2) {
      peer.sendMany([
        [frameType.headers, flag.endHeaders, id, headBlock()],
        [frameType.windowUpdate, 0, id, Uint8Array.of(0, 16, 0, 0)],
        [frameType.data, 0, id, new Uint8Array(5)],
        [frameType.data, flag.endStream, id, new Uint8Array(0)],
      ])
    }
    await until(() => peer.text(3_999) === 'ok')
    expect(peer.frames.some(({ type }) => type === frameType.goaway)).toBe(false)
  })
})

test('bodies that come byte by byte, and padding around what is one, are no flood', async () => {
  const echo: Handler = async (request) => createResponse(200, [], String((await request.text()).length))
  await attacked(echo, { idleFrameBurst: 1, idleFramesPerSecond: 0 }, async (peer) => {
    peer.send(frameType.headers, flag.endHeaders, 1, headBlock())
    peer.sendMany(Array.from({ length: 500 }, () => [frameType.data, 0, 1, Uint8Array.of(97)] as const))
    peer.sendMany(Array.from({ length: 500 }, () => [frameType.data, flag.padded, 1, Uint8Array.of(1, 97, 0)] as const))
    peer.send(frameType.data, flag.padded | flag.endStream, 1, Uint8Array.of(1, 0))
    await until(() => peer.text(1) === '1000')
  })
})

test.each([
  ['of empty frames', 500, 0],
  ['of full frames', 20, 16_000],
])('a CONTINUATION flood (CVE-2024-27316) %s ends the connection', async (_name, count, size) => {
  await attacked(ok, { idleFrameBurst: 100, idleFramesPerSecond: 1 }, async (peer) => {
    peer.send(frameType.headers, flag.endStream, 1, headBlock())
    const literal = new Uint8Array(size)
    peer.sendMany(Array.from({ length: count }, () => [frameType.continuation, 0, 1, literal] as const))
    expect(await peer.goaway()).toBe(errorCode.enhanceYourCalm)
  })
})

test('a header block that never ends is given up in time', async () => {
  await attacked(ok, { headTimeoutMs: 50 }, async (peer) => {
    peer.send(frameType.headers, flag.endStream, 1, headBlock())
    expect(await peer.goaway()).toBe(errorCode.enhanceYourCalm)
  })
})

test('an HPACK bomb is answered 431, and costs no more than its own size', async () => {
  await attacked(ok, {}, async (peer) => {
    const head = headBlock('/', `x-a: ${'v'.repeat(3_900)}\r\n`)
    // Literal with indexing: x-b of 3,900 octets; then sixteen thousand times its index.
    const literal = Uint8Array.of(0x40, 3, 120, 45, 98, 0x7f, 0xbd, 0x1d, ...new Uint8Array(3_900).fill(118))
    const block = new Uint8Array(head.length + literal.length + 8_000)
    block.set(head)
    block.set(literal, head.length)
    block.fill(0xbe, head.length + literal.length)
    peer.send(frameType.headers, openHeaders, 1, block)
    await until(() => peer.frames.some((frame) => frame.type === frameType.headers))
    expect(peer.ended).toBe(false)
  })
})

test('a window that stays shut is not waited for forever', async () => {
  let cancelled = false
  const large: Handler = (request) => {
    if (!request.url.endsWith('/large')) return createResponse(200, [], 'ok')
    const body = patternBody(10_000_000)
    return responseOf(200, '', emptyHead, {
      ...body,
      cancel(reason) {
        cancelled = true
        body.cancel(reason)
      },
    })
  }
  const noWindow = Uint8Array.of(0, 4, 0, 0, 0, 0)
  await attacked(
    large,
    { writeStallTimeoutMs: 50 },
    async (peer) => {
      peer.send(frameType.headers, openHeaders, 1, headBlock('/large'))
      await until(() => peer.frames.some((frame) => frame.type === frameType.rstStream && frame.streamId === 1))
      expect(cancelled).toBe(true)
    },
    noWindow,
  )
})

test('requests whose answers nobody reads end the connection', async () => {
  const wordy: Handler = () => createResponse(200, [['X', 'v'.repeat(10_000)]])
  await attacked(wordy, { maxOutputBytes: 200_000 }, async (peer, rig) => {
    const { size } = rig.server.connections
    ;(peer as unknown as { socket: Socket }).socket.pause()
    for (let i = 0; i < 3_000 && rig.server.connections.size === size; i++) {
      peer.send(frameType.headers, openHeaders, 2 * i + 1, headBlock())
      if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    }
    await until(() => rig.server.connections.size < size)
    expect(rig.server.connections.size).toBe(size - 1)
  })
})

test.each([
  ['an upper-case name', '4000 0141 0162'],
  ['a control character in a value', '4000 0161 010a'],
  ['a space before a value', '4000 0161 0220 62'],
  ['transfer-encoding', '4011 7472616e736665722d656e636f64696e67 07 6368756e6b6564'],
])('RFC 9113 section 8.2.1: %s breaks the stream', async (name, hex) => {
  await attacked(ok, {}, async (peer) => {
    const field = Uint8Array.from(hex.replaceAll(' ', '').replace(/^4000/, '40').match(/../g)!, (pair) =>
      Number.parseInt(pair, 16),
    )
    const head = headBlock()
    const block = new Uint8Array(head.length + field.length)
    block.set(head)
    block.set(field, head.length)
    peer.send(frameType.headers, openHeaders, 1, block)
    await until(() => peer.frames.some((frame) => frame.type === frameType.rstStream))
    const reset = peer.frames.find((frame) => frame.type === frameType.rstStream)!
    expect([name, reset.streamId, readUint32(reset.payload, 0)]).toEqual([name, 1, errorCode.protocol])
  })
})
