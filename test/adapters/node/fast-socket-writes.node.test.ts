import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { openRuntime } from '../../../adapters/node/runtime.ts'
import { defaultHttp1Limits } from '../../../src/http1/limits.ts'
import { createHttp1Server } from '../../../src/http1/server.ts'
import { createTimers } from '../../../src/timers.ts'
import { connectRaw, requestText } from '../../support/raw-client.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const { runtime } = await openRuntime({ fastSockets: true })
const chunkBytes = 1_000_000
const chunks = 12

test('bytes that the system has not taken yet live on, though nobody else refers to them', async () => {
  const handler = (): Response => {
    let made = 0
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (made === chunks) controller.close()
        else controller.enqueue(new Uint8Array(chunkBytes).fill(++made))
      },
    })
    return new Response(body)
  }
  const timers = createTimers(runtime.clock)
  const server = createHttp1Server({ handler, limits: defaultHttp1Limits, timers, scheme: 'http' })
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => void server.accept(socket))
  const client = await connectRaw(listener.address)
  client.pause()
  client.write(requestText('/'))
  for (let i = 0; i < 20; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    collectGarbage()
    // Whatever was freed is put to other use.
    Array.from({ length: 8 }, () => new Uint8Array(chunkBytes).fill(255))
  }
  client.resume()
  const { bytes } = await client.answer()
  expect(bytes.length).toBe(chunks * chunkBytes)
  const wrong = bytes.findIndex((byte, i) => byte !== Math.floor(i / chunkBytes) + 1)
  expect(wrong).toBe(-1)
  client.destroy()
  server.destroy()
  await listener.close()
})
