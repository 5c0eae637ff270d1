/** Our two ends of HTTP/1.1 between peers that are not ours: node:http, undici and curl in front, node:http behind. */
import { execFile, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Agent as NodeAgent, createServer, request as ask, type ClientRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Client, request } from 'undici8'
import { passTo, startEngine, type Engine } from './engine.ts'

const backend = createServer((incoming, response) => {
  const path = incoming.url!
  if (path === '/hints') {
    response.writeEarlyHints({ link: ['</a.css>; rel=preload', '</b.js>; rel=preload'] })
    response.end('hinted')
  } else if (path === '/trailers') {
    let size = 0
    incoming.on('data', (chunk: Buffer) => (size += chunk.length))
    incoming.on('end', () => {
      response.writeHead(200, { trailer: 'x-size' })
      response.write('body')
      response.addTrailers({ 'x-size': String(size), 'x-was': incoming.trailers['x-sum'] ?? '' })
      response.end()
    })
  } else if (path === '/refuse') response.writeHead(413).end('no')
  else if (path === '/none') response.writeHead(204).end()
  else if (path === '/same') response.writeHead(304, { etag: '"a"' }).end()
  else if (path.startsWith('/slow/')) setTimeout(() => response.end(path), Math.random() * 5)
  else if (path === '/hash') {
    const hash = createHash('sha256')
    incoming.on('data', (chunk: Buffer) => hash.update(chunk))
    incoming.on('end', () => response.end(`${incoming.headers['expect'] ?? ''}${hash.digest('hex')}`))
  } else {
    const text = `${incoming.method} ${path} ${incoming.httpVersion} ${incoming.headers.host}`
    response.writeHead(200, { 'content-length': text.length }).end(text)
  }
})
backend.on('checkContinue', (incoming: IncomingMessage, response) => {
  if (incoming.url === '/refuse') response.writeHead(417).end('never')
  else {
    response.writeContinue()
    backend.emit('request', incoming, response)
  }
})
backend.on('upgrade', (incoming: IncomingMessage, socket: Socket, head: Buffer) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ')
  socket.write(head)
  socket.pipe(socket)
  socket.on('error', () => {})
})

let engine: Engine
let origin = ''
beforeAll(async () => {
  backend.listen(0, '127.0.0.1')
  await once(backend, 'listening')
  const { address, port } = backend.address() as AddressInfo
  engine = await startEngine(passTo({ host: address, port }))
  origin = `http://127.0.0.1:${engine.address.port}`
})
afterAll(async () => {
  await engine[Symbol.asyncDispose]()
  backend.closeAllConnections()
  backend.close()
})

async function textOf(incoming: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of incoming) text += String(chunk)
  return text
}

const answerTo = async (asking: ClientRequest): Promise<IncomingMessage> =>
  ((await once(asking, 'response')) as [IncomingMessage])[0]

describe('node:http', () => {
  test('sees 103 before the answer: RFC 8297', async () => {
    const hints: unknown[] = []
    const asking = ask(`${origin}/hints`)
    asking.on('information', ({ statusCode, headers }) => hints.push(statusCode, headers['link']))
    asking.end()
    expect(await textOf(await answerTo(asking))).toBe('hinted')
    expect(hints).toEqual([103, '</a.css>; rel=preload, </b.js>; rel=preload'])
  })

  test('sends and gets trailers: RFC 9110 section 6.5', async () => {
    const asking = ask(`${origin}/trailers`, { method: 'POST', headers: { trailer: 'x-sum' } })
    asking.write('12345')
    asking.addTrailers([['x-sum', '15']])
    asking.end()
    const answer = await answerTo(asking)
    expect(await textOf(answer)).toBe('body')
    expect(answer.trailers).toEqual({ 'x-size': '5', 'x-was': '15' })
  })

  test('waits for 100 and gets it from the backend: RFC 9110 section 10.1.1', async () => {
    const body = randomBytes(100_000)
    const asking = ask(`${origin}/hash`, { method: 'PUT', headers: { expect: '100-continue' } })
    asking.flushHeaders()
    await once(asking, 'continue')
    asking.end(body)
    expect(await textOf(await answerTo(asking))).toBe(`100-continue${createHash('sha256').update(body).digest('hex')}`)
  })

  test('waits for 100 and is refused by the backend instead: RFC 9110 section 10.1.1', async () => {
    const asking = ask(`${origin}/refuse`, { method: 'PUT', headers: { expect: '100-continue', 'content-length': 5 } })
    asking.on('error', () => {}) // of the body that is never written
    let continued = false
    asking.on('continue', () => (continued = true))
    asking.flushHeaders()
    const answer = await answerTo(asking)
    expect([answer.statusCode, await textOf(answer), continued]).toEqual([417, 'never', false])
    asking.destroy()
  })

  test('switches protocols, with bytes behind both heads: RFC 9110 section 7.8', async () => {
    const asking = ask(`${origin}/chat`, { headers: { connection: 'Upgrade', upgrade: 'echo' } })
    asking.end()
    const [answer, socket, head] = (await once(asking, 'upgrade')) as [IncomingMessage, Socket, Buffer]
    expect([answer.statusCode, answer.headers.upgrade]).toEqual([101, 'echo'])
    const bytes = randomBytes(1_000_000)
    socket.end(bytes)
    const back: Buffer[] = [head]
    for await (const chunk of socket) back.push(chunk as Buffer)
    expect(Buffer.concat(back).equals(Buffer.concat([Buffer.from('hello '), bytes]))).toBe(true)
  })

  test('keeps its connection through answers with and without a body: RFC 9112 section 9.3', async () => {
    const agent = new NodeAgent({ keepAlive: true, maxSockets: 1 })
    const ports = new Set<number | undefined>()
    const seen: unknown[] = []
    for (const [method, path] of [
      ['GET', '/a'],
      ['HEAD', '/a'],
      ['GET', '/none'],
      ['GET', '/same'],
      ['DELETE', '/a'],
      ['POST', '/refuse'],
      ['OPTIONS', '/a'],
    ] as const) {
      const asking = ask(`${origin}${path}`, { method, agent })
      asking.end()
      const answer = await answerTo(asking)
      ports.add(answer.socket.localPort)
      seen.push([answer.statusCode, (await textOf(answer)).split(' ', 1)[0]])
    }
    expect(seen).toEqual([
      [200, 'GET'],
      [200, ''],
      [204, ''],
      [304, ''],
      [200, 'DELETE'],
      [413, 'no'],
      [200, 'OPTIONS'],
    ])
    expect(ports.size).toBe(1)
    agent.destroy()
  })
})

describe('undici', () => {
  test('pipelines, and gets its answers in order: RFC 9112 section 9.3.2', async () => {
    const client = new Client(origin, { pipelining: 20 })
    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const { body } = await client.request({ method: 'GET', path: `/slow/${i}` })
        return await body.text()
      }),
    )
    expect(answers).toEqual(Array.from({ length: 200 }, (_, i) => `/slow/${i}`))
    await client.close()
  })

  test('uploads in chunks, byte for byte', async () => {
    const bytes = randomBytes(3_000_000)
    async function* pieces(): AsyncGenerator<Buffer> {
      for (let at = 0; at < bytes.length; at += 77_777) yield bytes.subarray(at, at + 77_777)
    }
    const { body } = await request(`${origin}/hash`, { method: 'POST', body: Readable.from(pieces()) })
    expect(await body.text()).toBe(createHash('sha256').update(bytes).digest('hex'))
  })
})

/** Not everybody has it. */
const noCurl = spawnSync('curl', ['--version']).status !== 0

describe.skipIf(noCurl)('curl', () => {
  async function curl(args: readonly string[], input = ''): Promise<string> {
    const running = promisify(execFile)('curl', ['--silent', '--show-error', '--max-time', '10', ...args])
    running.child.stdin!.end(input)
    return (await running).stdout
  }

  test.each<[string, readonly string[], string]>([
    ['HTTP/1.1', ['--http1.1'], 'GET /a/../b?c=%2F 1.1 '],
    ['HTTP/1.0, which the next hop need not know of', ['--http1.0'], 'GET /a/../b?c=%2F 1.1 '],
    ['a method of its own', ['--request', 'PATCH'], 'PATCH /a/../b?c=%2F 1.1 '],
  ])('%s', async (_, options, answer) => {
    expect(await curl([...options, '--path-as-is', `${origin}/a/../b?c=%2F`])).toContain(answer)
  })

  test.each<[string, readonly string[]]>([
    ['a length, after 100 Continue', ['--header', 'Expect: 100-continue', '--data-binary', '@-']],
    ['a length, at once', ['--header', 'Expect:', '--data-binary', '@-']],
    ['chunks', ['--upload-file', '-']],
  ])('an upload with %s', async (_, options) => {
    const input = 'abcdefghij'.repeat(200_000)
    const hash = createHash('sha256').update(input).digest('hex')
    expect(await curl([...options, `${origin}/hash`], input)).toMatch(new RegExp(`${hash}$`))
  })
})
