/** From an eyeball to a backend and back, through edge, tunnel and proxy: what each of them must leave as it is. */
import { afterEach, describe, expect, test } from 'vitest'
import { ProxyFailure } from '../../../src/errors.ts'
import type { Body } from '../../../src/http/body.ts'
import { emptyHead } from '../../../src/http/head.ts'
import { engineRequest, withHeaders } from '../../../src/http/request.ts'
import { createResponse, responseOf } from '../../../src/http/response.ts'
import { createProxy } from '../../../src/proxy/proxy.ts'
import type { Address, Exchange, Field } from '../../../src/runtime.ts'
import { createTimers } from '../../../src/timers.ts'
import type { StreamAnswer } from '../../../src/tunnel/edge/link.ts'
import { passOn } from '../../../src/tunnel/edge/eyeball.ts'
import type { Transport } from '../../../src/tunnel/protocol.ts'
import { patternBody, pushBody, readPattern, requestFor } from '../../http2/rig.ts'
import { configOf, toBackend, type WireRule } from '../../support/proxy.ts'
import { ask, connectRaw, requestText } from '../../support/raw-client.ts'
import { runtime } from '../../support/runtime.ts'
import { until } from '../../support/until.ts'
import {
  closedAddress,
  echo,
  readHead,
  sent,
  startBackend,
  startRawBackend,
  type Echoed,
} from '../../support/test-backend.ts'
import { startWebSocketBackend } from '../../support/websocket-backend.ts'
import { breaksOff, loopback, openScene, transports, type Scene, type SceneOptions } from './scene.ts'

const timers = createTimers(runtime.clock)
const closing: AsyncDisposable[] = []
afterEach(async () => {
  for (const thing of closing.splice(0).reverse()) await thing[Symbol.asyncDispose]()
})

function keep<T extends AsyncDisposable>(thing: T): T {
  closing.push(thing)
  return thing
}

interface Gateway {
  readonly scene: Scene
  /** Where eyeballs come in. */
  readonly address: Address
}

/** An edge with a front, and a connector whose handler is a proxy with these rules. */
async function openGateway(
  protocol: Transport,
  rules: readonly WireRule[],
  options: Partial<SceneOptions> = {},
): Promise<Gateway> {
  const proxy = createProxy({ runtime, timers, allowLoopbackBackends: true })
  proxy.apply(configOf(rules))
  const scene = keep(
    await openScene({ protocol, handler: proxy.fetch, ...options, edge: { eyeballs: loopback, ...options.edge } }),
  )
  await scene.registered()
  return { scene, address: scene.edge.eyeballs! }
}

/** What the connection itself is answered, before the edge makes something of it. */
function sendTo(
  { scene }: Gateway,
  kind: 'http' | 'tcp',
  target: string,
  fields: readonly Field[] = [],
): Promise<StreamAnswer> {
  const facts = { scheme: 'https', address: '192.0.2.1', ray: '0123456789abcdef-LHR' } as const
  const request = passOn(engineRequest(requestFor(target, { fields }))!, facts, undefined)
  return scene.connection.send({ kind, request, onAbort() {} })
}

function textOf({ body }: StreamAnswer): Promise<string> {
  return responseOf(200, '', emptyHead, body).text()
}

function manyFields(count: number, bytes = 1_000): Field[] {
  return Array.from({ length: count }, (_, at) => [`x-${at}`, 'y'.repeat(bytes)])
}

function sizeOf(fields: readonly Field[]): string {
  const ours = fields.filter(([name]) => /^x-\d+$/i.test(name))
  return `${ours.length} fields, ${ours.reduce((sum, [, { length }]) => sum + length, 0)} bytes`
}

/** More than a head's text may be. */
function requestWith(fields: readonly Field[]): Request {
  return withHeaders(requestFor('/'), { removed: [], added: fields })
}

async function dial(address: Address, path: string, protocols: string[] = []): Promise<WebSocket> {
  const socket = new WebSocket(`ws://${address.host}:${address.port}${path}`, protocols)
  socket.binaryType = 'arraybuffer'
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve, { once: true })
    socket.addEventListener('error', () => reject(new Error('no WebSocket')), { once: true })
  })
  return socket
}

function message(socket: WebSocket): Promise<unknown> {
  return new Promise((resolve) => socket.addEventListener('message', ({ data }) => resolve(data), { once: true }))
}

function closed(socket: WebSocket): Promise<CloseEvent> {
  return new Promise((resolve) => socket.addEventListener('close', resolve, { once: true }))
}

describe.each(transports)('over %s', (protocol) => {
  describe('what a backend sees', () => {
    test('who the eyeball is, in every field that says so; its own words on that are not passed on', async () => {
      const backend = keep(await startBackend(echo()))
      const { address } = await openGateway(protocol, toBackend(backend.url))
      const answer = await ask(address, '/a%2Fb/../c?x=%20', {
        host: 'shop.example',
        headers: [
          ['CF-Connecting-IP', '6.6.6.6'],
          ['CF-IPCountry', 'AQ'],
          ['CF-Ray', 'evil'],
          ['cf-cloudflared-proxy-connection-upgrade', 'control-stream'],
          ['cf-cloudflared-proxy-src', '6.6.6.6'],
          ['cf-trace-id', '1:2:0:1'],
          ['X-Forwarded-Proto', 'https'],
          ['X-Real-IP', '6.6.6.6'],
          ['X-Own', 'kept'],
        ],
      })
      expect(answer.status).toBe(200)
      const echoed = JSON.parse(answer.text) as Echoed
      expect([echoed.method, echoed.host]).toEqual(['GET', 'shop.example'])
      expect(sent(echoed, 'cf-connecting-ip')).toEqual(['127.0.0.1'])
      expect(sent(echoed, 'x-forwarded-for')).toEqual(['127.0.0.1'])
      expect(sent(echoed, 'x-forwarded-proto')).toEqual(['http'])
      expect(sent(echoed, 'x-forwarded-host')).toEqual(['shop.example'])
      expect(sent(echoed, 'cf-ray')[0]).toMatch(/^[0-9a-f]{16}-LHR$/)
      expect(sent(echoed, 'x-own')).toEqual(['kept'])
      expect(JSON.stringify(echoed.fields)).not.toMatch(/6\.6\.6\.6|AQ|evil|cf-cloudflared|cf-trace-id/i)
    })

    test.each([
      ['a length', requestText('/', { method: 'POST', body: 'hello' }), 'hello'],
      [
        'chunks',
        'PUT / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n',
        'hello',
      ],
      ['no body', requestText('/', { method: 'DELETE' }), ''],
      ['a body of nothing', requestText('/', { method: 'POST', body: '' }), ''],
    ])('a request with %s', async (_, text, body) => {
      const backend = keep(await startBackend(echo()))
      const { address } = await openGateway(protocol, toBackend(backend.url))
      const eyeball = await connectRaw(address)
      eyeball.write(text)
      const answer = await eyeball.answer()
      expect((JSON.parse(answer.text) as Echoed).body).toBe(body)
      eyeball.destroy()
    })

    test('Expect: 100-continue: the eyeball is told to go on, and its body arrives', async () => {
      const backend = keep(await startBackend(echo()))
      const { address } = await openGateway(protocol, toBackend(backend.url))
      const eyeball = await connectRaw(address)
      eyeball.write('POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n')
      expect(new TextDecoder().decode(await eyeball.bytes(12))).toBe('HTTP/1.1 100')
      await eyeball.bytes('HTTP/1.1 100 Continue\r\n\r\n'.length - 12)
      eyeball.write('hello')
      expect((JSON.parse((await eyeball.answer()).text) as Echoed).body).toBe('hello')
      eyeball.destroy()
    })
  })

  describe('what an eyeball sees', () => {
    test.each([
      ['an answer with a length', 'GET', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', 200, '5', 'hello'],
      [
        'an answer in chunks',
        'GET',
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
        200,
        undefined,
        'hello',
      ],
      ['an answer that ends with its connection', 'GET', 'HTTP/1.1 200 OK\r\n\r\nhello', 200, undefined, 'hello'],
      ['an answer of nothing', 'GET', 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n', 404, '0', ''],
      ['204', 'GET', 'HTTP/1.1 204 No Content\r\n\r\n', 204, undefined, ''],
      [
        '304 with the length that there would be',
        'GET',
        'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n',
        304,
        undefined,
        '',
      ],
      ['an answer to HEAD', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n', 200, '12345', ''],
      [
        '103, which does not go through a tunnel',
        'GET',
        'HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
        200,
        '2',
        'ok',
      ],
    ])('%s', async (_, method, text, status, length, body) => {
      const backend = keep(
        await startRawBackend(async (peer) => {
          await readHead(peer)
          peer.write(text)
          peer.finish()
        }),
      )
      const { address } = await openGateway(protocol, toBackend(backend.url))
      const eyeball = await connectRaw(address)
      eyeball.write(requestText('/', { method }))
      const answer = await eyeball.answer({ method })
      expect([answer.status, answer.header('content-length'), answer.text]).toEqual([status, length, body])
      expect(answer.informational).toEqual([])
      expect(answer.fields.map(([field]) => field.toLowerCase())).not.toContain('cf-cloudflared-response-meta')
      eyeball.destroy()
    })

    test('fields that repeat stay apart and in their order, and bytes beyond ASCII stay bytes', async () => {
      const backend = keep(
        await startRawBackend(async (peer) => {
          await readHead(peer)
          peer.write(
            'HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Odd_1: \xe9 ;:\r\nContent-Length: 0\r\n\r\n',
          )
        }),
      )
      const { address } = await openGateway(protocol, toBackend(backend.url))
      const { fields } = await ask(address, '/')
      const values = fields.filter(([field]) => /^(set-cookie|x-odd_1)$/i.test(field)).map(([, value]) => value)
      expect(values).toEqual(['a=1', 'b=2', '\xe9 ;:'])
    })

    test('events one by one, as they are sent', async () => {
      let stream: Awaited<ReturnType<typeof connectRaw>> | undefined
      const backend = keep(
        await startRawBackend(async (peer) => {
          await readHead(peer)
          stream = peer
          peer.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n')
        }),
      )
      const { address } = await openGateway(protocol, toBackend(backend.url))
      const eyeball = await connectRaw(address)
      eyeball.write(requestText('/events'))
      await readHead(eyeball)
      for (let event = 1; event <= 5; event++) {
        const text = `data: ${event}\n\n`
        const chunk = `${text.length.toString(16)}\r\n${text}\r\n`
        stream!.write(chunk)
        expect(new TextDecoder().decode(await eyeball.bytes(chunk.length))).toBe(chunk)
      }
      stream!.write('0\r\n\r\n')
      expect(new TextDecoder().decode(await eyeball.bytes(5))).toBe('0\r\n\r\n')
      eyeball.destroy()
    })
  })

  describe('who answered', () => {
    const dead = closedAddress()
    test.each<[string, (url: string, deadUrl: string) => WireRule[], number]>([
      ['404: no rule matches', () => [], 404],
      ['500: a rule without backends', () => [{}], 500],
      ['502: a backend whose answer is no HTTP', (url) => toBackend(url), 502],
      ['503: a backend that cannot be reached', (_, deadUrl) => toBackend(deadUrl), 503],
      ['504: a backend that does not answer in time', (url) => toBackend(url, { timeouts: { request: '50ms' } }), 504],
    ])('%s is an answer of the origin', async (_, rules, status) => {
      const backend = keep(
        await startRawBackend(async (peer) => {
          await readHead(peer)
          if (status === 502) peer.write('220 mail.example ESMTP\r\n\r\n')
        }),
      )
      const gateway = await openGateway(protocol, rules(backend.url, `http://127.0.0.1:${(await dead).port}`))
      expect(await sendTo(gateway, 'http', '/')).toMatchObject({ source: 'origin', status })
      const answer = await ask(gateway.address, '/')
      expect([answer.status, answer.header('content-type')]).toEqual([status, 'text/plain; charset=utf-8'])
    })

    test('a handler that throws is a failure of the connector, and of that request alone', async () => {
      const gateway = await openGateway(protocol, [], {
        handler(request) {
          if (engineRequest(request)!.target === '/fine') return createResponse(200, [], 'fine')
          throw new TypeError('secret detail')
        },
      })
      expect(await sendTo(gateway, 'http', '/')).toMatchObject({ source: 'connector', status: 502, rateLimited: false })
      const answer = await ask(gateway.address, '/')
      expect([answer.status, answer.text]).toEqual([502, 'the connector failed\n'])
      expect((await ask(gateway.address, '/fine')).text).toBe('fine')
    })

    test('a backend with a status of its own invention is passed on', async () => {
      const backend = keep(
        await startRawBackend(async (peer) => {
          await readHead(peer)
          peer.write('HTTP/1.1 999 Nobody Knows\r\nContent-Length: 4\r\n\r\nodd\n')
        }),
      )
      const gateway = await openGateway(protocol, toBackend(backend.url))
      const answer = await sendTo(gateway, 'http', '/')
      expect(answer).toMatchObject({ source: 'origin', status: 999 })
      expect(await textOf(answer)).toBe('odd\n')
    })

    // Over QUIC the head has gone out by then, and the stream is reset.
    test.runIf(protocol === 'http2')('502: a backend whose answer breaks behind its head', async () => {
      const backend = keep(
        await startRawBackend(async (peer) => {
          await readHead(peer)
          peer.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n')
        }),
      )
      const gateway = await openGateway(protocol, toBackend(backend.url))
      const answer = await sendTo(gateway, 'http', '/')
      expect(answer).toMatchObject({ source: 'origin', status: 502 })
      expect(await textOf(answer)).toBe('invalid answer from the backend\n')
    })

    test('what an answer holds that cannot be sent is let go', async () => {
      let cancelled = 0
      const body: Body = { length: undefined, start() {}, resume() {}, cancel: () => cancelled++ }
      const gateway = await openGateway(protocol, [], { handler: () => responseOf(103, '', emptyHead, body) })
      expect(await sendTo(gateway, 'http', '/')).toMatchObject({ source: 'connector', status: 502 })
      expect(cancelled).toBe(1)
    })

    test('a handler whose promise is broken', async () => {
      const gateway = await openGateway(protocol, [], {
        handler: () => Promise.reject(new ProxyFailure({ kind: 'filter-failed', reason: 'no' })),
      })
      expect(await sendTo(gateway, 'http', '/')).toMatchObject({ source: 'connector', status: 502 })
    })

    test('private TCP is refused, and the connection lives on', async () => {
      const gateway = await openGateway(protocol, [], { handler: () => createResponse(200, [], 'fine') })
      const answer = await sendTo(gateway, 'tcp', '/')
      expect(answer).toMatchObject({ source: 'connector', status: 502, rateLimited: false })
      expect(await textOf(await sendTo(gateway, 'http', '/'))).toBe('fine')
    })
  })

  describe('streams that break', () => {
    test.runIf(breaksOff(protocol))('an eyeball that leaves while it downloads: the backend is left', async () => {
      const backend = keep(
        await startRawBackend(async (peer) => {
          await readHead(peer)
          peer.write('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf')
          // A FIN alone may come of an eyeball that only waits: writing tells.
          const beat = setInterval(() => peer.write('.'), 5)
          void peer.ended.then(() => clearInterval(beat))
        }),
      )
      const { address } = await openGateway(protocol, toBackend(backend.url))
      const eyeball = await connectRaw(address)
      eyeball.write(requestText('/'))
      await readHead(eyeball)
      expect(backend.open).toBe(1)
      eyeball.destroy()
      await until(() => backend.open === 0)
    })

    test.runIf(breaksOff(protocol))(
      'an eyeball that leaves while it uploads: the backend never sees a whole request',
      async () => {
        let request = ''
        const backend = keep(
          await startRawBackend(async (peer) => {
            request = await readHead(peer)
            for (;;) request += new TextDecoder().decode(await peer.bytes(1))
          }),
        )
        const { address } = await openGateway(protocol, toBackend(backend.url))
        const eyeball = await connectRaw(address)
        eyeball.write('POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n')
        await until(() => request.includes('half'))
        eyeball.destroy()
        await until(() => backend.open === 0)
        expect(request).not.toContain('0\r\n\r\n')
      },
    )

    const brokenOff = [
      ['that declared its length', 'Content-Length: 1000\r\n\r\nhalf'],
      ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
    ] as const

    test.each(brokenOff.filter(([name]) => breaksOff(protocol) || name !== 'in chunks'))(
      'a backend that breaks off an answer %s: the eyeball never sees a whole one',
      async (_, rest) => {
        const backend = keep(
          await startRawBackend(async (peer) => {
            await readHead(peer)
            peer.write(`HTTP/1.1 200 OK\r\n${rest}`)
            await new Promise((resolve) => setTimeout(resolve, 20))
            peer.destroy()
          }),
        )
        const { address, scene } = await openGateway(protocol, toBackend(backend.url))
        const eyeball = await connectRaw(address)
        eyeball.write(requestText('/'))
        const seen = await eyeball.answer().then(
          ({ status }) => `whole, ${status}`,
          (error: Error) => error.message.replace(/after .*/, ''),
        )
        // A stream of QUIC that is reset loses what has not left yet, and that may be the head.
        expect(protocol === 'http2' ? ['connection ended '] : ['connection ended ', 'whole, 502']).toContain(seen)
        expect(scene.attempts).toEqual([0])
      },
    )

    test('a backend that answers before it has read the upload: the eyeball has the answer', async () => {
      const backend = keep(
        await startRawBackend(async (peer) => {
          await readHead(peer)
          peer.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig')
        }),
      )
      const { address } = await openGateway(protocol, toBackend(backend.url))
      const eyeball = await connectRaw(address)
      eyeball.write('POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\nsome')
      expect(await eyeball.answer()).toMatchObject({ status: 413, text: 'big' })
      eyeball.destroy()
    })
  })

  describe('WebSockets', () => {
    test('the handshake is whole at the backend; messages come back in every size', async () => {
      const backend = keep(await startWebSocketBackend())
      const { address } = await openGateway(protocol, toBackend(backend.url))
      const socket = await dial(address, '/chat?room=1', ['a', 'b'])
      expect(socket.protocol).toBe('b')
      const [handshake] = backend.handshakes
      expect(handshake).toMatch(/^GET \/chat\?room=1 HTTP\/1\.1\r\n/)
      for (const line of [
        /^connection: upgrade\r$/im,
        /^upgrade: websocket\r$/im,
        /^sec-websocket-version: 13\r$/im,
        /^sec-websocket-key: \S{24}\r$/im,
        /^cf-connecting-ip: 127\.0\.0\.1\r$/im,
      ]) {
        expect(handshake).toMatch(line)
      }
      for (const size of [0, 125, 126, 65_536, 200_000]) {
        const heard = message(socket)
        socket.send(new Uint8Array(size).fill(7))
        const back = new Uint8Array((await heard) as ArrayBuffer)
        expect([back.length, back.every((byte) => byte === 7)]).toEqual([size, true])
      }
      socket.close()
      await closed(socket)
    })

    test('closing codes go both ways', async () => {
      const backend = keep(await startWebSocketBackend())
      const { address, scene } = await openGateway(protocol, toBackend(backend.url))
      const left = await dial(address, '/')
      left.close(4002, 'enough')
      expect(await closed(left)).toMatchObject({ code: 4002, reason: 'enough' })
      await until(() => backend.closes.length === 1)
      const told = await dial(address, '/')
      const end = closed(told)
      told.send('close 4001 because')
      expect(await end).toMatchObject({ code: 4001, reason: 'because' })
      await until(() => backend.closes.length === 2)
      expect(backend.closes).toEqual([4002, 4001])
      await until(() => scene.connection.inFlight === 0)
    })

    test('a backend that hangs up: not closed in order', async () => {
      const backend = keep(await startWebSocketBackend())
      const { address } = await openGateway(protocol, toBackend(backend.url))
      const socket = await dial(address, '/')
      const end = closed(socket)
      socket.send('drop')
      expect((await end).wasClean).toBe(false)
    })

    test('a backend that refuses: an ordinary answer', async () => {
      const backend = keep(await startWebSocketBackend())
      const { address } = await openGateway(protocol, toBackend(backend.url))
      const answer = await ask(address, '/refuse', {
        headers: [
          ['Upgrade', 'websocket'],
          ['Connection', 'Upgrade'],
          ['Sec-WebSocket-Version', '13'],
          ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
        ],
      })
      expect([answer.status, answer.text, answer.header('x-why')]).toEqual([403, 'not you', 'rules'])
    })

    test('a connector that leaves tells its WebSockets to go elsewhere', async () => {
      const backend = keep(await startWebSocketBackend())
      const { address, scene } = await openGateway(protocol, toBackend(backend.url))
      const socket = await dial(address, '/')
      const end = closed(socket)
      const stopped = scene.connector.stop(10_000)
      expect((await end).code).toBe(1001)
      expect(await stopped).toBe(true)
      expect(backend.closes).toEqual([1001])
    })

    test('eyeballs that leave in the middle of floods harm nobody, and nothing is left of them', async () => {
      const flood = new Uint8Array(16_384).fill(0x82)
      const backend = keep(
        await startRawBackend(async (peer) => {
          await readHead(peer)
          peer.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
          for (let times = 0; times < 40; times++) {
            peer.write(flood)
            await new Promise((resolve) => setTimeout(resolve, 1))
          }
          peer.finish()
        }),
      )
      const { address, scene } = await openGateway(protocol, toBackend(backend.url))
      const handshake: [string, string][] = [
        ['Upgrade', 'websocket'],
        ['Connection', 'Upgrade'],
        ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
        ['Sec-WebSocket-Version', '13'],
      ]
      const leaves = async (number: number): Promise<void> => {
        const eyeball = await connectRaw(address)
        eyeball.write(requestText('/', { headers: handshake }))
        await readHead(eyeball)
        eyeball.write(flood.subarray(0, 100))
        await eyeball.bytes(1_000 * (1 + number))
        eyeball.destroy()
      }
      await Promise.all(Array.from({ length: 25 }, (_, number) => leaves(number)))
      await until(() => scene.connection.inFlight === 0 && backend.open === 0)
      expect(scene.attempts).toEqual([0])
      expect(scene.connector.reports[0]!.activeRequests).toBe(0)
    })
  })

  describe('large heads', () => {
    test('of a request, up to the MiB that is promised', async () => {
      const { scene } = await openGateway(protocol, [], {
        handler: (request) => createResponse(200, [], sizeOf(engineRequest(request)!.head.fields())),
      })
      const answer = await scene.edge.fetch(requestWith(manyFields(900)))
      expect([answer.status, await answer.text()]).toEqual([200, '900 fields, 900000 bytes'])
    })

    test('of a request, in many fields', async () => {
      const { scene } = await openGateway(protocol, [], {
        handler: (request) => createResponse(200, [], sizeOf(engineRequest(request)!.head.fields())),
      })
      const answer = await scene.edge.fetch(requestWith(manyFields(3_900, 1)))
      expect([answer.status, await answer.text()]).toEqual([200, '3900 fields, 3900 bytes'])
    })

    test('of an answer, which is a third longer on the way', async () => {
      const head = emptyHead.edit({ removed: [], added: manyFields(700) })
      const gateway = await openGateway(protocol, [], { handler: () => responseOf(200, '', head, undefined) })
      const { source, fields } = await sendTo(gateway, 'http', '/')
      expect([source, sizeOf(fields)]).toEqual(['origin', '700 fields, 700000 bytes'])
    })
  })
})

describe('over http2', () => {
  test.each([
    ['is larger than was promised', manyFields(1_040)],
    ['has more than 4,000 fields', manyFields(4_001, 1)],
  ])('a head that %s is refused, and the connection lives on', async (_, fields) => {
    const { scene } = await openGateway('http2', [], { handler: () => createResponse(200, [], 'fine') })
    expect((await scene.edge.fetch(requestWith(fields))).status).toBe(502)
    expect(await (await scene.edge.fetch(requestFor('/'))).text()).toBe('fine')
    expect(scene.attempts).toEqual([0])
  })

  test('an edge that goes away (GOAWAY) does not end WebSockets', async () => {
    const backend = keep(await startWebSocketBackend())
    const { address, scene } = await openGateway('http2', toBackend(backend.url))
    const socket = await dial(address, '/')
    const { connection } = scene
    connection.goAway()
    await until(() => connection.unregistered)
    await scene.pass(35_000)
    const heard = message(socket)
    socket.send('still here')
    expect(await heard).toBe('still here')
    socket.close(1000)
    await closed(socket)
    await until(() => connection.phase === 'closed')
  })

  test('trailers go both ways', async () => {
    let request = ''
    const backend = keep(
      await startRawBackend(async (peer) => {
        request = await readHead(peer)
        while (!/\r\n0\r\n[^]*\r\n\r\n$/.test(request)) {
          request += new TextDecoder().decode(await peer.bytes(1))
        }
        peer.write(
          'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n',
        )
      }),
    )
    const { address } = await openGateway('http2', toBackend(backend.url))
    const eyeball = await connectRaw(address)
    eyeball.write(
      'POST / HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-After\r\n\r\n' +
        '4\r\nbody\r\n0\r\nX-After: all\r\n\r\n',
    )
    const answer = await eyeball.answer()
    expect(request).toMatch(/0\r\nx-after: all\r\n\r\n$/i)
    expect(answer.text).toBe('ok')
    expect(answer.trailers.map(([name, value]) => [name.toLowerCase(), value])).toEqual([['x-sum', '7']])
    eyeball.destroy()
  })

  test('an upload that nobody reads is held back at its eyeball, and others flow', async () => {
    let made = 0
    let resume: () => void = () => {}
    const endless: Body = {
      length: undefined,
      start(sink) {
        const piece = new Uint8Array(65_536)
        resume = () => {
          do made += piece.length
          while (sink.data(piece, 0, piece.length))
        }
        resume()
      },
      resume: () => resume(),
      cancel() {},
    }
    let seen: Exchange | undefined
    const { scene } = await openGateway('http2', [], {
      handler(request, exchange) {
        const { target, holder } = engineRequest(request)!
        if (target !== '/stuck') return responseOf(200, '', emptyHead, holder.take())
        seen = exchange
        return new Promise<never>(() => {})
      },
    })
    const stuck = scene.edge.fetch(requestFor('/stuck', { body: endless }))
    await until(() => seen !== undefined)
    for (let times = 0; times < 3; times++) {
      const answer = await scene.edge.fetch(requestFor('/', { body: patternBody(3_000_000) }))
      expect(await readPattern(answer.body!)).toBe(3_000_000)
    }
    expect(made).toBeLessThan(16 << 20)
    scene.connection.close()
    await until(() => seen!.gone)
    expect((await stuck).status).toBe(502)
  })

  test('informational answers stay behind the connector, whoever makes them', async () => {
    let seen: Exchange | undefined
    const { address } = await openGateway('http2', [], {
      handler(_, exchange) {
        seen = exchange
        exchange!.inform(103, [['Link', '</a.css>']])
        return createResponse(200, [], 'fine')
      },
    })
    const eyeball = await connectRaw(address)
    eyeball.write(requestText('/'))
    expect(await eyeball.answer()).toMatchObject({ status: 200, text: 'fine', informational: [] })
    expect(seen!.edge).toBe(true)
    eyeball.destroy()
  })

  test('an answer that breaks behind its head is reset, and never looks whole', async () => {
    const body = pushBody()
    const gateway = await openGateway('http2', [], {
      handler: () => responseOf(200, '', emptyHead, body),
    })
    const answer = await gateway.scene.edge.fetch(requestFor('/'))
    body.push('half')
    body.break({ kind: 'upstream', phase: 'body', cause: 'closed', reason: 'gone' })
    await expect(answer.text()).rejects.toThrow()
    expect(gateway.scene.attempts).toEqual([0])
  })
})
