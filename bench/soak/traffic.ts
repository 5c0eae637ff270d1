/** The soak's clients. Each kind of traffic makes one exchange and throws when it does not go as it must. */
import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Dispatcher, Pool } from 'undici8'

import { pattern } from './backend.ts'

export interface Target {
  port: number
  host: string
  /** Kept connections, for clients that behave. */
  pool: Pool
}

export interface Kind {
  name: string
  /** Takes connections of its own and mostly breaks them: it is given pauses, so that ports do not run out. */
  rude?: true
  /** Needs rules that only the gateway has. */
  gateway?: true
  run(target: Target): Promise<void>
}

const pick = <T>(values: readonly T[]): T => values[Math.floor(Math.random() * values.length)] as T

function expect(what: string, got: unknown, ...allowed: readonly unknown[]): void {
  if (!allowed.includes(got)) throw new Error(`${what} is ${String(got)}, expected ${allowed.join(' or ')}`)
}

function expectBody(got: Buffer, expected: Uint8Array): void {
  if (!got.equals(expected)) throw new Error(`the body differs (${got.length} of ${expected.length} bytes)`)
}

interface Ask {
  method?: 'GET' | 'HEAD' | 'POST'
  body?: Buffer | Readable
}

function ask(target: Target, path: string, { method = 'GET', body }: Ask = {}): Promise<Dispatcher.ResponseData> {
  return target.pool.request({ path, method, headers: { host: target.host }, ...(body && { body }) })
}

async function bytes(answer: Dispatcher.ResponseData): Promise<Buffer> {
  return Buffer.from(await answer.body.arrayBuffer())
}

async function* inPieces(body: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < body.length; at += 7_000) {
    yield body.subarray(at, at + 7_000)
    await sleep(0)
  }
}

/** Discards a socket's errors: who breaks connections must expect broken ones. */
async function dial(target: Target): Promise<Socket> {
  const socket = connect(target.port, '127.0.0.1')
  socket.on('error', () => undefined)
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('close', () => reject(new Error('the connection was refused')))
  })
  return socket
}

/** Everything until the condition holds. @throws when the connection closes first, or after 15 seconds */
function receive(socket: Socket, done: (text: string) => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const timer = setTimeout(() => finish(new Error(`no answer in time, only ${text.length} bytes`)), 15_000)
    const finish = (error?: Error): void => {
      clearTimeout(timer)
      socket.off('data', onData).off('close', onClose)
      if (error) reject(error)
      else resolve(text)
    }
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1')
      if (done(text)) finish()
    }
    const onClose = (): void => finish(done(text) ? undefined : new Error(`closed after ${text.length} bytes`))
    socket.on('data', onData).once('close', onClose)
  })
}

const head = (target: Target, line: string, ...headers: readonly string[]): string =>
  [`${line} HTTP/1.1`, `Host: ${target.host}`, ...headers, '', ''].join('\r\n')

const sizes = [0, 1, 100, 1_024, 16_384, 20_000, 65_536]

/** Counts answers on a pipelined connection by their status lines; bodies never hold one. */
const answers = (text: string): number => text.split('HTTP/1.1 ').length - 1

export const kinds: readonly Kind[] = [
  {
    name: 'get',
    async run(target) {
      const size = pick(sizes)
      const answer = await ask(target, `/bytes?bytes=${size}`)
      expect('the status', answer.statusCode, 200)
      expectBody(await bytes(answer), pattern.subarray(0, size))
    },
  },
  {
    name: 'get-1m',
    async run(target) {
      expectBody(await bytes(await ask(target, `/bytes?bytes=${pattern.length}`)), pattern)
    },
  },
  {
    name: 'post-length',
    async run(target) {
      const body = pattern.subarray(0, pick([...sizes, 200_000]))
      expectBody(await bytes(await ask(target, '/echo', { method: 'POST', body })), body)
    },
  },
  {
    name: 'post-chunked',
    async run(target) {
      const body = pattern.subarray(0, pick([1_000, 50_000, 200_000]))
      expectBody(await bytes(await ask(target, '/echo', { method: 'POST', body: Readable.from(inPieces(body)) })), body)
    },
  },
  {
    name: 'chunked-with-trailers',
    async run(target) {
      const answer = await ask(target, '/chunked?bytes=40000')
      expectBody(await bytes(answer), pattern.subarray(0, 40_000))
    },
  },
  {
    name: 'head',
    async run(target) {
      const answer = await ask(target, '/bytes?bytes=1024', { method: 'HEAD' })
      expect('content-length', answer.headers['content-length'], '1024')
      expectBody(await bytes(answer), new Uint8Array())
    },
  },
  {
    name: 'no-content',
    async run(target) {
      const [path, status] = pick([['/nothing', 204] as const, ['/unchanged', 304] as const])
      const answer = await ask(target, path)
      expect('the status', answer.statusCode, status)
      expectBody(await bytes(answer), new Uint8Array())
    },
  },
  {
    name: 'slow-backend',
    async run(target) {
      expectBody(await bytes(await ask(target, '/slow')), Buffer.from('slow'))
    },
  },
  {
    name: 'early-answer',
    gateway: true,
    async run(target) {
      const answer = await ask(target, '/early', { method: 'POST', body: pattern.subarray(0, 100_000) })
      expect('the status', answer.statusCode, 413)
      expectBody(await bytes(answer), Buffer.from('large'))
    },
  },
  {
    name: 'redirect',
    gateway: true,
    async run(target) {
      const answer = await ask(target, '/redirect/here')
      expect('the status', answer.statusCode, 302)
      await answer.body.dump()
    },
  },
  {
    name: 'rewrite-and-mirror',
    gateway: true,
    async run(target) {
      const body = pattern.subarray(0, pick(sizes))
      expectBody(await bytes(await ask(target, '/mirrored/echo', { method: 'POST', body })), body)
    },
  },
  {
    name: 'dead-backend',
    gateway: true,
    async run(target) {
      const answer = await ask(target, '/dead')
      expect('the status', answer.statusCode, 503)
      await answer.body.dump()
    },
  },
  {
    name: 'backend-resets',
    async run(target) {
      const answer = await ask(target, '/reset')
      expect('the status', answer.statusCode, 502, 503)
      await answer.body.dump()
    },
  },
  {
    name: 'backend-cuts-body',
    async run(target) {
      const answer = await ask(target, '/cut')
      const complete = await bytes(answer).then(
        () => true,
        () => false,
      )
      expect('a truncated answer that looks complete', complete, false)
    },
  },
  {
    name: 'backend-hangs',
    rude: true,
    gateway: true,
    async run(target) {
      const answer = await ask(target, '/hang')
      expect('the status', answer.statusCode, 504)
      await answer.body.dump()
    },
  },
  {
    name: 'gives-up-waiting',
    rude: true,
    async run(target) {
      const socket = await dial(target)
      socket.write(head(target, 'GET /hang'))
      await sleep(30)
      socket.destroy()
    },
  },
  {
    name: 'aborts-download',
    rude: true,
    async run(target) {
      const socket = await dial(target)
      socket.write(head(target, `GET /bytes?bytes=${pattern.length}`))
      await receive(socket, (text) => text.length > 10_000)
      if (Math.random() < 0.5) socket.resetAndDestroy()
      else socket.destroy()
    },
  },
  {
    name: 'aborts-upload',
    rude: true,
    async run(target) {
      const socket = await dial(target)
      socket.write(head(target, 'POST /echo', 'Content-Length: 100000'))
      socket.write(pattern.subarray(0, 20_000))
      await sleep(5)
      socket.destroy()
    },
  },
  {
    name: 'half-a-head',
    rude: true,
    async run(target) {
      const socket = await dial(target)
      socket.write(head(target, 'GET /bytes').slice(0, 20))
      await sleep(10)
      socket.destroy()
    },
  },
  {
    name: 'malformed-head',
    rude: true,
    async run(target) {
      const socket = await dial(target)
      socket.write(head(target, 'GET /bytes', 'Content-Length: 1', 'Transfer-Encoding: chunked'))
      expect('the status line', (await receive(socket, (text) => text.includes('\r\n\r\n'))).slice(9, 12), '400')
      socket.destroy()
    },
  },
  {
    name: 'leaves-events',
    rude: true,
    async run(target) {
      const socket = await dial(target)
      socket.write(head(target, 'GET /events'))
      await receive(socket, (text) => text.split('data: ').length > 3)
      socket.destroy()
    },
  },
  {
    name: 'pipelines',
    rude: true,
    async run(target) {
      const socket = await dial(target)
      socket.write(head(target, 'GET /bytes?bytes=100').repeat(5))
      const body = pattern.subarray(0, 100).toString('latin1')
      await receive(socket, (text) => answers(text) === 5 && text.endsWith(body))
      socket.end()
    },
  },
  {
    name: 'reads-slowly',
    rude: true,
    async run(target) {
      const socket = await dial(target)
      socket.write(head(target, `GET /bytes?bytes=${pattern.length}`, 'Connection: close'))
      socket.pause()
      await sleep(200)
      const bodyStart = (text: string): number => text.indexOf('\r\n\r\n') + 4
      const received = receive(socket, (text) => text.length - bodyStart(text) >= pattern.length)
      socket.resume()
      const text = await received
      expectBody(Buffer.from(text.slice(bodyStart(text)), 'latin1'), pattern)
      socket.destroy()
    },
  },
  {
    name: 'upgrades',
    rude: true,
    gateway: true,
    async run(target) {
      const socket = await dial(target)
      socket.write(head(target, 'GET /upgrade', 'Connection: Upgrade', 'Upgrade: soak'))
      expect('the status', (await receive(socket, (text) => text.includes('\r\n\r\n'))).slice(9, 12), '101')
      socket.write('ping')
      expect('the echo', await receive(socket, (text) => text.length >= 4), 'ping')
      if (Math.random() < 0.5) socket.destroy()
      else socket.end()
    },
  },
]
