import { describe, expect, test } from 'vitest'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import { errorCode, flag, frameType, readUint32 } from '../../src/http2/frames.ts'
import { defaultHttp2Limits } from '../../src/http2/limits.ts'
import { createHttpServer, type HttpServer } from '../../src/server.ts'
import { createTimers } from '../../src/timers.ts'
import { startProxy, toBackend, type Rig } from '../support/proxy.ts'
import type { RawClient } from '../support/raw-client.ts'
import { readHead, startRawBackend, type TestBackend } from '../support/test-backend.ts'
import { runtime } from '../support/runtime.ts'
import { until } from '../support/until.ts'
import { webSocketAccept } from '../support/websocket-accept.ts'
import { literalBlock, RawPeer } from './raw-peer.ts'
import { startHttp2 } from './rig.ts'

/** SETTINGS_ENABLE_CONNECT_PROTOCOL, as it stands in a SETTINGS frame. RFC 8441 section 3 */
const enableConnectProtocol = '0,8,0,0,0,1'

const connect = (protocol = 'websocket', more: readonly (readonly [string, string])[] = []): Uint8Array =>
  literalBlock([
    [':method', 'CONNECT'],
    [':protocol', protocol],
    [':scheme', 'http'],
    [':path', '/chat?room=1'],
    [':authority', 'chat.example'],
    ['sec-websocket-version', '13'],
    ['sec-websocket-protocol', 'talk'],
    ...more,
  ])

const acceptFor = (head: string): Promise<string> => webSocketAccept(/^sec-websocket-key: (\S+)\r$/im.exec(head)![1]!)

const switched = (accept: string): string =>
  `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: talk\r\n\r\n`

interface Scene {
  readonly peer: RawPeer
  readonly backend: TestBackend
  readonly rig: Rig
  readonly server: HttpServer
}

/** Frames by hand → a door of ours → the proxy → bytes by hand. */
async function withScene(
  serve: (client: RawClient) => Promise<void>,
  use: (scene: Scene) => Promise<void>,
): Promise<void> {
  await using backend = await startRawBackend(serve)
  await using rig = await startProxy(toBackend(backend.url))
  const server = createHttpServer({
    handler: rig.proxy.fetch,
    timers: createTimers(runtime.clock),
    afterTurn: (f) => runtime.afterTurn(f),
    http1: defaultHttp1Limits,
    http2: defaultHttp2Limits,
    scheme: 'http',
  })
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => server.accept(socket))
  const peer = new RawPeer(await runtime.connect(listener.address, { timeoutMs: 5_000 }))
  try {
    await use({ peer, backend, rig, server })
  } finally {
    const closed = listener.close()
    peer.destroy()
    server.destroy()
    await closed
  }
}

describe('RFC 8441: a WebSocket on an HTTP/2 stream', () => {
  test('section 3: a door says that it takes them; a server that does not want them says nothing', async () => {
    await withScene(
      async () => {},
      async ({ peer }) => {
        expect((await peer.frame(frameType.settings, 0)).payload.join()).toContain(enableConnectProtocol)
      },
    )
    await using plain = await startHttp2(() => new Response())
    const peer = new RawPeer(await plain.dial())
    expect((await peer.frame(frameType.settings, 0)).payload.join()).not.toContain(enableConnectProtocol)
    peer.send(frameType.headers, flag.endHeaders, 1, connect())
    expect(readUint32((await peer.frame(frameType.rstStream, 1)).payload, 0)).toBe(errorCode.protocol)
    peer.destroy()
  })

  test('section 5: extended CONNECT becomes the GET of HTTP/1.1, its 101 becomes 200, and bytes flow both ways', async () => {
    let head = ''
    let last = ''
    await withScene(
      async (client) => {
        head = await readHead(client)
        client.write(switched(await acceptFor(head)))
        last = new TextDecoder().decode(await client.bytes(5))
        client.write('world')
        await client.ended
        client.finish()
      },
      async ({ peer, rig }) => {
        peer.send(frameType.headers, flag.endHeaders, 1, connect())
        const fields = await peer.fields(1)
        expect(fields.slice(0, 1)).toEqual([':status: 200'])
        expect(fields).toContain('sec-websocket-protocol: talk')
        expect(fields.filter((field) => /^(?:connection|upgrade|sec-websocket-accept)/.test(field))).toEqual([])
        expect(head).toMatch(/^GET \/chat\?room=1 HTTP\/1\.1\r\nHost: chat\.example\r\n/i)
        for (const line of [/^connection: upgrade\r$/im, /^upgrade: websocket\r$/im, /^sec-websocket-version: 13\r$/im])
          expect(head).toMatch(line)
        expect(rig.proxy.stats).toMatchObject({ inFlight: 0, upgraded: 1 })
        peer.send(frameType.data, 0, 1, new TextEncoder().encode('hello'))
        await until(() => peer.text(1) === 'world')
        expect(last).toBe('hello')
        peer.send(frameType.data, flag.endStream, 1)
        await until(() => rig.proxy.stats.upgraded === 0)
      },
    )
  })

  test('what the client sends behind its handshake waits for the answer', async () => {
    await withScene(
      async (client) => {
        const head = await readHead(client)
        client.write(switched(await acceptFor(head)))
        client.write(await client.bytes(5))
      },
      async ({ peer }) => {
        peer.sendMany([
          [frameType.headers, flag.endHeaders, 1, connect()],
          [frameType.data, 0, 1, new TextEncoder().encode('early')],
        ])
        await until(() => peer.text(1) === 'early')
      },
    )
  })

  test('a stream that is reset ends the connection behind it', async () => {
    let ended = false
    await withScene(
      async (client) => {
        client.write(switched(await acceptFor(await readHead(client))))
        await client.ended
        ended = true
      },
      async ({ peer, rig }) => {
        peer.send(frameType.headers, flag.endHeaders, 1, connect())
        await until(() => rig.proxy.stats.upgraded === 1)
        peer.send(frameType.rstStream, 0, 1, Uint8Array.of(0, 0, 0, errorCode.cancel))
        await until(() => ended && rig.proxy.stats.upgraded === 0)
      },
    )
  })

  test.each([
    ["an answer to somebody else's key", switched('s3pPLMBiTxaQ9kYGzzhZRbK+xOo='), ':status: 502'],
    ['success that is no switch', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi', ':status: 502'],
    [
      "a refusal, which is the client's to know",
      'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno',
      ':status: 403',
    ],
  ])('a backend that gives %s', async (_, answer, status) => {
    await withScene(
      async (client) => {
        await readHead(client)
        client.write(answer)
      },
      async ({ peer, rig }) => {
        peer.send(frameType.headers, flag.endHeaders, 1, connect())
        expect(await peer.fields(1)).toContain(status)
        await until(() => rig.proxy.stats.inFlight === 0 && rig.proxy.stats.upgraded === 0)
      },
    )
  })

  test('RFC 9220 section 3: an unknown protocol is 501', async () => {
    await withScene(
      async () => {},
      async ({ peer, backend }) => {
        peer.send(frameType.headers, flag.endHeaders, 1, connect('connect-udp'))
        expect(await peer.fields(1)).toContain(':status: 501')
        expect(backend.accepted).toBe(0)
      },
    )
  })
})
