import { expect, test } from 'vitest'
import { createResponse } from '../src/http/response.ts'
import { defaultHttp1Limits } from '../src/http1/limits.ts'
import { createHttp1Server } from '../src/http1/server.ts'
import { preface } from '../src/http2/frames.ts'
import { defaultHttp2Limits } from '../src/http2/limits.ts'
import type { Address, Handler, ListenOptions, Runtime, Socket, SocketError } from '../src/runtime.ts'
import { alpnProtocols, createHttpServer, type HttpServer, listenFor } from '../src/server.ts'
import { createTimers } from '../src/timers.ts'
import { clientOn, patternBody, requestFor } from './http2/rig.ts'
import { createTestAuthority } from './support/certificates.ts'
import { connectRaw } from './support/raw-client.ts'
import { runtime } from './support/runtime.ts'
import { until } from './support/until.ts'

const loopback: Address = { host: '127.0.0.1', port: 0 }

const handler: Handler = async (request, exchange) => {
  const { byteLength } = await request.arrayBuffer()
  return createResponse(200, [], `${exchange!.scheme} ${exchange!.httpVersion} ${byteLength}`)
}

async function withDoor(options: ListenOptions, use: (address: Address) => Promise<void>): Promise<void> {
  const server = createHttpServer({
    handler,
    timers: createTimers(runtime.clock),
    afterTurn: (f) => runtime.afterTurn(f),
    http1: defaultHttp1Limits,
    http2: defaultHttp2Limits,
    scheme: options.tls ? 'https' : 'http',
  })
  const listener = await runtime.listen(loopback, options, (socket) => server.accept(socket))
  try {
    await use(listener.address)
    server.drain()
    await until(() => server.connectionCount === 0)
  } finally {
    const closed = listener.close()
    server.destroy()
    await closed
  }
}

test('RFC 9113 section 3.3: one door serves HTTP/2 with prior knowledge and HTTP/1.1', async () => {
  await withDoor({}, async (address) => {
    const client = clientOn(await runtime.connect(address, { timeoutMs: 5_000 }), createTimers(runtime.clock))
    const raw = await connectRaw(address)
    raw.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    expect((await raw.answer()).text).toBe('http 1.1 0')
    const response = await client.send(requestFor('/', { body: patternBody(300_000) }), {})
    expect(await response.text()).toBe('http 2 300000')
    raw.destroy()
  })
})

test('a preface that comes byte by byte is one all the same', async () => {
  await withDoor({}, async (address) => {
    const raw = await connectRaw(address)
    for (const c of `${preface}\0\0\0\u0004\0\0\0\0\0`) {
      raw.write(c)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    // Their SETTINGS, a WINDOW_UPDATE, and the acknowledgement of ours.
    const bytes = await raw.bytes(9 + 36 + 13 + 9)
    expect(bytes.slice(-9)).toEqual(Uint8Array.of(0, 0, 0, 4, 1, 0, 0, 0, 0))
    raw.destroy()
  })
})

test('RFC 9112 section 2.3: a door of HTTP/1.1 alone answers 505', async () => {
  const timers = createTimers(runtime.clock)
  const server = createHttp1Server({ handler, timers, scheme: 'http', limits: defaultHttp1Limits })
  const listener = await runtime.listen(loopback, {}, (socket) => void server.accept(socket))
  const raw = await connectRaw(listener.address)
  raw.write(preface)
  expect((await raw.answer()).status).toBe(505)
  raw.destroy()
  server.destroy()
  await listener.close()
})

test.each([
  ['what both have', ['h2', 'http/1.1'], 'h2', 'https 2 5'],
  ['what the client has', ['http/1.1'], 'http/1.1', 'https 1.1 5'],
  ['HTTP/1.1 for a client that does not ask', undefined, undefined, 'https 1.1 5'],
])('RFC 9113 section 3.2: over TLS, ALPN decides for %s', async (_, alpn, chosen, answer) => {
  const authority = await createTestAuthority()
  const certificate = await authority.issue([{ type: 'dns', value: 'door.example' }])
  await withDoor({ tls: { ...certificate, alpn: alpnProtocols } }, async (address) => {
    const socket = await runtime.connect(address, {
      timeoutMs: 5_000,
      tls: { servername: 'door.example', ca: authority.certificate, ...(alpn ? { alpn } : {}) },
    })
    expect(socket.tls?.alpn).toBe(chosen)
    expect(await ask(socket, chosen === 'h2')).toContain(answer)
    socket.destroy()
  })
})

test.each<[string, string, SocketError['code'], string[]]>([
  ['every address where there is no IPv6: those of IPv4', '::', 'unreachable', ['::', '0.0.0.0']],
  ['every address, taken by another program: an error', '::', 'busy', ['::']],
  ['every address, and not allowed to: an error', '::', 'denied', ['::']],
  ['one address, whatever the error: no other', '::1', 'unreachable', ['::1']],
])('listening on %s', async (_, host, code, tried) => {
  const hosts: string[] = []
  const refusing: Pick<Runtime, 'listen'> = {
    async listen(address) {
      hosts.push(address.host)
      if (address.host !== '0.0.0.0') throw Object.assign(new Error('no'), { code })
      return { address, close: async () => {} }
    },
  }
  const server = { accept() {} } as unknown as HttpServer
  const opened = await listenFor(server, refusing, { host, port: 80 }).catch((error: SocketError) => error.code)
  expect([hosts, typeof opened === 'string' ? opened : opened.address.host]).toEqual([
    tried,
    tried.length === 2 ? '0.0.0.0' : code,
  ])
})

async function ask(socket: Socket, http2: boolean): Promise<string> {
  if (http2) {
    const client = clientOn(socket, createTimers(runtime.clock))
    return (await client.send(requestFor('/', { body: new Uint8Array(5) }), {})).text()
  }
  return new Promise((resolve) => {
    let text = ''
    socket.attach({
      data(bytes, start, end) {
        text += socket.latin1(bytes, start, end)
        return true
      },
      drain() {},
      end: () => resolve(text),
      close: () => resolve(text),
    })
    socket.write('POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello')
  })
}
