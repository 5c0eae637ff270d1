/** Node's own HTTP/2 (nghttp2) at the other end, in both roles. */
import { once } from 'node:events'
import {
  connect,
  createServer,
  type ClientHttp2Session,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type IncomingHttpHeaders,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { errorOf } from '../../src/errors.ts'
import { emptyHead, headOf } from '../../src/http/head.ts'
import { engineRequest } from '../../src/http/request.ts'
import { createResponse, responseOf } from '../../src/http/response.ts'
import { setTrailers, trailersOf } from '../../src/http/trailers.ts'
import type { Http2Connection } from '../../src/http2/client.ts'
import type { Field, Handler } from '../../src/runtime.ts'
import { createTimers } from '../../src/timers.ts'
import { runtime } from '../support/runtime.ts'
import { until } from '../support/until.ts'
import { clientOn, patternBody, patternByte, pushBody, readPattern, requestFor, startHttp2 } from './rig.ts'

interface NodeAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly trailers: IncomingHttpHeaders
  readonly informational: readonly number[]
  readonly body: Buffer
}

interface NodeRequest {
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: Buffer
  readonly trailers?: Readonly<Record<string, string>>
}

async function ask(session: ClientHttp2Session, path: string, options: NodeRequest = {}): Promise<NodeAnswer> {
  const { body, trailers: own } = options
  const stream = session.request(
    { ':path': path, ':method': body ? 'POST' : 'GET', ...options.headers },
    { endStream: !body, waitForTrailers: own !== undefined },
  )
  const informational: number[] = []
  const chunks: Buffer[] = []
  let status = 0
  let headers: IncomingHttpHeaders = {}
  let trailers: IncomingHttpHeaders = {}
  stream.on('headers', (found) => informational.push(found[':status']!))
  stream.on('continue', () => informational.push(100))
  stream.on('response', (found) => {
    headers = found
    status = found[':status']!
  })
  stream.on('trailers', (found) => (trailers = found))
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  if (own) stream.on('wantTrailers', () => stream.sendTrailers(own))
  if (body) stream.end(body)
  await once(stream, 'close')
  return { status, headers, trailers, informational, body: Buffer.concat(chunks) }
}

async function withNodeClient(handler: Handler, use: (session: ClientHttp2Session) => Promise<void>): Promise<void> {
  await using rig = await startHttp2(handler)
  const session = connect(`http://127.0.0.1:${rig.port}`, { maxSessionMemory: 128 })
  try {
    await use(session)
  } finally {
    session.destroy()
  }
}

async function withNodeServer(
  answer: (request: Http2ServerRequest, response: Http2ServerResponse) => void,
  use: (client: Http2Connection) => Promise<void>,
): Promise<void> {
  const server = createServer({}, answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const client = clientOn(
    await runtime.connect({ host: '127.0.0.1', port }, { timeoutMs: 5_000 }),
    createTimers(runtime.clock),
  )
  try {
    await use(client)
  } finally {
    client.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
}

test('their client, our server: heads, bodies, trailers both ways, 1xx', async () => {
  const handler: Handler = async (request, exchange) => {
    exchange!.inform(103, [['Link', '</a>']])
    const text = await request.text()
    const response = new Response(`${request.method} ${text}`, { headers: { 'x-back': request.headers.get('x-all')! } })
    setTrailers(response, [['x-sum', trailersOf(request).join()]])
    return response
  }
  await withNodeClient(handler, async (session) => {
    // Every octet that a value may have, so that every code word of their Huffman coder is read.
    const all = String.fromCharCode(...Array.from({ length: 0x5e }, (_, i) => 0x21 + i))
    for (let i = 0; i < 3; i++) {
      const answer = await ask(session, '/', {
        headers: { 'x-all': all, cookie: ['a=1', 'b=2'] },
        body: Buffer.from('hello'),
        trailers: { 'x-t': `${i}` },
      })
      expect(answer).toMatchObject({ status: 200, informational: [103], trailers: { 'x-sum': `x-t,${i}` } })
      expect(answer.headers['x-back']).toBe(all)
      expect(answer.body.toString()).toBe('POST hello')
    }
  })
})

test('their client, our server: 100 at once, and 32 MiB both ways', async () => {
  const echo: Handler = (request) => responseOf(200, '', emptyHead, engineRequest(request)!.holder.take())
  await withNodeClient(echo, async (session) => {
    const small = await Promise.all(
      Array.from({ length: 100 }, (_, i) => ask(session, `/${i}`, { body: Buffer.alloc(i * 100, i) })),
    )
    expect(small.every(({ body }, i) => body.equals(Buffer.alloc(i * 100, i)))).toBe(true)
    const large = Buffer.alloc(32 * 1_048_576)
    for (let i = 0; i < large.length; i++) large[i] = patternByte(i)
    expect((await ask(session, '/', { body: large })).body.equals(large)).toBe(true)
  })
})

test('their client leaves: the exchange is aborted', async () => {
  let aborted = false
  const handler: Handler = (_request, exchange) => {
    exchange!.onAbort(() => (aborted = true))
    return new Promise<never>(() => {})
  }
  await withNodeClient(handler, async (session) => {
    const stream = session.request({ ':path': '/' })
    stream.on('error', () => {})
    await until(() => stream.id !== undefined)
    await new Promise((resolve) => session.ping(() => resolve(undefined)))
    stream.close(8)
    await until(() => aborted)
    expect(aborted).toBe(true)
  })
})

test('our client, their server: heads, bodies, trailers both ways, 1xx', async () => {
  await withNodeServer(
    (request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        response.writeEarlyHints({ link: '</a>; rel=preload' })
        response.setHeader('x-back', [`${request.method} ${request.url} ${request.authority}`])
        response.setHeader('set-cookie', ['a=1', 'b=2'])
        response.write(Buffer.concat(chunks))
        response.addTrailers({ 'grpc-status': String(request.trailers['x-t']) })
        response.end()
      })
    },
    async (client) => {
      for (let i = 0; i < 3; i++) {
        const body = pushBody()
        body.push('hello')
        body.finish(headOf([['X-T', `${i}`]]))
        const told: (readonly Field[])[] = []
        const response = await client.send(requestFor('/p?q', { method: 'PUT', body, authority: 'b.example' }), {
          exchange: {
            scheme: 'http',
            httpVersion: '2',
            peer: { host: '', port: 0 },
            local: { host: '', port: 0 },
            startedAtMs: 0,
            awaitsContinue: false,
            gone: false,
            inform: (_status, fields) => told.push(fields),
            onAbort() {},
            onFinish() {},
          },
        })
        expect(await response.text()).toBe('hello')
        expect(response.headers.get('x-back')).toBe('PUT /p?q b.example')
        expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
        expect(trailersOf(response)).toEqual([['grpc-status', `${i}`]])
        expect(told).toEqual([[['link', '</a>; rel=preload']]])
      }
    },
  )
})

test('our client, their server: 100 at once, and 32 MiB both ways', async () => {
  await withNodeServer(
    (request, response) => void request.pipe(response),
    async (client) => {
      const sizes = Array.from({ length: 100 }, (_, i) => i * 1_000)
      const read = await Promise.all(
        sizes.map(async (size) => {
          const response = await client.send(requestFor('/', { body: patternBody(size) }), {})
          return response.body ? readPattern(response.body) : 0
        }),
      )
      expect(read).toEqual(sizes)
      const response = await client.send(requestFor('/', { body: patternBody(32 * 1_048_576, false) }), {})
      expect(await readPattern(response.body!)).toBe(32 * 1_048_576)
    },
  )
})

test.each([
  ['REFUSED_STREAM', 7, { stale: true, unprocessed: true, cause: 'closed' }],
  ['ENHANCE_YOUR_CALM', 11, { cause: 'overloaded' }],
  ['INTERNAL_ERROR', 2, { cause: 'closed' }],
])('their server resets with %s: our client says so', async (name, code, expected) => {
  await withNodeServer(
    (_request, response) => response.stream.close(code),
    async (client) => {
      const error = await client.send(requestFor('/'), {}).then(() => undefined, errorOf)
      expect(error).toMatchObject({ kind: 'upstream', phase: 'head', reason: `stream reset: ${name}`, ...expected })
    },
  )
})

test('their server goes away: what runs ends well, and nothing new is sent', async () => {
  await withNodeServer(
    (request, response) => {
      request.stream.session!.close()
      setTimeout(() => response.end('ok'), 20)
    },
    async (client) => {
      const running = await client.send(requestFor('/'), {})
      await until(() => client.closed)
      expect(client.capacity).toBe(0)
      expect(await running.text()).toBe('ok')
    },
  )
})

test('an answer to their HEAD and a 204 have no body', async () => {
  const handler: Handler = (request) =>
    request.method === 'HEAD' ? createResponse(200, [], 'hello') : createResponse(204, [])
  await withNodeClient(handler, async (session) => {
    const head = await ask(session, '/', { headers: { ':method': 'HEAD' } })
    expect([head.status, head.headers['content-length'], head.body.length]).toEqual([200, '5', 0])
    const empty = await ask(session, '/')
    expect([empty.status, empty.headers['content-length'], empty.body.length]).toEqual([204, undefined, 0])
  })
})
