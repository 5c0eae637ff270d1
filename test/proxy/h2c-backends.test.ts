import { expect, test } from 'vitest'
import { emptyHead, headOf } from '../../src/http/head.ts'
import { engineRequest } from '../../src/http/request.ts'
import { createResponse, responseOf } from '../../src/http/response.ts'
import type { Handler } from '../../src/runtime.ts'
import type { Http2Limits } from '../../src/http2/limits.ts'
import { patternBody, pushBody, readPattern, requestFor, startHttp2, type Http2Rig } from '../http2/rig.ts'
import { startProxy, type Rig } from '../support/proxy.ts'
import { until } from '../support/until.ts'

async function withBackend(
  handler: Handler,
  limits: Partial<Http2Limits>,
  use: (rig: Rig, backend: Http2Rig) => Promise<void>,
): Promise<void> {
  await using backend = await startHttp2(handler, limits)
  await using rig = await startProxy([
    { backends: [{ url: `http://127.0.0.1:${backend.port}`, weight: 1, protocol: 'h2c' }] },
  ])
  await use(rig, backend)
}

test('Gateway API appProtocol kubernetes.io/h2c: requests share one HTTP/2 connection to the backend', async () => {
  const handler: Handler = async (request, exchange) => {
    const { byteLength } = await request.arrayBuffer()
    return createResponse(200, [], `${exchange!.httpVersion} ${engineRequest(request)!.target} ${byteLength}`)
  }
  await withBackend(handler, {}, async ({ proxy }, backend) => {
    const send = async (i: number): Promise<string> =>
      (await proxy.fetch(requestFor(`/${i}`, { body: patternBody(i * 100) }))).text()
    expect(await Promise.all(Array.from({ length: 50 }, (_, i) => send(i)))).toEqual(
      Array.from({ length: 50 }, (_, i) => `2 /${i} ${i * 100}`),
    )
    expect(backend.server.connections.size).toBe(1)
  })
})

test('a backend that allows few streams gets more connections', async () => {
  const handler: Handler = async () => {
    await new Promise((resolve) => setTimeout(resolve, 10))
    return createResponse(200, [], 'ok')
  }
  await withBackend(handler, { maxConcurrentStreams: 4 }, async ({ proxy }, backend) => {
    expect((await proxy.fetch(requestFor('/'))).status).toBe(200)
    const answers = await Promise.all(Array.from({ length: 20 }, async () => proxy.fetch(requestFor('/'))))
    for (const answer of answers) expect(await answer.text()).toBe('ok')
    expect(backend.server.connections.size).toBe(5)
  })
})

test('trailers and streaming go both ways at once, as gRPC needs it', async () => {
  const handler: Handler = (request) => responseOf(200, '', emptyHead, engineRequest(request)!.holder.take())
  await withBackend(handler, {}, async (rig) => {
    await using front = await startHttp2(rig.proxy.fetch)
    const client = await front.connect()
    const body = pushBody()
    const response = await client.send(requestFor('/', { body, fields: [['TE', 'trailers']] }), {})
    const reader = response.body!.getReader()
    for (const text of ['one', 'two']) {
      body.push(text)
      expect(new TextDecoder().decode((await reader.read()).value)).toBe(text)
    }
    body.finish(headOf([['Grpc-Status', '0']]))
    expect((await reader.read()).done).toBe(true)
    const large = await client.send(requestFor('/', { body: patternBody(4_000_000) }), {})
    expect(await readPattern(large.body!)).toBe(4_000_000)
  })
})

test('a backend that goes away is dialled anew', async () => {
  await withBackend(
    () => createResponse(200, [], 'ok'),
    {},
    async ({ proxy }, backend) => {
      expect(await (await proxy.fetch(requestFor('/'))).text()).toBe('ok')
      for (const connection of backend.server.connections) connection.destroy()
      await until(() => backend.server.connections.size === 0)
      expect(await (await proxy.fetch(requestFor('/'))).text()).toBe('ok')
    },
  )
})
