/** Whatever comes, in whatever pieces: the same bytes mean the same, and no bytes do harm. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { headOf } from '../../src/http/head.ts'
import { createResponse } from '../../src/http/response.ts'
import { engineRequest } from '../../src/http/request.ts'
import { FieldBlock } from '../../src/http2/field-block.ts'
import { flag, frameHeaderBytes, frameType, preface, writeFrameHeader } from '../../src/http2/frames.ts'
import { HpackDecoder } from '../../src/http2/hpack-decoder.ts'
import { HpackEncoder } from '../../src/http2/hpack-encoder.ts'
import { defaultHttp2Limits } from '../../src/http2/limits.ts'
import { createHttp2Server } from '../../src/http2/server.ts'
import type { Handler, Outcome, Socket, SocketEvents } from '../../src/runtime.ts'
import { createTimers } from '../../src/timers.ts'
import { runtime } from '../support/runtime.ts'

function latin1(bytes: Uint8Array, start: number, end: number): string {
  let text = ''
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i]!)
  return text
}

/** A server on a socket that is a plain object: whatever it does, it does before `data` returns or in `turn`. */
function serve(handler: Handler): { data(bytes: Uint8Array): void; turn(): void; close(): void; destroyed: boolean } {
  const turns: (() => void)[] = []
  let events: SocketEvents
  const rig = {
    destroyed: false,
    data: (bytes: Uint8Array) => void (rig.destroyed || events.data(bytes, 0, bytes.length)),
    turn() {
      for (const f of turns.splice(0)) f()
    },
    close: () => events.close(),
  }
  const socket: Socket = {
    local: { host: '192.0.2.1', port: 80 },
    remote: { host: '192.0.2.2', port: 50_000 },
    attach: (to) => void (events = to),
    latin1,
    write: () => true,
    pause() {},
    resume() {},
    end() {},
    destroy: () => void (rig.destroyed = true),
  }
  const timers = createTimers(runtime.clock)
  const afterTurn = (f: () => void): void => void turns.push(f)
  events = createHttp2Server({ handler, timers, afterTurn, scheme: 'http', limits: defaultHttp2Limits }).accept(socket)
  return rig
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

function frame(type: number, flags: number, streamId: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(frameHeaderBytes + payload.length)
  writeFrameHeader(bytes, 0, payload.length, type, flags, streamId)
  bytes.set(payload, frameHeaderBytes)
  return bytes
}

interface Message {
  readonly path: string
  readonly fields: readonly string[]
  /** Sizes of DATA frames, and of the padding of each; -1 for none. */
  readonly pieces: readonly (readonly [size: number, padding: number])[]
  readonly trailers: boolean
  /** The head goes out in so many frames. */
  readonly parts: number
}

const token = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/)
const message: fc.Arbitrary<Message> = fc.record({
  path: token.map((text) => `/${text}`),
  fields: fc.array(
    fc.tuple(token, fc.stringMatching(/^[a-z0-9 /;=]{0,40}$/)).map(([name, value]) => `x-${name}: ${value.trim()}\r\n`),
    { maxLength: 6 },
  ),
  pieces: fc.array(fc.tuple(fc.nat(300), fc.integer({ min: -1, max: 20 })), { maxLength: 4 }),
  trailers: fc.boolean(),
  parts: fc.integer({ min: 1, max: 4 }),
})

/** A client's side of a connection, and what its server must have understood. */
function conversation(messages: readonly Message[]): { bytes: Uint8Array; understood: string[] } {
  const encoder = new HpackEncoder()
  const out: Uint8Array[] = [Uint8Array.from(preface, (c) => c.charCodeAt(0)), frame(frameType.settings, 0, 0, none)]
  const understood: string[] = []
  const block = (text: string, path?: string): Uint8Array => {
    const bytes = new Uint8Array(HpackEncoder.bound(text) + 256)
    let at = encoder.begin(bytes, 0)
    if (path !== undefined) {
      at = encoder.method('PUT', bytes, at)
      at = encoder.scheme('http', bytes, at)
      at = encoder.path(path, bytes, encoder.authority('a.example', bytes, at))
    }
    return bytes.slice(0, encoder.fields(text, bytes, at))
  }
  messages.forEach(({ path, fields, pieces, trailers, parts }, i) => {
    const id = 2 * i + 1
    const head = block(fields.join(''), path)
    const ends = pieces.length === 0 && !trailers ? flag.endStream : 0
    const step = Math.ceil(head.length / parts)
    for (let at = 0; at < head.length; at += step) {
      const last = at + step >= head.length ? flag.endHeaders : 0
      const type = at === 0 ? frameType.headers : frameType.continuation
      out.push(frame(type, last | (at === 0 ? ends : 0), id, head.subarray(at, at + step)))
    }
    let size = 0
    pieces.forEach(([length, padding], k) => {
      const end = k === pieces.length - 1 && !trailers ? flag.endStream : 0
      const body = new Uint8Array(length).fill(i)
      size += length
      if (padding < 0) out.push(frame(frameType.data, end, id, body))
      else
        out.push(
          frame(frameType.data, end | flag.padded, id, join([Uint8Array.of(padding), body, new Uint8Array(padding)])),
        )
    })
    if (trailers) out.push(frame(frameType.headers, flag.endHeaders | flag.endStream, id, block('x-sum: 1\r\n')))
    understood.push(`${path} ${fields.join('')}${size} of ${i}${trailers ? ' x-sum: 1' : ''}`)
  })
  return { bytes: join(out), understood }
}

const none = new Uint8Array(0)

/** Notes each request when it is whole. */
function noting(noted: string[]): Handler {
  return (request) => {
    const own = engineRequest(request)!
    const head = own.head.serialize(0)
    const body = own.holder.take()
    let size = 0
    let filler = noted.length
    const note = (trailers: string): void => {
      noted.push(`${own.target} ${head}${size} of ${filler}${trailers}`)
    }
    if (body) {
      body.start({
        data(bytes, start, end) {
          size += end - start
          filler = bytes[start]!
          return true
        },
        end: (trailers) => note(trailers ? ` ${trailers.serialize(0).trim()}` : ''),
        fail: () => note(' broken'),
      })
    } else note('')
    return createResponse(204, [])
  }
}

describe('frames', () => {
  test('mean the same in whatever pieces they come', () => {
    fc.assert(
      fc.property(
        fc.array(message, { minLength: 1, maxLength: 5 }),
        fc.infiniteStream(fc.nat(40)),
        (messages, sizes) => {
          const { bytes, understood } = conversation(messages)
          const noted: string[] = []
          // Answers wait for the request to be whole: one that comes before ends it.
          const handler = noting(noted)
          const rig = serve((request, exchange) => {
            void handler(request, exchange)
            return new Promise(() => {})
          })
          for (let at = 0; at < bytes.length;) {
            const size = sizes.next().value! + 1
            rig.data(bytes.slice(at, at + size))
            at += size
          }
          rig.turn()
          expect(noted).toEqual(understood)
        },
      ),
      { numRuns: 300 },
    )
  })

  test('that are damaged end what they concern, and every exchange once', () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.constantFrom('flip', 'drop', 'double'), fc.nat(255)), {
      minLength: 1,
      maxLength: 6,
    })
    fc.assert(
      fc.property(
        fc.array(message, { minLength: 1, maxLength: 5 }),
        damage,
        fc.boolean(),
        (messages, faults, waits) => {
          let bytes = conversation(messages).bytes
          for (const [where, what, value] of faults) {
            const at = preface.length + (where % (bytes.length - preface.length))
            if (what === 'flip') bytes[at]! ^= value | 1
            else if (what === 'drop') bytes = join([bytes.slice(0, at), bytes.slice(at + 1 + (value & 15))])
            else bytes = join([bytes.slice(0, at), bytes.slice(at - (value & 15)), none])
          }
          let begun = 0
          const outcomes: Outcome[] = []
          const handler = noting([])
          const rig = serve((request, exchange) => {
            begun++
            exchange!.onFinish((outcome) => outcomes.push(outcome))
            const response = handler(request, exchange)
            return waits ? new Promise(() => {}) : response
          })
          rig.data(bytes)
          rig.turn()
          rig.close()
          expect(outcomes).toHaveLength(begun)
        },
      ),
      { numRuns: 1_000 },
    )
  })
})

describe('header blocks', () => {
  test('of any bytes end in a fault or in fields, and the table keeps its size', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (blocks) => {
        const decoder = new HpackDecoder(512, latin1)
        for (const block of blocks) {
          let octets = 0
          const fault = decoder.decode(block, 0, block.length, { add: ({ size }) => void (octets += size) })
          expect(decoder.tableSize).toBeLessThanOrEqual(512)
          expect(octets).toBeLessThanOrEqual(block.length * (512 + 64))
          if (fault !== undefined) return
        }
      }),
      { numRuns: 2_000 },
    )
  })

  test('say what was put into them, whatever the table is and was', () => {
    const line = fc.tuple(
      token,
      fc.stringMatching(/^[ -~\u00a0-\u00ff]{0,60}$/).map((value) => value.trim()),
    )
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.array(line, { maxLength: 8 }), fc.option(fc.constantFrom(0, 40, 100, 300, 4096))), {
          maxLength: 12,
        }),
        (blocks) => {
          const encoder = new HpackEncoder()
          const decoder = new HpackDecoder(4096, latin1)
          for (const [fields, limit] of blocks) {
            if (limit !== null) encoder.limit(limit)
            const text = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')
            const out = new Uint8Array(HpackEncoder.bound(text))
            const end = encoder.fields(text, out, encoder.begin(out, 0))
            const read: string[] = []
            const fault = decoder.decode(out, 0, end, {
              add: ({ name, value }) => void read.push(`${name.text}: ${value}\r\n`),
            })
            expect(fault).toBeUndefined()
            expect(read.join('')).toBe(text)
          }
        },
      ),
      { numRuns: 1_000 },
    )
  })

  test('that repeat one another, wholly or in part, become the heads that they say', () => {
    const names = ['a', 'b', 'content-length', 'cookie', 'x-forwarded-for', 'x-api-key', 'date']
    const line = fc.tuple(fc.constantFrom(...names), fc.constantFrom('1', '22', 'x'.repeat(600)))
    const list = fc.array(line, { maxLength: 6 })
    fc.assert(
      fc.property(
        fc.array(list, { minLength: 1, maxLength: 3 }),
        fc.array(fc.tuple(fc.nat(2), fc.option(fc.constantFrom(0, 100, 4096), { freq: 8 })), { maxLength: 20 }),
        (lists, order) => {
          const encoder = new HpackEncoder()
          const decoder = new HpackDecoder(4096, latin1)
          const block = new FieldBlock(defaultHttp2Limits)
          for (const [which, limit] of order) {
            const fields = lists[which % lists.length]!
            if (limit !== null) encoder.limit(limit)
            const text = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')
            const out = new Uint8Array(HpackEncoder.bound(text))
            block.begin()
            expect(decoder.decode(out, 0, encoder.fields(text, out, encoder.begin(out, 0)), block)).toBeUndefined()
            const crumbs = fields.filter(([name]) => name === 'cookie').map(([, value]) => value)
            const expected = [
              ...fields.filter(([name]) => name !== 'cookie'),
              ...(crumbs.length > 0 ? [['cookie', crumbs.join('; ')]] : []),
            ]
            const head = block.head()
            const fresh = headOf(expected.map(([name, value]) => [name!, value!] as const))
            expect(head.fields()).toEqual(expected)
            expect([head.kinds, head.lines]).toEqual([fresh.kinds, fresh.lines])
          }
        },
      ),
      { numRuns: 1_000 },
    )
  })
})
