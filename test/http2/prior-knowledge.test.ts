import { expect, test } from 'vitest'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import { createHttp1Server } from '../../src/http1/server.ts'
import { defaultHttp2Limits } from '../../src/http2/limits.ts'
import { createHttp2Server } from '../../src/http2/server.ts'
import { preface } from '../../src/http2/frames.ts'
import { createResponse } from '../../src/http/response.ts'
import type { Address, Handler } from '../../src/runtime.ts'
import { createTimers } from '../../src/timers.ts'
import { connectRaw } from '../support/raw-client.ts'
import { runtime, until } from '../support/runtime.ts'
import { clientOn, patternBody, requestFor } from './rig.ts'

const handler: Handler = async (request, exchange) => {
  const { byteLength } = await request.arrayBuffer()
  return createResponse(200, [], `${exchange!.httpVersion} ${byteLength}`)
}

async function withDoor(use: (address: Address) => Promise<void>): Promise<void> {
  const timers = createTimers(runtime.clock)
  const common = { handler, timers, scheme: 'http' as const }
  const http2 = createHttp2Server({ ...common, limits: defaultHttp2Limits, afterTurn: (f) => runtime.afterTurn(f) })
  const http1 = createHttp1Server({ ...common, limits: defaultHttp1Limits, http2: (socket) => http2.accept(socket) })
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => void http1.accept(socket))
  try {
    await use(listener.address)
    http1.drain()
    http2.drain()
    await until(() => http1.connections.size + http2.connections.size === 0)
  } finally {
    const closed = listener.close()
    http1.destroy()
    http2.destroy()
    await closed
  }
}

test('RFC 9113 section 3.3: one door serves HTTP/2 with prior knowledge and HTTP/1.1', async () => {
  await withDoor(async (address) => {
    const client = clientOn(await runtime.connect(address, { timeoutMs: 5_000 }), createTimers(runtime.clock))
    const raw = await connectRaw(address)
    raw.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    expect((await raw.answer()).text).toBe('1.1 0')
    const response = await client.send(requestFor('/', { body: patternBody(300_000) }), {})
    expect(await response.text()).toBe('2 300000')
    raw.destroy()
  })
})

test('a preface that comes byte by byte is one all the same', async () => {
  await withDoor(async (address) => {
    const raw = await connectRaw(address)
    for (const c of `${preface}\0\0\0\u0004\0\0\0\0\0`) {
      raw.write(c)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    // Their SETTINGS, a WINDOW_UPDATE, and the acknowledgement of ours.
    const bytes = await raw.bytes(9 + 30 + 13 + 9)
    expect(bytes.slice(-9)).toEqual(Uint8Array.of(0, 0, 0, 4, 1, 0, 0, 0, 0))
    raw.destroy()
  })
})

test('a door without HTTP/2 answers 505', async () => {
  const timers = createTimers(runtime.clock)
  const server = createHttp1Server({ handler, timers, scheme: 'http', limits: defaultHttp1Limits })
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => void server.accept(socket))
  const raw = await connectRaw(listener.address)
  raw.write(preface)
  expect((await raw.answer()).status).toBe(505)
  raw.destroy()
  server.destroy()
  await listener.close()
})
