import { createServer, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { engineRequest } from '../../src/http/request.ts'
import { createResponse } from '../../src/http/response.ts'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import { createHttp1Server } from '../../src/http1/server.ts'
import { createMemorySocket } from '../support/memory-socket.ts'
import { createManualTimers } from '../tunnel/manual-timers.ts'

/*
 * Two parsers that see different requests in the same bytes are what request smuggling is made of. Ours goes in front,
 * llhttp (of node:http, strict) stands for what is behind: for whatever we accept, it must see the very same requests or
 * refuse.
 */

interface Seen {
  readonly method: string
  readonly target: string
  readonly bytes: number
}

interface Verdict {
  readonly seen: readonly Seen[]
  /** All bytes were taken for requests, and no more were waited for. */
  readonly whole: boolean
}

const mark = 'GET /the-end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

async function ours(bytes: string): Promise<Verdict> {
  const seen: Seen[] = []
  const server = createHttp1Server({
    async handler(request) {
      const own = engineRequest(request)!
      const { byteLength } = await request.arrayBuffer()
      seen.push({ method: own.method, target: own.target, bytes: byteLength })
      return createResponse(200, [], 'ok')
    },
    limits: defaultHttp1Limits,
    timers: createManualTimers(),
    scheme: 'http',
  })
  const socket = createMemorySocket()
  server.accept(socket)
  socket.feed(bytes + mark)
  socket.feedEnd()
  await socket.ends
  server.destroy()
  return verdict(seen)
}

let port = 0
const perSocket = new Map<Socket, Seen[]>()
const backend = createServer(
  { insecureHTTPParser: false, requireHostHeader: true, keepAliveTimeout: 1_000 },
  (request: IncomingMessage, response) => {
    let bytes = 0
    request.on('data', (chunk: Buffer) => (bytes += chunk.length))
    request.on('end', () => {
      perSocket.get(request.socket)?.push({ method: request.method!, target: request.url!, bytes })
      response.end('ok')
    })
    request.on('error', () => {})
  },
)
backend.on('checkContinue', (request, response) => backend.emit('request', request, response))
backend.on('checkExpectation', (request, response) => backend.emit('request', request, response))
backend.on('connection', (socket) => perSocket.set(socket, []))

beforeAll(async () => {
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  ;({ port } = backend.address() as AddressInfo)
})
afterAll(() => {
  backend.close()
  backend.closeAllConnections()
})

async function theirs(bytes: string): Promise<Verdict> {
  const socket = connect(port, '127.0.0.1')
  const accepted = new Promise<Socket>((resolve) => backend.once('connection', resolve))
  socket.on('error', () => {})
  socket.on('data', () => {})
  const peer = await accepted
  const over = new Promise<void>((resolve) => peer.once('close', resolve))
  socket.end(bytes + mark, 'latin1')
  await over
  socket.destroy()
  const seen = perSocket.get(peer)!
  perSocket.delete(peer)
  return verdict(seen)
}

function verdict(seen: readonly Seen[]): Verdict {
  const whole = seen.at(-1)?.target === '/the-end'
  return { seen: whole ? seen.slice(0, -1) : seen, whole }
}

/** llhttp does not rewrite targets; we do to absolute ones. RFC 9112 section 3.2.2 */
function normal({ method, target, bytes }: Seen): Seen {
  const found = /^https?:\/\/[^/?]+(.*)$/i.exec(target)
  if (!found) return { method, target, bytes }
  const rest = found[1]!
  if (rest === '' && method === 'OPTIONS') return { method, target: '*', bytes }
  return { method, target: rest.startsWith('/') ? rest : `/${rest}`, bytes }
}

const line = fc.constantFrom(
  'Host: a',
  'Content-Length: 0',
  'Content-Length: 3',
  'Content-Length: 5',
  'Content-Length: +3',
  'Content-Length: 3, 3',
  'Content-Length:3',
  'content-length: 03',
  'Content-Length : 3',
  'Transfer-Encoding: chunked',
  'transfer-encoding: CHUNKED',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding:\tchunked',
  'Transfer-Encoding: chunked ',
  'Transfer-Encoding : chunked',
  ' Transfer-Encoding: chunked',
  'Transfer_Encoding: chunked',
  'X: a',
  'X:',
  'X: \xe9',
  'Connection: keep-alive',
  'Connection: close',
  'Connection: Content-Length',
  'Connection: Transfer-Encoding',
  'Expect: 100-continue',
  'Upgrade: x',
  'Connection: upgrade',
)
const requestLine = fc.constantFrom(
  'GET / HTTP/1.1',
  'POST /a?b HTTP/1.1',
  'PUT http://a/b HTTP/1.1',
  'OPTIONS * HTTP/1.1',
  'GET / HTTP/1.0',
  'HEAD / HTTP/1.1',
  'DELETE //x/../y HTTP/1.1',
)
const body = fc.constantFrom(
  '',
  'abc',
  'abcde',
  '0\r\n\r\n',
  '3\r\nabc\r\n0\r\n\r\n',
  '03;x="y"\r\nabc\r\n0\r\nX: y\r\n\r\n',
  '1\r\na\r\n2\r\nbc\r\n0\r\n\r\n',
  '5\r\nabc\r\n0\r\n\r\n',
  '3\nabc\n0\n\n',
)
const message = fc
  .tuple(requestLine, fc.array(line, { maxLength: 4 }), body)
  .map(([start, lines, content]) => `${start}\r\n${['Host: a', ...lines].join('\r\n')}\r\n\r\n${content}`)

/** Bytes put in, taken out, or changed where it hurts. */
const mutation = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
  remove: fc.integer({ min: 0, max: 2 }),
  insert: fc.constantFrom(
    '',
    '\r',
    '\n',
    '\r\n',
    '\0',
    ' ',
    '\t',
    ':',
    ',',
    ';',
    '\x0b',
    '\x85',
    '\xa0',
    '0',
    'a',
    '\r\n ',
    'chunked',
  ),
})
const hostile = fc
  .tuple(fc.array(message, { minLength: 1, maxLength: 2 }), fc.array(mutation, { maxLength: 2 }))
  .map(([messages, mutations]) =>
    mutations.reduce((bytes, { at, remove, insert }) => {
      const index = Math.floor(at * bytes.length)
      return bytes.slice(0, index) + insert + bytes.slice(index + remove)
    }, messages.join('')),
  )

/** What both must agree on: every request that we handed on, the other one saw alike, or it refused from there on. */
async function disagreement(bytes: string): Promise<string | undefined> {
  const mine = await ours(bytes)
  if (mine.seen.length === 0) return undefined
  const other = await theirs(bytes)
  for (const [i, request] of mine.seen.entries()) {
    const found = other.seen[i]
    if (found === undefined) {
      if (other.whole) return `llhttp saw ${other.seen.length} requests, we ${mine.seen.length}`
      return undefined // it refused
    }
    const [a, b] = [JSON.stringify(normal(request)), JSON.stringify(normal(found))]
    if (a !== b) return `we saw ${a}, llhttp ${b}`
  }
  if (mine.whole && other.whole && other.seen.length > mine.seen.length)
    return `llhttp saw ${other.seen.length} requests, we ${mine.seen.length}`
  return undefined
}

test('RFC 9112 section 11.2: requests that we accept, llhttp sees alike or refuses', async () => {
  let accepted = 0
  await fc.assert(
    fc.asyncProperty(hostile, async (bytes) => {
      expect({ bytes, disagreement: await disagreement(bytes) }).toEqual({ bytes, disagreement: undefined })
      if ((await ours(bytes)).seen.length > 0) accepted++
    }),
    { numRuns: 1_500 },
  )
  expect(accepted).toBeGreaterThan(100)
})

test('well-formed requests are seen alike by both', async () => {
  const good = fc
    .tuple(
      fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'),
      fc.webPath(),
      fc.array(
        fc.tuple(fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,12}$/), fc.stringMatching(/^[!-~]([ -~]{0,20}[!-~])?$/)),
        {
          maxLength: 6,
        },
      ),
      fc.string({ maxLength: 40, unit: 'binary-ascii' }),
      fc.boolean(),
    )
    .map(([method, path, fields, content, chunked]) => {
      const lines = fields.map(([name, value]) => `X-${name}: ${value}\r\n`).join('')
      const framed = chunked
        ? `Transfer-Encoding: chunked\r\n\r\n${content === '' ? '' : `${content.length.toString(16)}\r\n${content}\r\n`}0\r\n\r\n`
        : `Content-Length: ${content.length}\r\n\r\n${content}`
      return { bytes: `${method} /${path} HTTP/1.1\r\nHost: a.example\r\n${lines}${framed}`, length: content.length }
    })
  await fc.assert(
    fc.asyncProperty(good, async ({ bytes, length }) => {
      const [mine, other] = await Promise.all([ours(bytes), theirs(bytes)])
      expect(mine).toEqual(other)
      expect(mine.whole).toBe(true)
      expect(mine.seen).toMatchObject([{ bytes: length }])
    }),
    { numRuns: 300 },
  )
})
