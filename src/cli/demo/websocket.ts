/**
 * A WebSocket that sends back what it is sent.
 *
 *     frame   = FIN+opcode  MASK+length  [length 16 or 64]  [mask 4]  payload
 *     opcode  = 0 continuation, 1 text, 2 binary, 8 close, 9 ping, 10 pong
 *
 * @see RFC 6455 section 5.2
 */
import type { Body, BodySink } from '../../http/body.ts'
import { headOf } from '../../http/head.ts'
import { responseOf } from '../../http/response.ts'
import type { RawStream } from '../../http/upgrade.ts'

const largestPayload = 64 * 1024
const finalFrame = 0x80
const textOpcode = 1
const closeOpcode = 8
const pingOpcode = 9
const pongOpcode = 10
const tooBig = new Uint8Array([0x88, 2, 1009 >> 8, 1009 & 255])
const protocolError = new Uint8Array([0x88, 2, 1002 >> 8, 1002 & 255])

/** @param greeting sent first, so that a client that cannot send frames sees one too */
export async function echoWebSocket(request: Request, greeting: string): Promise<Response> {
  const key = request.headers.get('sec-websocket-key')
  if (key === null || request.headers.get('sec-websocket-version') !== '13') {
    return new Response('not a WebSocket handshake\n', { status: 426, headers: { upgrade: 'websocket' } })
  }
  const head = headOf([
    ['upgrade', 'websocket'],
    ['sec-websocket-accept', await acceptOf(key)],
  ])
  return responseOf(101, '', head, undefined, createEcho(new TextEncoder().encode(greeting)))
}

/** RFC 6455 section 4.2.2, step 5. */
async function acceptOf(key: string): Promise<string> {
  const text = new TextEncoder().encode(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-1', text))
  return btoa(String.fromCharCode(...digest))
}

function createEcho(greeting: Uint8Array): RawStream {
  let sink: BodySink | undefined
  let waiting: Uint8Array[] = [frame(finalFrame | textOpcode, greeting)] // for the sink, or for it to take more
  let blocked = false
  let ended = false
  let read = new Uint8Array(0)
  let writable: () => void = () => {}

  function push(bytes: Uint8Array): void {
    waiting.push(bytes)
    pump()
  }

  function pump(): void {
    while (sink && !blocked && waiting.length > 0) {
      const next = waiting.shift()!
      blocked = !sink.data(next, 0, next.length)
    }
    if (sink && !blocked && ended) {
      const last = sink
      sink = undefined
      last.end()
    }
  }

  function finish(bytes?: Uint8Array): void {
    if (ended) return
    if (bytes) waiting.push(bytes)
    ended = true
    pump()
  }

  /** Answers the first whole frame of what has been read. @returns false when there is none */
  function step(): boolean {
    const found = parseFrame(read)
    if (found === 'more' || ended) return false
    if (found === 'too-big' || found === 'malformed') {
      finish(found === 'too-big' ? tooBig : protocolError)
      return false
    }
    const { opcode, first, payload, length } = found
    read = read.slice(length)
    if (opcode === closeOpcode) finish(frame(finalFrame | closeOpcode, payload))
    else if (opcode === pingOpcode) push(frame(finalFrame | pongOpcode, payload))
    else if (opcode !== pongOpcode) push(frame(first, payload))
    return true
  }

  const incoming: Body = {
    length: undefined,
    start(to) {
      sink = to
      pump()
    },
    resume() {
      blocked = false
      pump()
      if (!blocked) writable()
    },
    cancel() {
      sink = undefined
      waiting = []
      ended = true
    },
  }
  const outgoing: BodySink = {
    data(bytes, start, end) {
      read = joined(read, bytes.subarray(start, end))
      while (step()) continue
      return !blocked
    },
    end: () => finish(),
    fail: () => finish(),
  }
  return { incoming, outgoing, onWritable: (listener) => void (writable = listener) }
}

interface Frame {
  readonly opcode: number
  /** FIN and opcode, to be sent back as they are, so that a message in pieces stays one. */
  readonly first: number
  readonly payload: Uint8Array
  /** Of the whole frame. */
  readonly length: number
}

function parseFrame(bytes: Uint8Array): Frame | 'more' | 'too-big' | 'malformed' {
  if (bytes.length < 2) return 'more'
  const first = bytes[0]!
  const masked = (bytes[1]! & 0x80) !== 0
  // Clients mask, and no extension has been agreed on that would use the reserved bits.
  if (!masked || (first & 0x70) !== 0) return 'malformed'
  const short = bytes[1]! & 0x7f
  if (short === 127) return 'too-big'
  const at = short === 126 ? 4 : 2
  if (bytes.length < at + 4) return 'more'
  const size = short === 126 ? (bytes[2]! << 8) | bytes[3]! : short
  if (size > largestPayload) return 'too-big'
  const length = at + 4 + size
  if (bytes.length < length) return 'more'
  const mask = bytes.subarray(at, at + 4)
  const payload = bytes.slice(at + 4, length).map((byte, i) => byte ^ mask[i % 4]!)
  return { opcode: first & 0x0f, first, payload, length }
}

/** Unmasked, as servers send. */
function frame(first: number, payload: Uint8Array): Uint8Array {
  const size = payload.length
  const head = size < 126 ? [first, size] : [first, 126, size >> 8, size & 255]
  return joined(new Uint8Array(head), payload)
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(a.length + b.length)
  whole.set(a)
  whole.set(b, a.length)
  return whole
}
