import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type IncomingHttpHeaders, type Settings } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { afterAll, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import { defaultHttp2Limits } from '../../src/http2/limits.ts'
import { createHttpServer } from '../../src/server.ts'
import { createTimers } from '../../src/timers.ts'
import { startProxy, toBackend } from '../support/proxy.ts'
import { runtime } from '../support/runtime.ts'
import { until } from '../support/until.ts'

/** `ws` on both sides: nobody here is ours but the proxy. */
const server = new WebSocketServer({
  port: 0,
  host: '127.0.0.1',
  handleProtocols: (offered) => [...offered].at(-1) ?? false,
  perMessageDeflate: true,
})
await once(server, 'listening')
server.on('connection', (socket, request) => {
  if (request.url === '/close') socket.close(4001, 'because')
  else if (request.url === '/host') socket.send(`${request.headers.host} ${String(request.headers['x-forwarded-for'])}`)
  else socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
})
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
afterAll(() => server.close())

test('messages of every size and kind come back whole, and so does the close', async () => {
  await using rig = await startProxy(toBackend(url))
  const client = new WebSocket(`ws://127.0.0.1:${rig.port}/echo`, ['a', 'b'], { perMessageDeflate: true })
  await once(client, 'open')
  expect(client.protocol).toBe('b')
  await until(() => rig.proxy.stats.upgraded === 1)
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 3_000_000]) {
    const message = randomBytes(size)
    client.send(message)
    const [data, isBinary] = (await once(client, 'message')) as [Buffer, boolean]
    expect([isBinary, hash(data)]).toEqual([true, hash(message)])
  }
  client.send('héllo')
  const [text, isBinary] = (await once(client, 'message')) as [Buffer, boolean]
  expect([text.toString(), isBinary]).toEqual(['héllo', false])
  client.close(1000, 'done')
  const [code, reason] = (await once(client, 'close')) as [number, Buffer]
  expect([code, reason.toString()]).toEqual([1000, 'done'])
  expect(await rig.recorded(1)).toMatchObject([{ status: 101, upgraded: true, flags: [] }])
  expect(rig.proxy.stats.upgraded).toBe(0)
})

test('a close that the backend begins, with its own code', async () => {
  await using rig = await startProxy(toBackend(url))
  const client = new WebSocket(`ws://127.0.0.1:${rig.port}/close`)
  const [code, reason] = (await once(client, 'close')) as [number, Buffer]
  expect([code, reason.toString()]).toEqual([4001, 'because'])
})

test('Host and the client are told as for any request', async () => {
  await using rig = await startProxy(toBackend(url))
  const client = new WebSocket(`ws://127.0.0.1:${rig.port}/host`, { headers: { host: 'chat.example' } })
  const [data] = (await once(client, 'message')) as [Buffer]
  expect(data.toString()).toBe('chat.example 127.0.0.1')
  client.terminate()
})

test('two hundred at once', async () => {
  await using rig = await startProxy(toBackend(url))
  const clients = Array.from({ length: 200 }, () => new WebSocket(`ws://127.0.0.1:${rig.port}/echo`))
  await Promise.all(clients.map((client) => once(client, 'open')))
  await until(() => rig.proxy.stats.upgraded === 200)
  const answers = await Promise.all(
    clients.map(async (client, i) => {
      client.send(`number ${i}`)
      const [data] = (await once(client, 'message')) as [Buffer]
      return data.toString()
    }),
  )
  expect(answers).toEqual(clients.map((_, i) => `number ${i}`))
  for (const client of clients) client.terminate()
  await until(() => rig.proxy.stats.upgraded === 0)
  expect(rig.records.length).toBe(200)
})

test('a server that refuses the handshake: the client hears why', async () => {
  await using rig = await startProxy([{ unavailableStatus: 503 }])
  const client = new WebSocket(`ws://127.0.0.1:${rig.port}/`)
  const [error] = (await once(client, 'error')) as [Error]
  expect(error.message).toContain('503')
})

function hash(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

test('RFC 8441: a WebSocket on a stream of HTTP/2, with the client of Node', async () => {
  await using rig = await startProxy(toBackend(url))
  const timers = createTimers(runtime.clock)
  const door = createHttpServer({
    handler: rig.proxy.fetch,
    timers,
    afterTurn: (f) => runtime.afterTurn(f),
    http1: defaultHttp1Limits,
    http2: defaultHttp2Limits,
    scheme: 'http',
  })
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => door.accept(socket))
  const session = connect(`http://127.0.0.1:${listener.address.port}`)
  const [settings] = (await once(session, 'remoteSettings')) as [Settings]
  expect(settings.enableConnectProtocol).toBe(true)
  const stream = session.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':path': '/echo',
    'sec-websocket-version': '13',
  })
  const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders & { ':status': number }]
  expect(head[':status']).toBe(200)
  const received: Buffer[] = []
  stream.on('data', (bytes: Buffer) => received.push(bytes))
  // A client's frames are masked: with nothing, here. RFC 6455 section 5.2.
  const message = randomBytes(1_000_000)
  const length = Buffer.alloc(8)
  length.writeBigUInt64BE(BigInt(message.length))
  stream.write(Buffer.concat([Buffer.of(0x82, 0xff), length, Buffer.alloc(4), message]))
  await until(() => received.reduce((sum, bytes) => sum + bytes.length, 0) === 10 + message.length)
  expect(hash(Buffer.concat(received).subarray(10))).toBe(hash(message))
  stream.write(Buffer.of(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8))
  await once(stream, 'end')
  expect(Buffer.concat(received).subarray(-4)).toEqual(Buffer.of(0x88, 2, 0x03, 0xe8))
  expect(await rig.recorded(1)).toMatchObject([{ status: 101, upgraded: true, httpVersion: '2', flags: [] }])
  session.close()
  door.destroy()
  await listener.close()
})
