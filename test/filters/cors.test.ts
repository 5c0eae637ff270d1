import { describe, expect, test } from 'vitest'
import type { Cors } from '../../src/config/proxy-config.ts'
import type { CompiledFilters } from '../../src/filters/filter.ts'
import { compileOrigins } from '../../src/filters/cors-origins.ts'
import type { Field } from '../../src/runtime.ts'
import { engine } from '../http/messages.ts'
import { answered, compiled, contextOf, filterResponse, forwarded } from './run.ts'

const url = 'http://a.example/x'
const asking = 'Access-Control-Request-Method'
const askingHeaders = 'Access-Control-Request-Headers'

const filterOf = (cors: Cors): CompiledFilters => compiled({ type: 'CORS', cors })

function preflight(cors: Cors, ...fields: Field[]): Promise<Response> {
  return answered(filterOf(cors), engine.request({ method: 'OPTIONS', url, fields }))
}

async function actual(
  cors: Cors,
  fields: readonly Field[],
  fromBackend: readonly Field[] = [],
  method = 'GET',
): Promise<Response> {
  const received = engine.request({ method, url, fields })
  const filters = filterOf(cors)
  expect(await forwarded(filters, received)).toBe(received)
  return filterResponse(
    filters,
    engine.response({ fields: [['X-From', 'backend'], ...fromBackend] }),
    contextOf(received),
  )
}

/** The fields of CORS alone, without their common beginning. */
function corsOf({ headers }: Response): Record<string, string> {
  const prefix = 'access-control-'
  return Object.fromEntries(
    [...headers].filter(([name]) => name.startsWith(prefix)).map(([name, value]) => [name.slice(prefix.length), value]),
  )
}

describe('which origins match (Gateway API CORSOrigin)', () => {
  test.each([
    ['the same', 'https://a.example', 'https://a.example', true],
    ['another scheme', 'https://a.example', 'http://a.example', false],
    ['another host', 'https://a.example', 'https://b.example', false],
    ['another port', 'https://a.example', 'https://a.example:8443', false],
    ['an absent port is the scheme’s own', 'https://a.example', 'https://a.example:443', true],
    ['an absent port of the request, likewise', 'http://a.example:80', 'http://a.example', true],
    ['the other scheme’s port is another', 'https://a.example', 'https://a.example:80', false],
    ['letter case', 'https://A.Example', 'https://a.example', true],
    ['an IPv6 host', 'http://[::1]:8080', 'http://[::1]:8080', true],
    ['a longer host', 'https://a.example', 'https://a.example.evil', false],
    ['a host that ends like it', 'https://a.example', 'https://evila.example', false],
    ['a wildcard: one label', 'https://*.bar.example', 'https://www.bar.example', true],
    ['a wildcard: any number of labels', 'https://*.bar.example', 'https://a.b.bar.example', true],
    ['a wildcard: not the name itself', 'https://*.bar.example', 'https://bar.example', false],
    ['a wildcard: not an empty label', 'https://*.bar.example', 'https://.bar.example', false],
    ['a wildcard: not another name that ends like it', 'https://*.bar.example', 'https://foobar.example', false],
    ['a wildcard: scheme', 'https://*.bar.example', 'http://www.bar.example', false],
    ['a wildcard: port', 'https://*.bar.example', 'https://www.bar.example:8443', false],
    ['a wildcard with a port', 'https://*.bar.example:8443', 'https://www.bar.example:8443', true],
    ['any host of a scheme', 'https://*', 'https://anything.example', true],
    ['any host of a scheme: the scheme', 'https://*', 'http://anything.example', false],
    ['any host of a scheme: the port', 'https://*', 'https://anything.example:8443', false],
    ['any host on a port', 'http://*:3000', 'http://localhost:3000', true],
    ['any origin', '*', 'chrome-extension://abc', true],
    ['any origin: null as well', '*', 'null', true],
    ['null by name', 'null', 'null', true],
    ['null is no https host', 'https://*', 'null', false],
    ['userinfo is no host', 'https://*.bar.example', 'https://evil.example@www.bar.example', false],
    ['a path is no host', 'https://*.bar.example', 'https://evil.example/.bar.example', false],
    ['a scheme of its own', 'app://abc', 'app://abc', true],
  ])('%s: %s and %s', (_, pattern, origin, expected) => expect(compileOrigins([pattern])(origin)).toBe(expected))

  test('one of several is enough; none allows nothing', () => {
    expect(compileOrigins(['https://a.example', 'https://*.b.example'])('https://x.b.example')).toBe(true)
    expect(compileOrigins([])('https://a.example')).toBe(false)
  })
})

const listed: Cors = {
  allowOrigins: ['https://www.foo.com', 'https://*.bar.com'],
  allowMethods: ['GET', 'OPTIONS'],
  allowHeaders: ['x-header-1', 'x-header-2'],
  exposeHeaders: ['x-header-3', 'x-header-4'],
  allowCredentials: true,
  maxAge: 3600,
}

describe('preflights (Gateway API HTTPCORSFilter)', () => {
  test.each(['https://www.foo.com', 'https://www.bar.com', 'https://xpto.www.bar.com'])(
    'HTTPRouteCORS: %s is told everything that is configured',
    async (origin) => {
      const response = await preflight(
        listed,
        ['Origin', origin],
        [asking, 'GET'],
        [askingHeaders, 'x-header-1, x-header-2'],
      )
      expect(response.status).toBe(204)
      expect(response.body).toBeNull()
      expect(corsOf(response)).toEqual({
        'allow-origin': origin,
        'allow-credentials': 'true',
        'allow-methods': 'GET, OPTIONS',
        'allow-headers': 'x-header-1, x-header-2',
        'expose-headers': 'x-header-3, x-header-4',
        'max-age': '3600',
      })
    },
  )

  test('HTTPRouteCORS: another origin is told nothing, and is not passed on', async () => {
    const response = await preflight(listed, ['Origin', 'https://foobar.com'], [asking, 'GET'])
    expect([response.status, corsOf(response)]).toEqual([204, {}])
  })

  test.each<[string, Cors, Field[], Record<string, string>]>([
    ['by default nothing but the origin, for five seconds', {}, [], { 'allow-origin': 'https://x.y', 'max-age': '5' }],
    ['any origin without credentials is *', { allowOrigins: ['*'] }, [], { 'allow-origin': '*', 'max-age': '5' }],
    [
      'any origin with credentials is the one that asks',
      { allowOrigins: ['*'], allowCredentials: true },
      [],
      { 'allow-origin': 'https://x.y', 'allow-credentials': 'true', 'max-age': '5' },
    ],
    [
      'credentials that are not allowed are not mentioned',
      { allowCredentials: false },
      [],
      { 'allow-origin': 'https://x.y', 'max-age': '5' },
    ],
    [
      'any method is the one asked for',
      { allowMethods: ['*'] },
      [],
      { 'allow-origin': 'https://x.y', 'allow-methods': 'PUT', 'max-age': '5' },
    ],
    [
      'any method with credentials, likewise',
      { allowMethods: ['*'], allowCredentials: true },
      [],
      { 'allow-origin': 'https://x.y', 'allow-credentials': 'true', 'allow-methods': 'PUT', 'max-age': '5' },
    ],
    [
      'safelisted methods are not added',
      { allowMethods: ['DELETE'] },
      [],
      { 'allow-origin': 'https://x.y', 'allow-methods': 'DELETE', 'max-age': '5' },
    ],
    [
      'any header is those asked for',
      { allowHeaders: ['*'] },
      [[askingHeaders, 'authorization,x-a']],
      { 'allow-origin': 'https://x.y', 'allow-headers': 'authorization,x-a', 'max-age': '5' },
    ],
    [
      'any header, none asked for, without credentials',
      { allowHeaders: ['*'] },
      [],
      { 'allow-origin': 'https://x.y', 'allow-headers': '*', 'max-age': '5' },
    ],
    [
      'any header, none asked for, with credentials',
      { allowHeaders: ['*'], allowCredentials: true },
      [],
      { 'allow-origin': 'https://x.y', 'allow-credentials': 'true', 'max-age': '5' },
    ],
    [
      'any header, nonsense asked for',
      { allowHeaders: ['*'], allowCredentials: true },
      [[askingHeaders, 'a b; c']],
      { 'allow-origin': 'https://x.y', 'allow-credentials': 'true', 'max-age': '5' },
    ],
    [
      'every exposed header without credentials',
      { exposeHeaders: ['*'] },
      [],
      { 'allow-origin': 'https://x.y', 'expose-headers': '*', 'max-age': '5' },
    ],
    [
      'every exposed header never with credentials',
      { exposeHeaders: ['*'], allowCredentials: true },
      [],
      { 'allow-origin': 'https://x.y', 'allow-credentials': 'true', 'max-age': '5' },
    ],
  ])('%s', async (_, cors, fields, expected) => {
    const response = await preflight(
      { allowOrigins: ['https://x.y'], ...cors },
      ['Origin', 'https://x.y'],
      [asking, 'PUT'],
      ...fields,
    )
    expect(corsOf(response)).toEqual(expected)
  })

  test('are answered before any other filter of the rule', async () => {
    const received = engine.request({
      method: 'OPTIONS',
      url,
      fields: [
        ['Origin', 'https://x.y'],
        [asking, 'PUT'],
      ],
    })
    const context = contextOf(received)
    const filters = compiled(
      { type: 'RequestMirror', requestMirror: { backendUrl: 'http://m.example' } },
      { type: 'RequestRedirect', requestRedirect: { scheme: 'https' } },
      { type: 'CORS', cors: { allowOrigins: ['*'] } },
    )
    const response = await answered(filters, received, context)
    expect([response.status, corsOf(response), context.mirrored]).toEqual([
      204,
      { 'allow-origin': '*', 'max-age': '5' },
      [],
    ])
  })

  test('are answered by the origin that the client sent, whatever other filters do to it', async () => {
    const filters = compiled(
      { type: 'RequestHeaderModifier', requestHeaderModifier: { remove: ['Origin'] } },
      { type: 'CORS', cors: { allowOrigins: ['https://x.y'] } },
    )
    const received = engine.request({ url, fields: [['Origin', 'https://x.y']] })
    const context = contextOf(received)
    expect((await forwarded(filters, received, context)).headers.has('origin')).toBe(false)
    const response = await filterResponse(filters, engine.response({}), context)
    expect(response.headers.get('access-control-allow-origin')).toBe('https://x.y')
  })

  test.each<[string, string, Field[]]>([
    [
      'a GET that asks for a method (HTTPRouteCORS)',
      'GET',
      [
        ['Origin', 'https://www.foo.com'],
        [asking, 'GET'],
      ],
    ],
    ['an OPTIONS without the question', 'OPTIONS', [['Origin', 'https://www.foo.com']]],
    [
      'an OPTIONS with an empty question',
      'OPTIONS',
      [
        ['Origin', 'https://www.foo.com'],
        [asking, ''],
      ],
    ],
    ['an OPTIONS without an Origin', 'OPTIONS', [[asking, 'GET']]],
    [
      'an OPTIONS with nonsense for an Origin',
      'OPTIONS',
      [
        ['Origin', 'a, b'],
        [asking, 'GET'],
      ],
    ],
    ['a DELETE that is not listed: the browser decides', 'DELETE', [['Origin', 'https://www.foo.com']]],
    ['a request from an origin that does not match', 'GET', [['Origin', 'https://foobar.com']]],
  ])('%s is none: it is forwarded', async (_, method, fields) => {
    const response = await actual(listed, fields, [], method)
    expect(response.headers.get('x-from')).toBe('backend')
  })
})

describe('responses from a backend', () => {
  const foo: Field = ['Origin', 'https://www.foo.com']

  test('to an origin that matches say so', async () => {
    expect(corsOf(await actual(listed, [foo]))).toEqual({
      'allow-origin': 'https://www.foo.com',
      'allow-credentials': 'true',
      'expose-headers': 'x-header-3, x-header-4',
    })
  })

  test.each<[string, Field[]]>([
    ['another origin', [['Origin', 'https://foobar.com']]],
    ['no origin', []],
    ['* as an origin', [['Origin', '*']]],
  ])('to %s say nothing', async (_, fields) => expect(corsOf(await actual(listed, fields))).toEqual({}))

  test.each<[string, Field[], Record<string, string>]>([
    ['the origin that matches', [['Origin', 'https://x.y']], { 'allow-origin': 'https://x.y' }],
    ['another origin', [['Origin', 'https://foobar.com']], {}],
    ['no origin', [], {}],
  ])('lose what the backend said about CORS: %s', async (_, fields, expected) => {
    const said: Field[] = [
      ['Access-Control-Allow-Origin', '*'],
      ['access-control-allow-credentials', 'true'],
      ['Access-Control-Expose-Headers', 'X-Secret'],
      ['Access-Control-Allow-Methods', 'DELETE'],
      ['Access-Control-Allow-Headers', 'X-Y'],
      ['Access-Control-Max-Age', '86400'],
    ]
    const response = await actual({ allowOrigins: ['https://x.y'] }, fields, said)
    expect([corsOf(response), response.headers.get('x-from')]).toEqual([expected, 'backend'])
  })

  test.each<[string, string[], string]>([
    ['say that they do', [], 'Origin'],
    ['keep what else they vary by', ['Accept-Encoding'], 'Accept-Encoding, Origin'],
    ['do not say it twice', ['accept, ORIGIN'], 'accept, ORIGIN'],
    ['vary by everything already', ['*'], '*'],
  ])('vary by origin, whatever the origin: they %s', async (_, vary, expected) => {
    const said = vary.map((value): Field => ['Vary', value])
    for (const fields of [[foo], [['Origin', 'https://foobar.com']], []] as Field[][]) {
      expect((await actual(listed, fields, said)).headers.get('vary')).toBe(expected)
    }
  })
})

describe('answers of the gateway itself', () => {
  const cors = { type: 'CORS', cors: { allowOrigins: ['https://x.y'] } }
  const redirect = { type: 'RequestRedirect', requestRedirect: { scheme: 'https' } }
  const received = engine.request({ url, fields: [['Origin', 'https://x.y']] })
  const expected = { 'allow-origin': 'https://x.y' }

  test.each([
    ['first', [cors, redirect]],
    ['last', [redirect, cors]],
  ])('a redirect can be followed by a page, CORS listed %s', async (_, configs) => {
    const response = await answered(compiled(...configs), received)
    expect([response.status, corsOf(response)]).toEqual([302, expected])
  })

  test('an error can be told from a dead network', () => {
    const { ownAnswer } = compiled(cors)
    const response = ownAnswer!(engine.response({ status: 503 }), contextOf(received))
    expect([response.status, corsOf(response)]).toEqual([503, expected])
  })

  test('applied twice is applied once', () => {
    const { ownAnswer } = compiled(cors)
    const once = ownAnswer!(engine.response({ status: 503 }), contextOf(received))
    const twice = ownAnswer!(once, contextOf(received))
    expect([...twice.headers]).toEqual([
      ['access-control-allow-origin', 'https://x.y'],
      ['vary', 'Origin'],
    ])
  })

  test('a preflight answer stays what it is', async () => {
    const asked = engine.request({
      method: 'OPTIONS',
      url,
      fields: [
        ['Origin', 'https://x.y'],
        [asking, 'PUT'],
      ],
    })
    const filters = compiled(cors)
    const response = await answered(filters, asked)
    expect(filters.ownAnswer!(response, contextOf(asked))).toBe(response)
  })
})
