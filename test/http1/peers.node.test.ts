import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Agent as HttpAgent, createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { Agent, Pool, request } from 'undici8'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import type { Address } from '../../src/runtime.ts'
import { passTo, startEngine, type Engine } from './engine.ts'

/*
 * Other people's clients and servers on either side of our two ends: none of these knows that we are between.
 */

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

let backend: Server
let sockets: WebSocketServer
let engine: Engine
let origin = ''

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

beforeAll(async () => {
  backend = createServer((asked, response) => {
    void (async () => {
      const body = await bodyOf(asked)
      switch (asked.url ?? '') {
        case '/early-hints':
          response.writeEarlyHints({ link: '</a.css>; rel=preload' })
          break
        case '/trailers':
          response.writeHead(200, { trailer: 'x-sum' })
          response.write('body')
          response.addTrailers({ 'x-sum': asked.trailers['x-up'] ?? 'none' })
          response.end()
          return
        case '/empty':
          response.writeHead(204)
          response.end()
          return
        case '/cookies':
          response.setHeader('Set-Cookie', ['a=1', 'b=2'])
          break
        case '/close':
          response.shouldKeepAlive = false
          break
      }
      response.setHeader('X-Method', asked.method!)
      response.setHeader('X-Digest', sha256(body))
      if (asked.headers['x-stream']) {
        for (let at = 0; at < body.length; at += 10_000) response.write(body.subarray(at, at + 10_000))
        response.end()
      } else response.end(body)
    })()
  })
  sockets = new WebSocketServer({ server: backend, perMessageDeflate: true })
  sockets.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }))
  })
  backend.listen(0, '127.0.0.1')
  await once(backend, 'listening')
  const to: Address = { host: '127.0.0.1', port: (backend.address() as AddressInfo).port }
  engine = await startEngine(passTo(to))
  origin = `http://127.0.0.1:${engine.address.port}`
})

afterAll(async () => {
  await engine[Symbol.asyncDispose]()
  sockets.close()
  backend.close()
  backend.closeAllConnections()
})

describe('undici', () => {
  test('400 mixed requests over pipelining connections, bodies and digests intact', async () => {
    const pool = new Pool(origin, { connections: 8, pipelining: 4 })
    const bodies = [0, 1, 1_000, 65_536, 400_000].map((length) => randomBytes(length))
    const wrong: string[] = []
    await Promise.all(
      Array.from({ length: 400 }, async (_, i) => {
        const sent = bodies[i % bodies.length]!
        const method = i % 7 === 0 ? 'GET' : i % 2 === 0 ? 'POST' : 'PUT'
        const { statusCode, headers, body } = await pool.request({
          path: `/${i}?x=%20`,
          method,
          headers: i % 3 === 0 ? { 'x-stream': '1' } : {},
          body: method === 'GET' ? null : i % 5 === 0 ? Readable.from([sent]) : sent,
        })
        const came = Buffer.from(await body.arrayBuffer())
        const expected = method === 'GET' ? Buffer.alloc(0) : sent
        if (
          statusCode !== 200 ||
          headers['x-method'] !== method ||
          !came.equals(expected) ||
          headers['x-digest'] !== sha256(expected)
        )
          wrong.push(`${i}: ${statusCode} ${came.length} of ${expected.length}`)
      }),
    )
    await pool.close()
    expect(wrong).toEqual([])
  })

  test.each(['HEAD', 'OPTIONS', 'DELETE', 'PATCH'] as const)('%s', async (method) => {
    const { statusCode, headers, body } = await request(origin, { method })
    expect({ statusCode, method: headers['x-method'], text: await body.text() }).toEqual({
      statusCode: 200,
      method,
      text: '',
    })
  })

  test('early hints, cookies, trailers', async () => {
    const hints: unknown[] = []
    const dispatcher = new Agent()
    const hinted = await request(`${origin}/early-hints`, {
      dispatcher,
      onInfo: ({ statusCode, headers }) => hints.push([statusCode, headers['link']]),
    })
    await hinted.body.dump()
    expect(hints).toEqual([[103, '</a.css>; rel=preload']])
    const { headers } = await request(`${origin}/cookies`, { dispatcher })
    expect(headers['set-cookie']).toEqual(['a=1', 'b=2'])
    const ended = await request(`${origin}/trailers`, { dispatcher })
    expect(await ended.body.text()).toBe('body')
    expect(ended.trailers).toEqual({ 'x-sum': 'none' })
    await dispatcher.destroy()
  })

  test('a request that is given up does not harm those after it', async () => {
    const dispatcher = new Agent({ connections: 1 })
    for (let i = 0; i < 20; i++) {
      const controller = new AbortController()
      const given = request(origin, {
        dispatcher,
        method: 'POST',
        body: randomBytes(300_000),
        signal: controller.signal,
      })
      setTimeout(() => controller.abort(), i % 4)
      await given.then(({ body }) => body.dump()).catch(() => {})
      const { statusCode, body } = await request(origin, { dispatcher, method: 'POST', body: 'after' })
      expect([statusCode, await body.text()]).toEqual([200, 'after'])
    }
    await dispatcher.destroy()
  })
})

describe('fetch', () => {
  test('of this Node', async () => {
    const sent = randomBytes(200_000)
    const response = await fetch(`${origin}/a`, { method: 'POST', body: sent })
    expect(Buffer.from(await response.arrayBuffer()).equals(sent)).toBe(true)
    expect((await fetch(`${origin}/empty`)).status).toBe(204)
    expect((await fetch(`${origin}/close`, { method: 'POST', body: 'x' })).headers.get('x-digest')).toBe(
      sha256(Buffer.from('x')),
    )
  })
})

describe('node:http', () => {
  test('keep-alive, Expect: 100-continue, trailers up and down', async () => {
    const agent = new HttpAgent({ keepAlive: true, maxSockets: 1 })
    const send = async (
      path: string,
      headers: Record<string, string>,
      write: (out: ReturnType<typeof httpRequest>) => void,
    ): Promise<{ answer: IncomingMessage; body: Buffer }> => {
      const out = httpRequest(`${origin}${path}`, { agent, method: 'POST', headers })
      const answered = once(out, 'response') as Promise<[IncomingMessage]>
      write(out)
      const [answer] = await answered
      return { answer, body: await bodyOf(answer) }
    }
    let continued = false
    const first = await send('/', { Expect: '100-continue', 'Content-Length': '3' }, (out) => {
      out.on('continue', () => {
        continued = true
        out.end('abc')
      })
      out.flushHeaders()
    })
    expect({ continued, body: first.body.toString() }).toEqual({ continued: true, body: 'abc' })
    const second = await send('/trailers', { Trailer: 'X-Up', 'Transfer-Encoding': 'chunked' }, (out) => {
      out.write('up')
      out.addTrailers({ 'X-Up': 'from below' })
      out.end()
    })
    expect([second.body.toString(), second.answer.trailers]).toEqual(['body', { 'x-sum': 'from below' }])
    agent.destroy()
  })
})

describe('ws', () => {
  test('messages of all sizes come back, with compression, and the close with its code', async () => {
    const socket = new WebSocket(origin.replace('http', 'ws'))
    await once(socket, 'open')
    const wrong: number[] = []
    for (const length of [0, 1, 125, 126, 65_535, 65_536, 1_000_000]) {
      const sent = randomBytes(length)
      socket.send(sent)
      const [came] = (await once(socket, 'message')) as [Buffer]
      if (!came.equals(sent)) wrong.push(length)
    }
    expect(wrong).toEqual([])
    socket.send('text')
    expect(String((await once(socket, 'message'))[0])).toBe('text')
    socket.ping('x')
    await once(socket, 'pong')
    const closed = once(socket, 'close')
    socket.close(4_000, 'enough')
    expect((await closed)[0]).toBe(4_000)
  })

  test('50 at once', async () => {
    const all = await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        const socket = new WebSocket(origin.replace('http', 'ws'))
        await once(socket, 'open')
        const answers: string[] = []
        socket.on('message', (data: Buffer) => answers.push(data.toString()))
        for (let k = 0; k < 20; k++) socket.send(`${i}.${k}`)
        while (answers.length < 20) await once(socket, 'message')
        socket.close()
        await once(socket, 'close')
        return answers
      }),
    )
    expect(all).toEqual(Array.from({ length: 50 }, (_, i) => Array.from({ length: 20 }, (_, k) => `${i}.${k}`)))
  })

  test('a server that is terminated ends the client', async () => {
    const socket = new WebSocket(origin.replace('http', 'ws'))
    await once(socket, 'open')
    const closed = once(socket, 'close')
    for (const client of sockets.clients) client.terminate()
    expect((await closed)[0]).toBe(1_006)
  })
})

const run = promisify(execFile)
const curl = await run('curl', ['--version']).then(
  () => true,
  () => false,
)

describe.runIf(curl)('curl', () => {
  test.each([
    ['--data-binary', ['--data-binary', 'abc']],
    ['Expect: 100-continue', ['-H', 'Expect: 100-continue', '--data-binary', 'abc']],
    ['chunked', ['-H', 'Transfer-Encoding: chunked', '--data-binary', 'abc']],
    ['HTTP/1.0', ['--http1.0', '--data-binary', 'abc']],
    ['two on one connection', ['--data-binary', 'abc', `ORIGIN/second`]],
  ])('%s', async (_, options) => {
    const args = options.map((option) => option.replace('ORIGIN', origin))
    const { stdout } = await run('curl', ['-sS', '--noproxy', '*', '--fail', ...args, origin])
    expect(stdout).toMatch(/^(?:abc)+$/)
  })

  test('HEAD', async () => {
    const { stdout } = await run('curl', ['-sS', '--noproxy', '*', '--head', origin])
    expect(stdout).toMatch(/^HTTP\/1.1 200 OK\r\n/)
    expect(stdout).toMatch(/^X-Method: HEAD\r$/m)
  })
})
