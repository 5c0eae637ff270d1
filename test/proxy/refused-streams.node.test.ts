import { once } from 'node:events'
import { constants, createServer, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { maxRepeatedBytes } from '../../src/http/repeatable.ts'
import { startProxy } from '../support/proxy.ts'
import { ask } from '../support/raw-client.ts'

/** A backend over h2c that refuses the first stream once some of its body is there, and echoes every other. */
async function startRefusing(): Promise<{ port: number; readonly asked: number; close(): void }> {
  const server = createServer()
  let asked = 0
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {})
    if (++asked === 1) stream.once('data', () => stream.close(constants.NGHTTP2_REFUSED_STREAM))
    else {
      stream.respond({ ':status': 200 })
      stream.pipe(stream)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    get asked() {
      return asked
    },
    close: () => void server.close(),
  }
}

test.each([
  ['a small body', 1_000, 200, 2],
  ['a body that has gone out in part alone', maxRepeatedBytes, 200, 2],
  ['a body of which too much has gone out', 3_000_000, 503, 1],
])('RFC 9113 section 8.7: a POST that the backend refused is sent again with %s', async (_, size, status, asked) => {
  const backend = await startRefusing()
  await using rig = await startProxy([
    { backends: [{ url: `http://127.0.0.1:${backend.port}`, weight: 1, protocol: 'h2c' }] },
  ])
  const body = 'x'.repeat(size)
  const answer = await ask(rig.address, '/', { method: 'POST', body })
  expect([answer.status, answer.text === body, backend.asked]).toEqual([status, status === 200, asked])
  expect((await ask(rig.address, '/', { method: 'POST', body: 'next' })).text).toBe('next')
  rig.proxy.close()
  backend.close()
})
