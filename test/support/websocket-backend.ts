/** A WebSocket server that knows RFC 6455 and nothing of our engine. It echoes messages, frame by frame. */
import { latin1, type RawClient } from './raw-client.ts'
import { readHead, startRawBackend, type TestBackend } from './test-backend.ts'

export interface WebSocketBackend extends TestBackend {
  /** Heads of the handshakes, as text. */
  readonly handshakes: readonly string[]
  /** Codes that clients closed with; 1006 for those that left without. RFC 6455 section 7.1.5. */
  readonly closes: readonly number[]
}

/** RFC 6455 section 1.3. */
const acceptSuffix = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const text = 1
const close = 8

/**
 * A message `close CODE REASON` makes it close with those, `drop` hang up, and the target `/refuse` is answered 403.
 */
export async function startWebSocketBackend(): Promise<WebSocketBackend> {
  const handshakes: string[] = []
  const closes: number[] = []
  const backend = await startRawBackend(async (peer) => {
    const head = await readHead(peer)
    handshakes.push(head)
    const field = (name: string): string | undefined => new RegExp(`^${name}: *(.*)$`, 'im').exec(head)?.[1]?.trim()
    if (head.startsWith('GET /refuse ')) {
      peer.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nX-Why: rules\r\n\r\nnot you')
      return
    }
    const protocol = field('Sec-WebSocket-Protocol')?.split(',').at(-1)?.trim()
    peer.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${await acceptOf(
        field('Sec-WebSocket-Key') ?? '',
      )}\r\n${protocol === undefined ? '' : `Sec-WebSocket-Protocol: ${protocol}\r\n`}\r\n`,
    )
    await converse(peer).then(
      (code) => closes.push(code),
      () => closes.push(1006),
    )
    peer.finish()
  })
  return Object.defineProperties(backend as WebSocketBackend, {
    handshakes: { value: handshakes },
    closes: { value: closes },
  })
}

/** @returns the code that the client closed with; rejects when it leaves without */
async function converse(peer: RawClient): Promise<number> {
  for (;;) {
    const [first = 0, second = 0] = await peer.bytes(2)
    if ((second & 0x80) === 0) throw new Error('a client masks its frames')
    const length = await lengthOf(second & 0x7f, peer)
    const mask = await peer.bytes(4)
    const payload = (await peer.bytes(length)).map((byte, at) => byte ^ mask[at % 4]!)
    const words = (first & 0x0f) === text ? latin1(payload).split(' ') : []
    if ((first & 0x0f) === close) {
      peer.write(frameOf(first, payload))
      return payload.length < 2 ? 1005 : payload[0]! * 256 + payload[1]!
    }
    if (words[0] === 'drop') throw new Error('hung up')
    if (words[0] === 'close') {
      const code = Number(words[1])
      const reason = new TextEncoder().encode(words.slice(2).join(' '))
      peer.write(frameOf(0x80 | close, Uint8Array.of(code >> 8, code & 0xff, ...reason)))
    } else peer.write(frameOf(first, payload))
  }
}

async function lengthOf(short: number, peer: RawClient): Promise<number> {
  if (short < 126) return short
  return (await peer.bytes(short === 126 ? 2 : 8)).reduce((sum, byte) => sum * 256 + byte, 0)
}

function frameOf(first: number, payload: Uint8Array): Uint8Array {
  const { length } = payload
  const head = length < 126 ? [first, length] : [first, 127, 0, 0, 0, 0, ...bytesOf(length)]
  const frame = new Uint8Array(head.length + length)
  frame.set(head)
  frame.set(payload, head.length)
  return frame
}

function bytesOf(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff]
}

async function acceptOf(key: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-1', new TextEncoder().encode(key + acceptSuffix))
  return btoa(String.fromCharCode(...new Uint8Array(digest)))
}
