/**
 * A client that knows nothing of our engine: it writes what it is told, and reads answers by a parser of its own.
 */
import type { Address, Socket } from '../../src/runtime.ts'
import { runtime } from './runtime.ts'

export interface Answer {
  readonly status: number
  /** As they came: names in their own case, repeated ones repeated. */
  readonly fields: readonly (readonly [name: string, value: string])[]
  /** All values of a field joined by ", ", or undefined. */
  header(name: string): string | undefined
  readonly bytes: Uint8Array
  readonly text: string
  readonly trailers: readonly (readonly [name: string, value: string])[]
  /** 1xx that came before. */
  readonly informational: readonly number[]
}

export interface RawClient {
  readonly socket: Socket
  write(text: string | Uint8Array): void
  /** The next answer. Rejects when the connection ends before it is complete. */
  answer(options?: { readonly method?: string }): Promise<Answer>
  /** Bytes that belong to no answer, as soon as there are `count`. */
  bytes(count: number): Promise<Uint8Array>
  /** Resolves when the peer has ended its side, or the connection is gone. */
  readonly ended: Promise<void>
  /** Takes no more bytes off the connection until `resume`. */
  pause(): void
  resume(): void
  finish(): void
  destroy(): void
}

export async function connectRaw(to: Address): Promise<RawClient> {
  return takeRaw(await runtime.connect(to, { timeoutMs: 5_000 }))
}

export function takeRaw(socket: Socket): RawClient {
  let received = new Uint8Array(0)
  let over = false
  let wake = (): void => {}
  let tellEnd = (): void => {}
  const ended = new Promise<void>((resolve) => (tellEnd = resolve))
  const finished = (): void => {
    over = true
    tellEnd()
    wake()
  }
  socket.attach({
    data(bytes, start, end) {
      const all = new Uint8Array(received.length + end - start)
      all.set(received)
      all.set(bytes.subarray(start, end), received.length)
      received = all
      wake()
      return true
    },
    drain() {},
    end: finished,
    close: finished,
  })
  const more = async (): Promise<void> => {
    if (over) throw new Error(`connection ended after ${JSON.stringify(latin1(received).slice(0, 200))}`)
    await new Promise<void>((resolve) => (wake = resolve))
  }
  const take = (count: number): Uint8Array => {
    const taken = received.slice(0, count)
    received = received.slice(count)
    return taken
  }
  const bytes = async (count: number): Promise<Uint8Array> => {
    while (received.length < count) await more()
    return take(count)
  }
  const line = async (): Promise<string> => {
    for (;;) {
      const at = received.indexOf(10)
      if (at >= 0) return latin1(take(at + 1)).replace(/\r\n$/, '')
      await more()
    }
  }
  const fieldLines = async (): Promise<[string, string][]> => {
    const fields: [string, string][] = []
    for (let text = await line(); text !== ''; text = await line()) {
      const colon = text.indexOf(':')
      fields.push([text.slice(0, colon), text.slice(colon + 1).trim()])
    }
    return fields
  }

  async function answer({ method = 'GET' } = {}): Promise<Answer> {
    const informational: number[] = []
    for (;;) {
      const status = Number((await line()).split(' ')[1])
      const fields = await fieldLines()
      if (status >= 100 && status < 200 && status !== 101) {
        informational.push(status)
        continue
      }
      const header = (name: string): string | undefined => {
        const values = fields.filter(([each]) => each.toLowerCase() === name.toLowerCase()).map(([, value]) => value)
        return values.length === 0 ? undefined : values.join(', ')
      }
      const { body, trailers } = await readBody(status, header, method)
      const text = new TextDecoder().decode(body)
      return { status, fields, header, bytes: body, text, trailers, informational }
    }
  }

  async function readBody(
    status: number,
    header: (name: string) => string | undefined,
    method: string,
  ): Promise<{ body: Uint8Array; trailers: [string, string][] }> {
    if (method === 'HEAD' || status === 101 || status === 204 || status === 304)
      return { body: new Uint8Array(0), trailers: [] }
    if (header('transfer-encoding') === 'chunked') {
      const chunks: Uint8Array[] = []
      for (;;) {
        const size = Number.parseInt(await line(), 16)
        if (size === 0) return { body: joined(chunks), trailers: await fieldLines() }
        chunks.push(await bytes(size))
        await bytes(2)
      }
    }
    const length = header('content-length')
    if (length !== undefined) return { body: await bytes(Number(length)), trailers: [] }
    while (!over) await more()
    return { body: take(received.length), trailers: [] }
  }

  return {
    socket,
    write: (text) => void (typeof text === 'string' ? socket.write(text) : socket.write('', text, 0, text.length)),
    answer,
    bytes,
    ended,
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    finish: () => socket.end(),
    destroy: () => socket.destroy(),
  }
}

export function latin1(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}

export interface AskOptions {
  readonly method?: string
  readonly host?: string
  readonly headers?: readonly (readonly [name: string, value: string])[]
  readonly body?: string | Uint8Array
}

/** One request on one connection. */
export async function ask(to: Address, target: string, options: AskOptions = {}): Promise<Answer> {
  const client = await connectRaw(to)
  try {
    client.write(requestText(target, { ...options, headers: [...(options.headers ?? []), ['Connection', 'close']] }))
    if (options.body instanceof Uint8Array) client.write(options.body)
    return await client.answer(options)
  } finally {
    client.destroy()
  }
}

export function requestText(
  target: string,
  { method = 'GET', host = 'a.example', headers = [], body }: AskOptions = {},
): string {
  const length =
    body === undefined
      ? ''
      : `Content-Length: ${typeof body === 'string' ? new TextEncoder().encode(body).length : body.length}\r\n`
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  return `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${lines}${length}\r\n${typeof body === 'string' ? body : ''}`
}
