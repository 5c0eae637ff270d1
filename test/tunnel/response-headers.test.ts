import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Field } from '../../src/runtime.ts'
import { classifyRequest } from '../../src/tunnel/request-class.ts'
import {
  connectorFailureHead,
  deserializeFields,
  edgeResponseHead,
  isEdgeField,
  isSendableField,
  isStreamed,
  serializeFields,
} from '../../src/tunnel/response-headers.ts'

describe('fields in one field', () => {
  const example: Field[] = [
    ['Content-Type', 'text/plain'],
    ['Set-Cookie', 'a=1'],
    ['Set-Cookie', 'b=2'],
    ['X-Empty', ''],
  ]
  const serialized = 'Q29udGVudC1UeXBl:dGV4dC9wbGFpbg;U2V0LUNvb2tpZQ:YT0x;U2V0LUNvb2tpZQ:Yj0y;WC1FbXB0eQ:'

  test('unpadded Base64 pairs: repeated names, empty values, order and case survive', () => {
    expect(serializeFields(example)).toBe(serialized)
    expect(deserializeFields(serialized)).toEqual(example)
  })

  test('bytes are encoded, not characters', () => {
    expect(serializeFields([['x', '\u00e9\u00ff']])).toBe('eA:6f8')
    expect(deserializeFields('eA:6f8')).toEqual([['x', '\u00e9\u00ff']])
    expect(() => serializeFields([['x', 'a\u0100']])).toThrow(TypeError)
    expect(() => serializeFields([['x', '\u2028ab']])).toThrow(TypeError)
  })

  test.each([
    ['nothing', '', []],
    ['an empty name and value', ':', [['', '']]],
    ['empty segments', ';;eA:eQ;;', [['x', 'y']]],
  ])('%s is readable', (_, text, fields) => {
    expect(deserializeFields(text)).toEqual(fields)
  })

  test.each(['malformed data', 'bW9jawo=', 'bW9jawo=:ZGF0YQo=:bW9jawo=', '::', 'eA', 'eA:eQ;x', 'eA:e', 'eA:e!'])(
    '%j is not',
    (text) => {
      expect(deserializeFields(text)).toBeUndefined()
    },
  )

  test('whatever bytes a field has, they come back', () => {
    const bytes = fc.string({
      unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
      maxLength: 40,
    })
    const name = bytes.filter((text) => !isEdgeField(text))
    fc.assert(
      fc.property(fc.array(fc.tuple(name, bytes), { minLength: 1, maxLength: 10 }), (fields) => {
        expect(deserializeFields(serializeFields(fields))).toEqual(fields)
        const theirs = fields.map(([name, value]) => `${btoa(name)}:${btoa(value)}`.replaceAll('=', '')).join(';')
        expect(serializeFields(fields)).toBe(theirs)
      }),
      { numRuns: 500 },
    )
  })

  test('a response larger than the buffer kept for it', () => {
    const fields: Field[] = Array.from({ length: 300 }, (_, index) => [`x-${index}`, 'v'.repeat(1000)])
    expect(deserializeFields(serializeFields(fields))).toEqual(fields)
    expect(serializeFields(example)).toBe(serialized)
  })

  test.each([
    ['an HTTP field', ['x-a', 'b'], true],
    ['a name that is no token', ['x a', 'b'], false],
    ['a value with a line break', ['x', 'a\r\nb'], false],
  ] as [string, Field, boolean][])('%s may go on to an eyeball: %j', (_, field, allowed) => {
    expect(isSendableField(field)).toBe(allowed)
  })
})

describe("the edge's own fields are left out", () => {
  test.each([
    [':status', true],
    ['cf-int-something', true],
    ['Cf-Int-Cloudflared-Tracing', true],
    ['cf-cloudflared-response-meta', true],
    ['CF-Proxy-X', true],
    ['cf-whatever', false],
    ['cf-ray', false],
    ['upgrade', false],
    ['connection', false],
    ['sec-websocket-accept', false],
    ['content-type', false],
    ['x-cf-int-', false],
    ['', false],
  ])('%j: %s', (name, isEdge) => {
    expect(isEdgeField(name)).toBe(isEdge)
    expect(serializeFields([[name, 'v']]) === '').toBe(isEdge)
  })
})

describe('the head of a response', () => {
  test('serialised fields, who answered, and the length once more outside', () => {
    expect(edgeResponseHead(404, [['Content-Length', '5']])).toEqual({
      status: 404,
      fields: [
        ['cf-cloudflared-response-headers', 'Q29udGVudC1MZW5ndGg:NQ'],
        ['cf-cloudflared-response-meta', '{"src":"origin"}'],
        ['content-length', '5'],
      ],
    })
  })

  test('the serialised field is there even when it is empty; 101 goes as 200', () => {
    expect(edgeResponseHead(101, [])).toEqual({
      status: 200,
      fields: [
        ['cf-cloudflared-response-headers', ''],
        ['cf-cloudflared-response-meta', '{"src":"origin"}'],
      ],
    })
  })

  test.each([
    [undefined, '{"src":"cloudflared"}'],
    ['rateLimited' as const, '{"src":"cloudflared","flow_rate_limited":true}'],
  ])('a failure of the connector itself (%s)', (meta, value) => {
    expect(connectorFailureHead(meta)).toEqual({ status: 502, fields: [['cf-cloudflared-response-meta', value]] })
  })
})

describe('what must not wait in a buffer', () => {
  test.each<[Field[], boolean]>([
    [
      [
        ['Content-Type', 'application/json'],
        ['Content-Length', '1'],
      ],
      false,
    ],
    [
      [
        ['Content-Type', 'text/html'],
        ['Content-Length', '1'],
      ],
      false,
    ],
    [
      [
        ['Content-Type', 'text/event-stream'],
        ['Content-Length', '1'],
      ],
      true,
    ],
    [
      [
        ['Content-Type', 'TEXT/event-stream; charset=utf-8'],
        ['Content-Length', '1'],
      ],
      true,
    ],
    [
      [
        ['content-type', 'application/grpc+proto'],
        ['Content-Length', '1'],
      ],
      true,
    ],
    [
      [
        ['content-type', 'application/x-ndjson'],
        ['Content-Length', '1'],
      ],
      true,
    ],
    [[['Content-Type', 'text/html']], true],
    [
      [
        ['Content-Length', '-1'],
        ['Transfer-Encoding', 'gzip, Chunked'],
      ],
      true,
    ],
    [[], true],
  ])('%j: %s', (fields, streamed) => {
    expect(isStreamed(fields)).toBe(streamed)
  })
})

describe('what a request of the edge is for', () => {
  const upgrade = 'cf-cloudflared-proxy-connection-upgrade'
  const source = 'cf-cloudflared-proxy-src'
  test.each([
    [{ [upgrade]: 'update-configuration', [source]: '1.2.3.4' }, 'configuration'],
    [{ [upgrade]: 'websocket', [source]: '1.2.3.4' }, 'websocket'],
    [{ [upgrade]: 'control-stream', [source]: '1.2.3.4' }, 'tcp'],
    [{ [upgrade]: 'control-stream', [source]: '' }, 'control'],
    [{ [upgrade]: 'control-stream' }, 'control'],
    [{ [upgrade]: 'Control-Stream' }, 'http'],
    [{ [upgrade]: 'something' }, 'http'],
    [{}, 'http'],
  ])('%j: %s', (fields: Record<string, string>, kind) => {
    expect(classifyRequest((name) => fields[name])).toBe(kind)
  })
})
