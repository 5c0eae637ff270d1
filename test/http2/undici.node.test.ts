/** undici over HTTP/2 without TLS: a client with framing and header compression that is not ours. */
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { H2CClient } from 'undici8'
import { bodyOfBytes } from '../../src/http/body.ts'
import { emptyHead } from '../../src/http/head.ts'
import { engineRequest } from '../../src/http/request.ts'
import { createResponse, responseOf } from '../../src/http/response.ts'
import type { Handler } from '../../src/runtime.ts'
import { patternBody, patternByte, readPattern, startHttp2 } from './rig.ts'

const answers: Handler = (request) => {
  const { pathname } = new URL(request.url)
  if (pathname === '/echo') return responseOf(200, '', emptyHead, engineRequest(request)!.holder.take())
  if (pathname === '/large') return responseOf(200, '', emptyHead, patternBody(8 << 20))
  if (pathname === '/fields')
    return createResponse(
      203,
      [
        ['Set-Cookie', 'a=1'],
        ['Set-Cookie', 'b=2'],
        ['X-Method', request.method],
        ['X-Asked', request.headers.get('x-asked') ?? 'nothing'],
      ],
      'fields',
    )
  return responseOf(200, '', emptyHead, bodyOfBytes(new TextEncoder().encode(request.url)))
}

test('undici, our server: fields, targets, statuses', async () => {
  await using rig = await startHttp2(answers)
  const client = new H2CClient(`http://127.0.0.1:${rig.port}`)
  await using _closing = { [Symbol.asyncDispose]: () => client.destroy() }
  const answer = await client.request({ method: 'PATCH', path: '/fields', headers: { 'x-asked': 'a, b' }, body: 'x' })
  expect(answer.statusCode).toBe(203)
  expect(answer.headers).toMatchObject({ 'set-cookie': ['a=1', 'b=2'], 'x-method': 'PATCH', 'x-asked': 'a, b' })
  expect(await answer.body.text()).toBe('fields')
  const target = await client.request({ method: 'GET', path: '/a%2Fb/../c?x=%20&y' })
  expect(await target.body.text()).toBe(`http://127.0.0.1:${rig.port}/c?x=%20&y`)
})

test('undici, our server: bodies both ways, many at once', async () => {
  await using rig = await startHttp2(answers)
  const client = new H2CClient(`http://127.0.0.1:${rig.port}`, { pipelining: 100 })
  await using _closing = { [Symbol.asyncDispose]: () => client.destroy() }
  const bytes = Uint8Array.from({ length: 1 << 20 }, (_, i) => patternByte(i))
  const pieces = function* (): Generator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 10_000) yield bytes.subarray(at, at + 10_000)
  }
  const sent = Array.from({ length: 20 }, async (_, i) => {
    const body = i % 2 === 0 ? bytes : Readable.from(pieces())
    const answer = await client.request({ method: 'POST', path: '/echo', body })
    return readPattern(Readable.toWeb(answer.body) as ReadableStream<Uint8Array>)
  })
  expect(await Promise.all(sent)).toEqual(sent.map(() => bytes.length))
  const large = await client.request({ method: 'GET', path: '/large' })
  expect(await readPattern(Readable.toWeb(large.body) as ReadableStream<Uint8Array>)).toBe(8 << 20)
})
