import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MalformedMessageError } from '../../src/tunnel/capnp.ts'
import {
  canonicalName,
  type QuicBody,
  readQuicRequest,
  readQuicResponse,
  writeQuicFailure,
  writeQuicRequest,
  writeQuicResponse,
} from '../../src/tunnel/quic-http.ts'
import {
  type ConnectRequest,
  createOpeningReader,
  readConnectRequest,
  readConnectResponse,
  rpcPreface,
  writeConnectRequest,
  writeConnectResponse,
} from '../../src/tunnel/stream-metadata.ts'
import { connectRequest, connectResponse } from './arbitraries.ts'
import { concat, segmentsOf } from './messages.ts'
import { fromHex, vectors } from './vectors.ts'

const request: ConnectRequest = {
  dest: 'https://example.com/a?b=c',
  type: 'http',
  metadata: [
    ['HttpMethod', 'GET'],
    ['HttpHost', 'example.com'],
    ['HttpHeader:Cf-Ray', '123'],
  ],
}

describe('a request', () => {
  test('method, host, path and fields are where they belong', () => {
    expect(readQuicRequest(request)).toEqual({
      method: 'GET',
      authority: 'example.com',
      scheme: 'https',
      target: '/a?b=c',
      fields: [['Cf-Ray', '123']],
      isWebSocket: false,
      body: { kind: 'none' },
    })
  })

  test.each([
    ['https://example.com/a?b=c', 'https', '/a?b=c'],
    ['http://example.com', 'http', '/'],
    ['HTTPS://other.example?x', 'https', '/?x'],
    ['/ok', undefined, '/ok'],
    ['/a//b/%2F/../c?d=https://e/', undefined, '/a//b/%2F/../c?d=https://e/'],
    ['https://example.com/a#fragment', 'https', '/a'],
    ['*', undefined, '*'],
  ])('destination %j: scheme %s, target %s, the host from the metadata', (dest, scheme, target) => {
    expect(readQuicRequest({ ...request, dest })).toMatchObject({ scheme, target, authority: 'example.com' })
  })

  test("without HttpHost the host is the destination's; without HttpMethod it is GET", () => {
    expect(readQuicRequest({ ...request, metadata: [] })).toMatchObject({ authority: 'example.com', method: 'GET' })
  })

  test.each([
    ['a method in lower case stays so', [['HttpMethod', 'get']], { method: 'get' }],
    ['an empty method is GET', [['HttpMethod', '']], { method: 'GET' }],
    [
      'of two methods the last one counts',
      [
        ['HttpMethod', 'PUT'],
        ['HttpMethod', 'POST'],
      ],
      { method: 'POST' },
    ],
    [
      'repeated fields stay repeated',
      [
        ['HttpHeader:A', '1'],
        ['HttpHeader:A', '2'],
      ],
      {
        fields: [
          ['A', '1'],
          ['A', '2'],
        ],
      },
    ],
    [
      'other keys are no fields',
      [
        ['FlowID', 'x'],
        ['cf-trace-id', 'y'],
      ],
      { fields: [] },
    ],
    [
      "the upgrade field is the edge's",
      [['HttpHeader:Cf-Cloudflared-Proxy-Connection-Upgrade', 'websocket']],
      { fields: [] },
    ],
    [
      'a Host field is not another host',
      [['HttpHeader:Host', 'evil.example']],
      { fields: [], authority: 'example.com' },
    ],
  ] as const)('%s', (_, metadata, expected) => {
    expect(readQuicRequest({ ...request, metadata })).toMatchObject(expected)
  })

  test.each<[string, [string, string][], QuicBody]>([
    ['a length', [['Content-Length', '24']], { kind: 'length', bytes: 24 }],
    ['a length of 0', [['Content-Length', '0']], { kind: 'none' }],
    ['no length', [], { kind: 'none' }],
    ['no length but chunked: raw bytes to the end', [['Transfer-Encoding', 'chunked']], { kind: 'to-end' }],
    ['gzip,chunked', [['Transfer-Encoding', 'gzip,chunked']], { kind: 'to-end' }],
    [
      'a length and chunked: the length',
      [
        ['Content-Length', '5'],
        ['Transfer-Encoding', 'chunked'],
      ],
      { kind: 'length', bytes: 5 },
    ],
    [
      'the same length twice',
      [
        ['Content-Length', '5'],
        ['content-length', '5'],
      ],
      { kind: 'length', bytes: 5 },
    ],
    ['a coding that is not chunked', [['Transfer-Encoding', 'gzip']], { kind: 'none' }],
  ])('body with %s', (_, fields, body) => {
    const read = readQuicRequest({ ...request, metadata: fields.map(([name, value]) => [`HttpHeader:${name}`, value]) })
    expect(read).toMatchObject({ body })
    expect(JSON.stringify(read)).not.toMatch(/transfer-encoding/i)
  })

  test('a WebSocket keeps its stream whatever the length says', () => {
    const metadata = [['HttpHeader:Content-Length', '0']] as const
    expect(readQuicRequest({ ...request, type: 'websocket', metadata })).toMatchObject({
      isWebSocket: true,
      body: { kind: 'to-end' },
    })
  })

  test.each<[string, Partial<ConnectRequest>, string]>([
    ['TCP', { type: 'tcp' }, 'unsupported connection type'],
    ['a type from the future', { type: undefined }, 'unsupported connection type'],
    ['a header key without name', { metadata: [['HttpHeader', 'x']] }, 'header key is malformed'],
    ['a header key with an empty name', { metadata: [['HttpHeader:', 'x']] }, 'header key is malformed'],
    ['a header key of three parts', { metadata: [['HttpHeader:a:b', 'x']] }, 'header key is malformed'],
    ['a header key with something before it', { metadata: [['XHttpHeader:a', 'x']] }, 'header key is malformed'],
    ['a value with a line break', { metadata: [['HttpHeader:A', 'x\r\ny']] }, 'header A has a malformed value'],
    ['a method with a space', { metadata: [['HttpMethod', 'GET /x']] }, 'malformed method'],
    ['a host with a path', { metadata: [['HttpHost', 'a/b']] }, 'malformed host'],
    ['no host at all', { dest: '/ok', metadata: [] }, 'malformed host'],
    ['a target with a space', { dest: '/a b' }, 'malformed destination'],
    ['a target with a letter that is no byte', { dest: '/\u0100' }, 'malformed destination'],
    ['a target without its slash', { dest: 'example' }, 'malformed destination'],
    ['no target', { dest: '' }, 'malformed destination'],
    ['a length that is no number', { metadata: [['HttpHeader:Content-Length', '5x']] }, 'malformed content length'],
    ['a negative length', { metadata: [['HttpHeader:Content-Length', '-1']] }, 'malformed content length'],
    [
      'two lengths',
      {
        metadata: [
          ['HttpHeader:Content-Length', '5'],
          ['HttpHeader:Content-Length', '6'],
        ],
      },
      'malformed content length',
    ],
  ])('with %s is refused', (_, changes, error) => {
    expect(readQuicRequest({ ...request, ...changes })).toEqual({ error })
  })

  test('the edge writes it: canonical names, one entry for each value', () => {
    const written = writeQuicRequest({
      method: 'POST',
      authority: 'example.com',
      url: 'https://example.com/x',
      fields: [
        ['cf-ray', '1'],
        ['accept', 'a'],
        ['accept', 'b'],
      ],
      isWebSocket: false,
    })
    expect(written).toEqual({
      dest: 'https://example.com/x',
      type: 'http',
      metadata: [
        ['HttpMethod', 'POST'],
        ['HttpHost', 'example.com'],
        ['HttpHeader:Cf-Ray', '1'],
        ['HttpHeader:Accept', 'a'],
        ['HttpHeader:Accept', 'b'],
      ],
    })
  })

  test.each([
    ['cf-connecting-ip', 'Cf-Connecting-Ip'],
    ['X-FORWARDED-FOR', 'X-Forwarded-For'],
    ['etag', 'Etag'],
    ['sec-ch-ua-platform', 'Sec-Ch-Ua-Platform'],
  ])('%s is %s', (name, canonical) => {
    expect(canonicalName(name)).toBe(canonical)
  })
})

describe('a response', () => {
  test('status and every field, unfiltered; 101 stays 101', () => {
    const written = writeQuicResponse(101, [
      ['Upgrade', 'websocket'],
      ['cf-int-x', 'y'],
      ['Upgrade', 'again'],
    ])
    expect(written.metadata).toEqual([
      ['HttpStatus', '101'],
      ['HttpHeader:Upgrade', 'websocket'],
      ['HttpHeader:cf-int-x', 'y'],
      ['HttpHeader:Upgrade', 'again'],
    ])
    expect(readQuicResponse(written)).toEqual({
      status: 101,
      fields: [
        ['Upgrade', 'websocket'],
        ['cf-int-x', 'y'],
        ['Upgrade', 'again'],
      ],
    })
  })

  test.each([
    [false, []],
    [true, [['FlowConnectRateLimited', 'true']]],
  ])('a failure is a text and no status (rate limited: %s)', (isRateLimited, metadata) => {
    const written = writeQuicFailure('no route', isRateLimited)
    expect(written).toEqual({ error: 'no route', metadata })
    expect(readQuicResponse(written)).toEqual({ error: 'no route', isRateLimited })
  })

  test.each([[[]], [[['HttpStatus', '99']]], [[['HttpStatus', 'ok']]]] as const)(
    'without a status it is a failure: %j',
    (metadata) => {
      expect(readQuicResponse({ error: '', metadata })).toMatchObject({
        error: 'the response has no status',
      })
    },
  )
})

describe('how a stream begins', () => {
  const preface = fromHex('0a36cd12a13e3031')

  test.each([1, 2, 5, 7, 8, 9, 100, 1000])(
    'a data stream in pieces of %i bytes; the body stays with the caller',
    (size) => {
      const body = fromHex('00ff00ff')
      const stream = concat(preface, vectors.connectRequest, body)
      const reader = createOpeningReader()
      let at = 0
      while (reader.opening === undefined) at += reader.push(stream, at, Math.min(at + size, stream.length))
      expect(stream.subarray(at)).toEqual(body)
      expect(reader.opening.kind === 'data' && readConnectRequest(reader.opening.message)).toEqual(request)
      expect(reader.push(stream, at, stream.length)).toBe(0)
    },
  )

  test.each([1, 3, 100])('an RPC stream, which has no version, in pieces of %i bytes', (size) => {
    const stream = concat(rpcPreface, vectors.bootstrap)
    const reader = createOpeningReader()
    let at = 0
    while (reader.opening === undefined) at += reader.push(stream, at, Math.min(at + size, stream.length))
    expect(reader.opening).toEqual({ kind: 'rpc' })
    expect(at).toBe(6)
  })

  test('the version is not looked at', () => {
    const stream = concat(preface.subarray(0, 6), fromHex('ffff'), vectors.connectRequest)
    const reader = createOpeningReader()
    reader.push(stream, 0, stream.length)
    expect(reader.opening?.kind).toBe('data')
  })

  test.each([
    ['another signature', 'ffffffffffff'],
    ['one that changes its mind', '0a36cd5cdb65'],
    ['the last byte wrong', '52bb825cdb66'],
    ['a message that is too large', '0a36cd12a13e303100000000ffffffff'],
  ])('refused: %s', (_, hex) => {
    const bytes = fromHex(hex)
    expect(() => createOpeningReader().push(bytes, 0, bytes.length)).toThrow(MalformedMessageError)
  })

  test('what one end writes the other one reads', () => {
    fc.assert(
      fc.property(connectRequest, connectResponse, (request, response) => {
        expect(readConnectRequest(segmentsOf(writeConnectRequest(request).subarray(8))[0]!)).toEqual(request)
        expect(readConnectResponse(segmentsOf(writeConnectResponse(response).subarray(8))[0]!)).toEqual(response)
      }),
      { numRuns: 300 },
    )
  })

  test('values are bytes: every code unit up to 0xFF survives, and nothing above is cut short', () => {
    const value = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join('')
    const written = writeConnectResponse({ error: '', metadata: [['HttpHeader:X', value]] })
    expect(readConnectResponse(segmentsOf(written.subarray(8))[0]!).metadata).toEqual([['HttpHeader:X', value]])
    expect(() => writeConnectResponse({ error: '', metadata: [['X', 'a\u010d\u010ab']] })).toThrow(
      MalformedMessageError,
    )
  })

  test('hundreds of KiB of headers', () => {
    const metadata = Array.from({ length: 400 }, (_, index) => [`HttpHeader:X-${index}`, 'v'.repeat(1000)] as const)
    const written = writeConnectRequest({ ...request, metadata })
    expect(readConnectRequest(segmentsOf(written.subarray(8))[0]!).metadata).toEqual(metadata)
  })
})
