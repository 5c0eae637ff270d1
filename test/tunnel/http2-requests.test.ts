import { describe, expect, test } from 'vitest'
import { type ProxyError } from '../../src/errors.ts'
import { type Body, bodyOfText } from '../../src/http/body.ts'
import { emptyHead, headOf } from '../../src/http/head.ts'
import { createRequest } from '../../src/http/request.ts'
import { asEngineResponse, createResponse, responseOf } from '../../src/http/response.ts'
import { type RawStream } from '../../src/http/upgrade.ts'
import { type Exchange, type Field, type Handler, type Outcome } from '../../src/runtime.ts'
import { silentLog } from '../../src/telemetry.ts'
import { type ControlStream } from '../../src/tunnel/edge-link.ts'
import { createEdgeRequests } from '../../src/tunnel/http2-requests.ts'
import { createRemoteConfiguration } from '../../src/tunnel/remote-configuration.ts'
import { createRequestCounts } from '../../src/tunnel/request-counts.ts'
import { deserializeFields } from '../../src/tunnel/response-headers.ts'

const upgradeField = 'cf-cloudflared-proxy-connection-upgrade'

interface Asked {
  readonly method?: string
  readonly target?: string
  readonly fields?: readonly Field[]
  readonly body?: Body | undefined
}

interface Scene {
  ask(asked: Asked): Promise<Answer>
  readonly controls: ControlStream[]
  readonly counts: ReturnType<typeof createRequestCounts>
  /** Ends the exchange of the last request. */
  finish(outcome: Partial<Outcome>): void
  readonly idle: () => number
  readonly closeSessions: () => void
}

interface Answer {
  readonly status: number
  readonly fields: readonly Field[]
  readonly meta: string | undefined
  /** What the eyeball gets; undefined where nothing is serialised. */
  readonly serialized: readonly Field[] | undefined
  readonly body: Body | undefined
  text(): Promise<string>
}

function createScene(handler: Handler): Scene {
  const controls: ControlStream[] = []
  const counts = createRequestCounts()
  let idle = 0
  let finishes: ((outcome: Outcome) => void)[] = []
  const requests = createEdgeRequests({
    connIndex: 1,
    handler,
    configuration: createRemoteConfiguration(() => {}),
    counts,
    log: silentLog,
    onControl: (stream) => controls.push(stream),
    onIdle: () => idle++,
  })
  return {
    controls,
    counts,
    idle: () => idle,
    closeSessions: () => requests.closeSessions(),
    finish(outcome) {
      for (const listener of finishes) listener({ status: 200, bytesReceived: 0, bytesSent: 0, ...outcome })
    },
    async ask({ method = 'GET', target = '/', fields = [], body }) {
      finishes = []
      const exchange: Exchange = {
        scheme: 'https',
        httpVersion: '2',
        peer: { host: '198.51.100.1', port: 7844 },
        local: { host: '192.168.1.1', port: 50_000 },
        startedAtMs: 0,
        awaitsContinue: false,
        gone: false,
        inform() {},
        onAbort() {},
        onFinish: (listener) => finishes.push(listener),
      }
      const request = createRequest({
        method,
        target,
        authority: 'shop.example.com',
        scheme: 'https',
        head: headOf(fields),
        body,
        exchange,
      })
      const response = asEngineResponse(await requests.handler(request, exchange))
      const all = response.head.fields()
      const valueOf = (name: string) => all.find(([other]) => other === name)?.[1]
      const packed = valueOf('cf-cloudflared-response-headers')
      return {
        status: response.status,
        fields: all,
        meta: valueOf('cf-cloudflared-response-meta'),
        serialized: packed === undefined ? undefined : deserializeFields(packed),
        body: response.holder.untouched,
        text: () => response.text(),
      }
    },
  }
}

const encode = (text: string) => new TextEncoder().encode(text)

describe('requests of eyeballs', () => {
  test('the handler sees the eyeball’s request, and an exchange with the edge', async () => {
    let seen: unknown
    const { ask } = createScene((request, exchange) => {
      seen = {
        url: request.url,
        method: request.method,
        names: [...request.headers.keys()],
        edge: exchange!.edge,
        scheme: exchange!.scheme,
        upgrade: exchange!.upgrade,
      }
      return createResponse(200, [])
    })
    await ask({
      method: 'PURGE',
      target: '/a%2Fb?x=1',
      fields: [
        ['cf-connecting-ip', '203.0.113.9'],
        ['cf-trace-id', '1:2:0:1'],
        ['cf-visitor', '{"scheme":"http"}'],
      ],
    })
    expect(seen).toEqual({
      url: 'http://shop.example.com/a%2Fb?x=1',
      method: 'PURGE',
      names: ['cf-connecting-ip', 'cf-visitor'],
      edge: true,
      scheme: 'http',
      upgrade: undefined,
    })
  })

  test('an answer: its fields serialised, its length outside as well, and who answered', async () => {
    const { ask } = createScene(() =>
      createResponse(
        404,
        [
          ['Set-Cookie', 'a=1'],
          ['Set-Cookie', 'b=2'],
          ['cf-int-secret', 'x'],
        ],
        'not here',
      ),
    )
    const answer = await ask({})
    expect(answer.status).toBe(404)
    expect(answer.serialized).toEqual([
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b=2'],
      ['Content-Length', '8'],
    ])
    expect(answer.meta).toBe('{"src":"origin"}')
    expect(answer.fields.at(-1)).toEqual(['content-length', '8'])
    expect(await answer.text()).toBe('not here')
  })

  test('fields longer than a head may be arrive whole', async () => {
    const { ask } = createScene(() => createResponse(200, [['X-Long', 'x'.repeat(120_000)]]))
    const { serialized } = await ask({})
    expect(serialized).toContainEqual(['X-Long', 'x'.repeat(120_000)])
  })

  test.each([
    ['an answer to HEAD keeps its length', 'HEAD', 200, [['Content-Length', '512']], undefined, ['512', '512']],
    ['a 304 keeps its length', 'GET', 304, [['Content-Length', '512']], undefined, ['512', '512']],
    ['an empty answer has one', 'GET', 200, [], undefined, ['0', '0']],
    ['a false length is put right', 'GET', 200, [['Content-Length', '7']], 'hello', ['5', '5']],
    ['a body whose end is marked has none', 'GET', 200, [['Content-Length', '7']], null, [undefined, undefined]],
  ] as const)('%s', async (_, method, status, fields, text, [inside, outside]) => {
    const marked: Body = { ...bodyOfText('marked'), length: undefined }
    const body = text === undefined ? undefined : text === null ? marked : bodyOfText(text)
    const { ask } = createScene(() => responseOf(status, '', headOf(fields), body))
    const answer = await ask({ method })
    expect(answer.serialized!.find(([name]) => name === 'Content-Length')?.[1]).toBe(inside)
    expect(answer.fields.find(([name]) => name === 'content-length')?.[1]).toBe(outside)
    expect(answer.body === undefined).toBe(status === 304 || method === 'HEAD' || text === undefined)
  })

  test('this hop’s own fields end here', async () => {
    const { ask } = createScene(() =>
      createResponse(200, [
        ['Connection', 'keep-alive'],
        ['Keep-Alive', 'timeout=5'],
        ['Upgrade', 'h2c'],
        ['X-Kept', '1'],
      ]),
    )
    expect((await ask({})).serialized).toEqual([
      ['X-Kept', '1'],
      ['Content-Length', '0'],
    ])
  })

  test.each([
    ['throws', () => Promise.reject(new Error('secret detail'))],
    ['answers 101 to no WebSocket', () => responseOf(101, '', emptyHead, undefined)],
    ['answers with no final status', () => responseOf(103, '', emptyHead, undefined)],
  ])('a handler that %s: 502 of the connector, with nothing else', async (_, handler) => {
    const { ask, counts } = createScene(handler)
    const answer = await ask({})
    expect(answer).toMatchObject({ status: 502, meta: '{"src":"cloudflared"}', serialized: undefined, body: undefined })
    expect(answer.fields).toHaveLength(1)
    expect(counts.errors).toBe(1)
  })

  test('requests are counted while they last', async () => {
    const { ask, counts, finish, idle } = createScene(() => createResponse(200, []))
    await ask({})
    expect(counts).toMatchObject({ total: 1, concurrent: 1 })
    finish({ status: 200 })
    expect(counts.concurrent).toBe(0)
    expect(idle()).toBe(1)
    expect([...counts.byStatus]).toEqual([[200, 1]])
    expect([...counts.mostConcurrent]).toEqual([[1, 1]])
  })
})

describe('WebSockets', () => {
  interface Backend extends RawStream {
    readonly heard: string[]
    say(text: string): void
    hangUp(): void
  }

  function createBackend(): Backend {
    const heard: string[] = []
    let sink: Parameters<Body['start']>[0] | undefined
    return {
      heard,
      say: (text) => void sink!.data(encode(text), 0, text.length),
      hangUp: () => sink!.end(),
      incoming: {
        length: undefined,
        start: (to) => void (sink = to),
        resume() {},
        cancel: () => heard.push('cancelled'),
      },
      outgoing: {
        data(bytes, start, end) {
          heard.push(new TextDecoder().decode(bytes.subarray(start, end)))
          return true
        },
        end: () => heard.push('end'),
        fail: () => heard.push('fail'),
      },
      onWritable() {},
    }
  }

  /** The body of a request that its sender pushes. */
  function createPushed(): { body: Body; push(text: string): void; end(): void } {
    let sink: Parameters<Body['start']>[0] | undefined
    return {
      body: { length: undefined, start: (to) => void (sink = to), resume() {}, cancel() {} },
      push: (text) => void sink!.data(encode(text), 0, text.length),
      end: () => sink!.end(),
    }
  }

  const handshake: readonly Field[] = [
    [upgradeField, 'websocket'],
    ['sec-websocket-key', 'dGhlIHNhbXBsZSBub25jZQ=='],
    ['sec-websocket-protocol', 'chat'],
  ]

  test('what the edge took off is put back, 101 goes as 200, and bytes go both ways', async () => {
    const backend = createBackend()
    const eyeball = createPushed()
    let seen: Record<string, unknown> = {}
    let outcome: Outcome | undefined
    const { ask, finish } = createScene((request, exchange) => {
      seen = {
        upgrade: exchange!.upgrade,
        version: request.headers.get('sec-websocket-version'),
        own: request.headers.get(upgradeField),
        body: request.body,
      }
      exchange!.onFinish((end) => (outcome = end))
      const head = headOf([
        ['Upgrade', 'websocket'],
        ['Sec-WebSocket-Accept', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='],
        ['Connection', 'Upgrade'],
      ])
      return responseOf(101, '', head, undefined, backend)
    })
    const answer = await ask({ fields: handshake, body: eyeball.body })
    expect(seen).toEqual({ upgrade: 'websocket', version: '13', own: null, body: null })
    expect(answer).toMatchObject({ status: 200, meta: '{"src":"origin"}' })
    expect(answer.serialized).toEqual([
      ['Connection', 'Upgrade'],
      ['Upgrade', 'websocket'],
      ['Sec-WebSocket-Accept', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='],
    ])
    const said: string[] = []
    answer.body!.start({
      data(bytes, start, end) {
        said.push(new TextDecoder().decode(bytes.subarray(start, end)))
        return true
      },
      end: () => said.push('end'),
      fail: () => said.push('fail'),
    })
    eyeball.push('ping')
    backend.say('pong')
    backend.hangUp()
    expect(backend.heard).toEqual(['ping', 'end'])
    expect(said).toEqual(['pong', 'end'])
    finish({ status: 200 })
    expect(outcome?.status).toBe(101)
  })

  test('when the connector leaves, the client is told to go elsewhere', async () => {
    const { ask, closeSessions } = createScene(() => responseOf(101, '', emptyHead, undefined, createBackend()))
    const answer = await ask({ fields: handshake, body: createPushed().body })
    const said: number[] = []
    answer.body!.start({
      data: (bytes, start, end) => said.push(...bytes.subarray(start, end)) > 0,
      end() {},
      fail() {},
    })
    closeSessions()
    expect(said).toEqual([0x88, 2, 0x03, 0xe9])
  })

  test('any other answer of the backend goes as it is', async () => {
    const { ask } = createScene(() => createResponse(403, [], 'no'))
    const answer = await ask({ fields: handshake, body: createPushed().body })
    expect(answer).toMatchObject({ status: 403, meta: '{"src":"origin"}' })
    expect(await answer.text()).toBe('no')
  })

  test('an eyeball that leaves ends the backend’s half', async () => {
    const backend = createBackend()
    const { ask } = createScene(() => responseOf(101, '', emptyHead, undefined, backend))
    const answer = await ask({ fields: handshake, body: createPushed().body })
    const gone: ProxyError = { kind: 'downstream-gone' }
    answer.body!.cancel(gone)
    expect(backend.heard).toEqual(['cancelled'])
  })
})

describe('what is not for the routes', () => {
  const unexpected: Handler = () => {
    throw new Error('not for the routes')
  }

  test('the control stream: 200 at once, bytes both ways, no field of an answer', async () => {
    let sink: Parameters<Body['start']>[0] | undefined
    const body: Body = { length: undefined, start: (to) => void (sink = to), resume() {}, cancel() {} }
    const { ask, controls } = createScene(unexpected)
    const answer = await ask({ fields: [[upgradeField, 'control-stream']], body })
    expect(answer).toMatchObject({ status: 200, fields: [] })
    const sent: Uint8Array[] = []
    let ended = false
    answer.body!.start({
      data: (bytes, start, end) => sent.push(bytes.slice(start, end)) > 0,
      end: () => (ended = true),
      fail() {},
    })
    await Promise.resolve()
    const received: Uint8Array[] = []
    const lost: string[] = []
    controls[0]!.start({
      receive: (bytes, start, end) => received.push(bytes.slice(start, end)),
      lost: (reason) => lost.push(reason),
    })
    controls[0]!.write(Uint8Array.of(1, 2))
    sink!.data(Uint8Array.of(3, 4), 0, 2)
    expect(sent).toEqual([Uint8Array.of(1, 2)])
    expect(received).toEqual([Uint8Array.of(3, 4)])
    sink!.end()
    expect(lost).toHaveLength(1)
    controls[0]!.end()
    expect(ended).toBe(true)
  })

  test('a second control stream is refused', async () => {
    const { ask, controls } = createScene(unexpected)
    await ask({ fields: [[upgradeField, 'control-stream']] })
    expect(await ask({ fields: [[upgradeField, 'control-stream']] })).toMatchObject({ status: 502 })
    await Promise.resolve()
    expect(controls).toHaveLength(1)
  })

  test.each([
    ['a configuration', '{"version":2,"config":{"ingress":[]}}', 200, '{"lastAppliedVersion":2,"err":null}'],
    ['no JSON', '{"version"', 502, ''],
    ['no configuration', '[]', 502, ''],
  ])('a push of %s', async (_, pushed, status, answered) => {
    const { ask } = createScene(unexpected)
    const answer = await ask({
      method: 'PUT',
      fields: [[upgradeField, 'update-configuration']],
      body: bodyOfText(pushed),
    })
    expect(answer.status).toBe(status)
    expect(answer.serialized).toBeUndefined()
    expect(answer.meta).toBe(status === 200 ? undefined : '{"src":"cloudflared"}')
    expect(await answer.text()).toBe(answered)
  })

  test('private network traffic is refused', async () => {
    const { ask } = createScene(unexpected)
    expect(await ask({ fields: [['cf-cloudflared-proxy-src', '10.0.0.1:5']] })).toMatchObject({
      status: 502,
      meta: '{"src":"cloudflared"}',
    })
  })
})
