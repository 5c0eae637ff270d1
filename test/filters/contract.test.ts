/*
 * Every filter does the same to a message of the engine's and to a plain `new Request()` or `new Response()`.
 */
import { describe, expect, test } from 'vitest'
import type { Filter as FilterConfig } from '../../src/config/proxy-config.ts'
import { compileFilters } from '../../src/filters/filter.ts'
import { authorityOf, genuineRequest, targetOf } from '../../src/http/request.ts'
import type { Field } from '../../src/runtime.ts'
import { engine, type Kind, kinds, platform, type RequestSpec, type ResponseSpec } from '../http/messages.ts'
import { compiled, contextOf, filterRequest, filterResponse } from './run.ts'

interface Row {
  readonly name: string
  readonly filters: readonly FilterConfig[]
  readonly request?: Partial<RequestSpec>
  readonly response?: ResponseSpec
  /** What the backend sees, as `seen` puts it. */
  readonly forwards?: unknown
  /** What the client sees: of the filter itself, or of the backend's response. */
  readonly answers: unknown
  readonly mirrors?: readonly unknown[]
}

const plainRequest: RequestSpec = {
  method: 'POST',
  url: 'http://a.example/p/x%2Fy?q=1',
  fields: [
    ['X-A', '1'],
    ['X-A', '2'],
    ['Origin', 'https://x.y'],
    ['Content-Type', 'text/plain'],
  ],
  body: 'sent',
}
const plainResponse: ResponseSpec = {
  status: 200,
  fields: [
    ['X-B', '1'],
    ['Set-Cookie', 'a=1'],
    ['Set-Cookie', 'b=2'],
    ['Content-Type', 'text/plain'],
  ],
  body: 'answered',
}

/** The same request, and the same response, when no filter has a part in them. */
const untouched = {
  method: 'POST',
  authority: 'a.example',
  target: '/p/x%2Fy?q=1',
  headers: { 'content-type': 'text/plain', origin: 'https://x.y', 'x-a': '1, 2' },
  body: 'sent',
}
const unanswered = {
  status: 200,
  headers: { 'content-type': 'text/plain', 'set-cookie': ['a=1', 'b=2'], 'x-b': '1' },
  body: 'answered',
}

const rows: readonly Row[] = [
  { name: 'no filter', filters: [], forwards: untouched, answers: unanswered },
  {
    name: 'RequestHeaderModifier',
    filters: [
      {
        type: 'RequestHeaderModifier',
        requestHeaderModifier: {
          set: [{ name: 'X-S', value: 's' }],
          add: [{ name: 'x-a', value: '3' }],
          remove: ['ORIGIN'],
        },
      },
    ],
    forwards: { ...untouched, headers: { 'content-type': 'text/plain', 'x-a': '1, 2, 3', 'x-s': 's' } },
    answers: unanswered,
  },
  {
    name: 'ResponseHeaderModifier',
    filters: [
      {
        type: 'ResponseHeaderModifier',
        responseHeaderModifier: {
          set: [{ name: 'x-b', value: 's' }],
          add: [{ name: 'Set-Cookie', value: 'c=3' }],
          remove: ['X-None'],
        },
      },
    ],
    forwards: untouched,
    answers: {
      ...unanswered,
      headers: { 'content-type': 'text/plain', 'set-cookie': ['a=1', 'b=2', 'c=3'], 'x-b': 's' },
    },
  },
  {
    name: 'URLRewrite',
    filters: [
      {
        type: 'URLRewrite',
        urlRewrite: { hostname: 'b.example', path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/n' } },
      },
    ],
    forwards: { ...untouched, authority: 'b.example', target: '/n/x%2Fy?q=1' },
    answers: unanswered,
  },
  {
    name: 'RequestRedirect',
    filters: [
      {
        type: 'RequestRedirect',
        requestRedirect: { scheme: 'https', statusCode: 308, path: { type: 'ReplacePrefixMatch', value: '/n/' } },
      },
    ],
    answers: { status: 308, headers: { location: 'https://a.example/n/x%2Fy?q=1' }, body: '' },
  },
  {
    name: 'RequestMirror',
    filters: [{ type: 'RequestMirror', requestMirror: { backendUrl: 'http://m.example' } }],
    forwards: untouched,
    answers: unanswered,
    mirrors: [untouched],
  },
  {
    name: 'CORS, an actual request',
    filters: [{ type: 'CORS', cors: { allowOrigins: ['https://x.y'], exposeHeaders: ['x-b'] } }],
    response: {
      ...plainResponse,
      fields: [...plainResponse.fields!, ['Access-Control-Allow-Origin', '*'], ['Vary', 'Accept']],
    },
    forwards: untouched,
    answers: {
      ...unanswered,
      headers: {
        ...unanswered.headers,
        'access-control-allow-origin': 'https://x.y',
        'access-control-expose-headers': 'x-b',
        vary: 'Accept, Origin',
      },
    },
  },
  {
    name: 'CORS, a preflight',
    filters: [{ type: 'CORS', cors: { allowOrigins: ['*'], allowMethods: ['*'] } }],
    request: {
      method: 'OPTIONS',
      fields: [
        ['Origin', 'https://x.y'],
        ['Access-Control-Request-Method', 'PUT'],
      ],
    },
    answers: {
      status: 204,
      headers: {
        'access-control-allow-methods': 'PUT',
        'access-control-allow-origin': '*',
        'access-control-max-age': '5',
        vary: 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers',
      },
      body: '',
    },
  },
  {
    name: 'all that go together',
    filters: [
      { type: 'CORS', cors: { allowOrigins: ['https://*.z', 'https://x.y'] } },
      { type: 'RequestHeaderModifier', requestHeaderModifier: { remove: ['X-A', 'Origin'] } },
      { type: 'RequestMirror', requestMirror: { backendUrl: 'http://m.example' } },
      { type: 'URLRewrite', urlRewrite: { path: { type: 'ReplaceFullPath', replaceFullPath: '/n' } } },
      { type: 'RequestMirror', requestMirror: { backendUrl: 'http://n.example' } },
      { type: 'ResponseHeaderModifier', responseHeaderModifier: { remove: ['Set-Cookie', 'X-B'] } },
    ],
    forwards: { ...untouched, target: '/n?q=1', headers: { 'content-type': 'text/plain' } },
    answers: {
      ...unanswered,
      headers: { 'access-control-allow-origin': 'https://x.y', 'content-type': 'text/plain', vary: 'Origin' },
    },
    mirrors: [
      { ...untouched, headers: { 'content-type': 'text/plain' } },
      { ...untouched, target: '/n?q=1', headers: { 'content-type': 'text/plain' } },
    ],
  },
]

function headersOf({ headers }: Request | Response): Record<string, string | string[]> {
  const all: Record<string, string | string[]> = Object.fromEntries(headers)
  const cookies = headers.getSetCookie()
  return cookies.length > 0 ? { ...all, 'set-cookie': cookies } : all
}

async function seen(request: Request): Promise<unknown> {
  const [method, authority, target, headers] = [
    request.method,
    authorityOf(request),
    targetOf(request),
    headersOf(request),
  ]
  return { method, authority, target, headers, body: await request.text() }
}

async function seenAnswer(response: Response): Promise<unknown> {
  return { status: response.status, headers: headersOf(response), body: await response.text() }
}

async function outcome({ filters, request = {}, response = {} }: Row, kind: Kind, other: Kind): Promise<unknown> {
  const { body, ...spec } = { ...plainRequest, ...request }
  const received = kind.request(spec.method === 'POST' ? { ...spec, body: body! } : spec)
  const context = contextOf(received, { pathPrefix: '/p' })
  const all = compiled(...filters)
  const result = await filterRequest(all, received, context)
  if (result instanceof Response) return { answers: await seenAnswer(result) }
  const mirrors = context.mirrored.map((copy) => seen(copy.request))
  const forwards = await seen(result)
  const answers = await seenAnswer(
    await filterResponse(all, other.response({ ...plainResponse, ...response }), context),
  )
  return { forwards, answers, ...(mirrors.length > 0 ? { mirrors: await Promise.all(mirrors) } : {}) }
}

describe.each(kinds)('a request of $name kind', (kind) => {
  describe.each(kinds)('and a response of $name kind', (other) => {
    test.each(rows)('$name', async (row) => {
      const { forwards, answers, mirrors } = row
      expect(await outcome(row, kind, other)).toEqual({
        ...(forwards === undefined ? {} : { forwards }),
        answers,
        ...(mirrors === undefined ? {} : { mirrors }),
      })
    })
  })
})

test('the rows have every filter that there is', () => {
  const types = [
    'RequestHeaderModifier',
    'ResponseHeaderModifier',
    'RequestRedirect',
    'URLRewrite',
    'RequestMirror',
    'CORS',
  ]
  const tested = new Set(rows.flatMap(({ filters }) => filters.map(({ type }) => type)))
  expect([...tested].sort()).toEqual(types.sort())
  expect(compileFilters([{ type: 'Another' }])).toHaveProperty('failed')
})

test.each(kinds)('what was filtered, of $name kind, can be given to a handler of the user', async (kind) => {
  const { filters } = rows.at(-1)!
  const received = kind.request(plainRequest)
  const result = (await filterRequest(compiled(...filters), received, contextOf(received))) as Request
  const genuine = new Request(genuineRequest(result))
  expect([genuine.url, genuine.method, await genuine.text()]).toEqual(['http://a.example/n?q=1', 'POST', 'sent'])
})

test('the two kinds of the rows are two', () => {
  const fields: Field[] = [['X-A', '1']]
  const [theirs, ours] = [platform, engine].map((kind) => kind.request({ url: 'http://a.example/', fields }))
  const genuine = [theirs, ours].map((request) => Object.getPrototypeOf(request) === Request.prototype)
  expect(genuine).toEqual([true, false])
})
