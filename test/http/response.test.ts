import { describe, expect, test } from 'vitest'
import { bodyOfText } from '../../src/http/body.ts'
import { headOf } from '../../src/http/head.ts'
import {
  asEngineResponse,
  createResponse,
  engineResponse,
  responseOf,
  withResponseHeaders,
} from '../../src/http/response.ts'
import type { RawStream } from '../../src/http/upgrade.ts'
import { engine, kinds, platform, type ResponseSpec } from './messages.ts'

const json: ResponseSpec = {
  status: 201,
  fields: [
    ['Content-Type', 'application/json'],
    ['Set-Cookie', 'a=1'],
    ['Set-Cookie', 'b=2'],
  ],
  body: '{"a":1}',
}

describe.each(kinds)('a response of $name kind', (kind) => {
  test('is a Response, and says so', () => {
    expect(kind.response(json)).toBeInstanceOf(Response)
    expect(Object.prototype.toString.call(kind.response(json))).toBe('[object Response]')
  })

  test.each([
    [200, true],
    [204, true],
    [299, true],
    [304, false],
    [404, false],
    [500, false],
  ])('of status %i has ok %s', (status, ok) => {
    const response = kind.response({ status })
    expect([response.status, response.ok, response.redirected, response.type, response.url]).toEqual([
      status,
      ok,
      false,
      'default',
      '',
    ])
  })

  test.each([
    ['text()', (response: Response) => response.text(), '{"a":1}'],
    ['json()', (response: Response) => response.json(), { a: 1 }],
    ['arrayBuffer()', async (response: Response) => (await response.arrayBuffer()).byteLength, 7],
    ['bytes()', async (response: Response) => [...(await response.bytes())].length, 7],
    ['blob()', async (response: Response) => (await response.blob()).type.split(';')[0], 'application/json'],
  ])('gives its body as %s, once', async (_, read, expected) => {
    const response = kind.response(json)
    expect(response.bodyUsed).toBe(false)
    expect(await read(response)).toEqual(expected)
    expect(response.bodyUsed).toBe(true)
    await expect(response.text()).rejects.toThrow(TypeError)
  })

  test('reads multipart form data', async () => {
    const response = kind.response({
      fields: [['content-type', 'multipart/form-data; boundary=B']],
      body: '--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--B--\r\n',
    })
    expect([...(await response.formData())]).toEqual([['a', '1']])
  })

  test('can be cloned, and both have the body and every cookie', async () => {
    const response = kind.response(json)
    const clone = response.clone()
    expect([clone.status, clone.headers.getSetCookie()]).toEqual([201, ['a=1', 'b=2']])
    expect(await Promise.all([clone.text(), response.text()])).toEqual(['{"a":1}', '{"a":1}'])
    expect(() => response.clone()).toThrow(TypeError)
  })

  test('without a body has none', async () => {
    const response = kind.response({ status: 204 })
    expect(response.body).toBeNull()
    expect(await response.text()).toBe('')
    expect(response.clone().body).toBeNull()
  })

  test('withResponseHeaders gives the same response with other headers', async () => {
    const response = withResponseHeaders(kind.response(json), { removed: ['set-cookie'], added: [['X-A', '1']] })
    expect(response).toBeInstanceOf(Response)
    expect([response.status, response.headers.getSetCookie(), response.headers.get('x-a')]).toEqual([201, [], '1'])
    expect(await response.text()).toBe('{"a":1}')
  })
})

describe("an engine's response", () => {
  test('no member is left to the platform, whose own would look for private state', () => {
    const response = engine.response(json) as unknown as Record<string, unknown>
    const foreign = Object.getOwnPropertyNames(Response.prototype).filter(
      (name) => !Object.hasOwn(response, name) && !Object.hasOwn(Object.getPrototypeOf(response) as object, name),
    )
    expect(foreign).toEqual([])
    for (const name of Object.getOwnPropertyNames(Response.prototype)) expect(() => response[name]).not.toThrow()
  })

  test('carries a switch of protocols, also through a change of headers', () => {
    const stream = {} as RawStream
    const response = responseOf(101, 'Switching Protocols', headOf([]), undefined, stream)
    const changed = withResponseHeaders(response, { removed: [], added: [['a', 'b']] })
    expect([changed.status, engineResponse(changed)?.upgrade]).toEqual([101, stream])
  })

  test('keeps its reason phrase', () => {
    const response = responseOf(404, 'Nix da', headOf([]), undefined)
    expect(withResponseHeaders(response, { removed: [], added: [['a', 'b']] }).statusText).toBe('Nix da')
    expect(response.clone().statusText).toBe('Nix da')
  })

  test('that somebody has read cannot be cloned or sent', async () => {
    const response = responseOf(200, '', headOf([]), bodyOfText('x'))
    engineResponse(response)!.holder.take()
    expect(response.bodyUsed).toBe(true)
    expect(() => response.clone()).toThrow(TypeError)
    await expect(response.text()).rejects.toThrow(TypeError)
  })
})

test('createResponse makes a response whose headers stay mutable', async () => {
  const response = createResponse(302, [['Location', 'http://a.example/']], 'moved')
  response.headers.set('x-a', '1')
  expect([response.status, response.headers.get('location'), response.headers.get('x-a')]).toEqual([
    302,
    'http://a.example/',
    '1',
  ])
  expect(await response.text()).toBe('moved')
})

test('a network error is no response that could be sent', () => {
  expect(() => asEngineResponse(Response.error())).toThrow(TypeError)
})

test('a response of the engine is its own engine response', () => {
  const response = engine.response(json)
  expect(asEngineResponse(response)).toBe(response)
  expect(engineResponse(platform.response(json))).toBeUndefined()
})
