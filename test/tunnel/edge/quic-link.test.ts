/** The edge's end of QUIC, against connectors that no reference client is. In memory: on every runtime. */
import { describe, expect, test } from 'vitest'
import { errorOf } from '../../../src/errors.ts'
import { responseOf } from '../../../src/http/response.ts'
import { emptyHead } from '../../../src/http/head.ts'
import { engineRequest } from '../../../src/http/request.ts'
import type { QuicStream } from '../../../src/runtime.ts'
import type { ConnectorLink, EdgeControlStream, StreamRequest } from '../../../src/tunnel/edge/link.ts'
import { openQuicLink } from '../../../src/tunnel/edge/quic-link.ts'
import { readQuicRequest, writeQuicFailure, writeQuicResponse } from '../../../src/tunnel/quic-http.ts'
import { createRpcConnection } from '../../../src/tunnel/rpc.ts'
import { unregisterUdpSession } from '../../../src/tunnel/session-manager.ts'
import {
  createOpeningReader,
  readConnectRequest,
  rpcPreface,
  writeConnectRequest,
  writeConnectResponse,
} from '../../../src/tunnel/stream-metadata.ts'
import { pushBody, requestFor } from '../../http2/rig.ts'
import { until } from '../../support/until.ts'
import { createManualTimers } from '../manual-timers.ts'
import { createMemoryQuic, type MemoryQuicEnd } from '../memory-quic.ts'
import { concat } from '../messages.ts'

const encode = (text: string) => new TextEncoder().encode(text)

/** A stream of the edge's, as the connector has it. */
interface Asked {
  readonly stream: QuicStream
  bytes: Uint8Array
  ended: boolean
  reset: boolean
  stopped: boolean
}

interface Scene {
  readonly link: ConnectorLink
  readonly connector: MemoryQuicEnd
  readonly controls: EdgeControlStream[]
  readonly asked: Asked[]
  readonly violations: string[]
  readonly closes: string[]
}

function watch(stream: QuicStream): Asked {
  const asked: Asked = { stream, bytes: new Uint8Array(0), ended: false, reset: false, stopped: false }
  stream.attach({
    data(bytes, start, end) {
      asked.bytes = concat(asked.bytes, bytes.slice(start, end))
      return true
    },
    end: () => void (asked.ended = true),
    drain() {},
    reset: () => void (asked.reset = true),
    stopped: () => void (asked.stopped = true),
  })
  return asked
}

function openLink(): Scene {
  const { client: connector, server } = createMemoryQuic()
  const scene: Omit<Scene, 'link'> = { connector, controls: [], asked: [], violations: [], closes: [] }
  connector.attach({ stream: (stream) => scene.asked.push(watch(stream)), close() {} })
  const link = openQuicLink(
    server,
    { timers: createManualTimers(), report: (violation) => scene.violations.push(violation) },
    { control: (stream) => scene.controls.push(stream), close: (reason) => scene.closes.push(reason) },
  )
  return { ...scene, link }
}

function requestTo(
  target: string,
  more: Partial<StreamRequest> & { body?: ReturnType<typeof pushBody> } = {},
): StreamRequest {
  const { body, kind = 'http', onAbort = () => {} } = more
  const request = requestFor(target, { authority: 'a.example', ...(body ? { method: 'POST', body } : {}) })
  return { kind, request: engineRequest(request)!, onAbort }
}

/** Sends, and waits until the connector has it. */
async function ask(
  scene: Scene,
  request = requestTo('/'),
): Promise<{ asked: Asked; answer: ReturnType<ConnectorLink['send']> }> {
  const before = scene.asked.length
  const answer = scene.link.send(request)
  answer.catch(() => {})
  await until(() => scene.asked.length > before && scene.asked[before]!.bytes.length > 0)
  return { asked: scene.asked[before]!, answer }
}

function requestOf({ bytes }: Asked) {
  const reader = createOpeningReader()
  const taken = reader.push(bytes, 0, bytes.length)
  if (reader.opening?.kind !== 'data') throw new Error('no request')
  const read = readConnectRequest(reader.opening.message)
  return { ...readQuicRequest(read), dest: read.dest, metadata: read.metadata, rest: bytes.slice(taken) }
}

describe('the control stream', () => {
  test('is the first that the connector opens, and is not read before it is wanted', async () => {
    const { link, connector, controls } = openLink()
    const control = await connector.openStream()
    control.write(encode('hello'))
    expect(controls).toEqual([])
    link.start()
    const heard: string[] = []
    controls[0]!.start({
      receive: (bytes, start, end) => heard.push(new TextDecoder().decode(bytes.subarray(start, end))),
      lost: (reason) => heard.push(reason),
    })
    control.end()
    await until(() => heard.length === 2)
    expect(heard).toEqual(['hello', 'the connector ended the control stream'])
  })

  test('an edge that leaves closes when the connector has ended it, not before', async () => {
    const { link, connector, controls, closes } = openLink()
    link.start()
    const control = await connector.openStream()
    control.write(encode('hello'))
    controls[0]!.start({ receive() {}, lost() {} })
    link.goAway()
    await Promise.resolve()
    expect(closes).toEqual([])
    control.end()
    await until(() => closes.length === 1)
  })
})

describe('other streams of the connector', () => {
  test.each([
    ['an unknown signature', encode('GET / HTTP/1.1\r\n\r\n'), 'streams: a stream with an unknown signature'],
    [
      'a request',
      writeConnectRequest({ dest: 'https://a/', type: 'http', metadata: [] }),
      'streams: a data stream of its own',
    ],
  ])('%s is refused, and noticed', async (_, bytes, violation) => {
    const { link, connector, violations, closes } = openLink()
    link.start()
    ;(await connector.openStream()).write(encode('control'))
    const stream = await connector.openStream()
    const seen = watch(stream)
    stream.write(bytes)
    await until(() => seen.reset && seen.stopped)
    expect([violations, closes]).toEqual([[violation], []])
  })

  test('calls are answered', async () => {
    const { link, connector, violations } = openLink()
    link.start()
    ;(await connector.openStream()).write(encode('control'))
    const stream = await connector.openStream()
    stream.write(rpcPreface)
    const rpc = createRpcConnection(
      { write: (message) => void stream.write(message), end: () => stream.end() },
      { timers: createManualTimers() },
    )
    stream.attach({
      data(bytes, start, end) {
        rpc.receive(bytes, start, end)
        return true
      },
      end: () => rpc.lost('ended'),
      drain() {},
      reset: () => rpc.lost('reset'),
      stopped() {},
    })
    const session = { sessionId: new Uint8Array(16), message: 'over' }
    await expect(rpc.call(unregisterUdpSession, session, 5_000)).rejects.toThrow(/carries no UDP/)
    expect(violations).toEqual([])
  })
})

describe('requests', () => {
  test('an absolute URL, the method, the host, and fields in canonical case', async () => {
    const { asked } = await ask(openLink(), requestTo('/a%2Fb?c=d'))
    expect(requestOf(asked)).toMatchObject({
      method: 'GET',
      dest: 'https://a.example/a%2Fb?c=d',
      authority: 'a.example',
    })
    expect(asked.ended).toBe(true)
  })

  test('a body of unknown length is announced as chunked, and goes raw', async () => {
    const body = pushBody()
    const { asked } = await ask(openLink(), requestTo('/', { body }))
    body.push('raw')
    body.finish()
    await until(() => asked.ended)
    const { metadata, rest } = requestOf(asked)
    expect(metadata).toContainEqual(['HttpHeader:Transfer-Encoding', 'chunked'])
    expect(new TextDecoder().decode(rest)).toBe('raw')
  })

  test('a body that breaks is no end', async () => {
    const body = pushBody()
    const { asked, answer } = await ask(openLink(), requestTo('/', { body }))
    body.push('half')
    body.break({ kind: 'downstream-gone' })
    await until(() => asked.reset)
    expect(asked.ended).toBe(false)
    await expect(answer).rejects.toThrow()
  })

  test('an eyeball that leaves takes its stream with it, in both directions', async () => {
    let leave: () => void = () => {}
    const { asked, answer } = await ask(openLink(), requestTo('/', { onAbort: (listener) => (leave = listener) }))
    leave()
    await until(() => asked.stopped)
    expect(errorOf(await answer.catch((error: unknown) => error))).toEqual({ kind: 'downstream-gone' })
  })

  test('a connector that is gone never had the request', async () => {
    const { link, connector } = openLink()
    connector.close()
    const error = errorOf(await link.send(requestTo('/')).catch((thrown: unknown) => thrown))
    expect(error).toMatchObject({ kind: 'upstream', phase: 'send', stale: true, unprocessed: true })
  })
})

describe('answers', () => {
  test.each([
    ['nothing', (asked: Asked) => asked.stream.end(), 'answer: no answer before the end'],
    ['a call', (asked: Asked) => asked.stream.write(rpcPreface), 'answer: a call instead of an answer'],
    [
      'garbage',
      (asked: Asked) => asked.stream.write(encode('HTTP/1.1 200 OK')),
      'answer: an answer that cannot be read',
    ],
    [
      'no status',
      (asked: Asked) => asked.stream.write(writeConnectResponse({ error: '', metadata: [] })),
      'answer: the response has no status',
    ],
  ])('%s: the request has failed, and it is noticed', async (_, reply, violation) => {
    const scene = openLink()
    const { asked, answer } = await ask(scene)
    reply(asked)
    const error = errorOf(await answer.catch((thrown: unknown) => thrown))
    expect(error).toMatchObject({ kind: 'upstream', phase: 'head', cause: 'malformed' })
    expect(scene.violations).toEqual([violation])
  })

  test.each([
    ['a failure', false],
    ['a limit', true],
  ])('%s of the connector is said to be its own', async (_, rateLimited) => {
    const scene = openLink()
    const { asked, answer } = await ask(scene)
    asked.stream.write(writeConnectResponse(writeQuicFailure('no', rateLimited)))
    expect(await answer).toMatchObject({ source: 'connector', rateLimited, status: 502, body: undefined })
    expect(scene.violations).toEqual([])
  })

  test.each([
    ['reset', (asked: Asked) => asked.stream.reset()],
    ['ended before its length', (asked: Asked) => asked.stream.end()],
  ])('a body that is %s is broken', async (_, breakOff) => {
    const { asked, answer } = await ask(openLink())
    asked.stream.write(writeConnectResponse(writeQuicResponse(200, [['Content-Length', '10']])))
    asked.stream.write(encode('half'))
    const { body } = await answer
    breakOff(asked)
    await expect(responseOf(200, '', emptyHead, body).text()).rejects.toThrow()
  })

  test('a stream that the connector breaks off before its answer', async () => {
    const scene = openLink()
    const { asked, answer } = await ask(scene)
    asked.stream.reset()
    const error = errorOf(await answer.catch((thrown: unknown) => thrown))
    expect(error).toMatchObject({ kind: 'upstream', phase: 'head', cause: 'closed' })
    expect(scene.violations).toEqual([])
  })

  test('an acknowledged TCP stream carries bytes both ways', async () => {
    const body = pushBody()
    const scene = openLink()
    const { asked, answer } = await ask(scene, requestTo('/', { kind: 'tcp', body }))
    asked.stream.write(writeConnectResponse({ error: '', metadata: [] }))
    asked.stream.write(encode('pong'))
    asked.stream.end()
    const { body: back } = await answer
    expect(await responseOf(200, '', emptyHead, back).text()).toBe('pong')
    body.push('ping')
    await until(() => new TextDecoder().decode(asked.bytes).endsWith('ping'))
  })
})
