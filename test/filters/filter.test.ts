import { describe, expect, test } from 'vitest'
import type { Filter as FilterConfig } from '../../src/config/proxy-config.ts'
import { compileFilters, join, type Filter } from '../../src/filters/filter.ts'
import { withHeaders } from '../../src/http/request.ts'
import { createResponse, withResponseHeaders } from '../../src/http/response.ts'
import { engine } from '../http/messages.ts'
import { answered, compiled, contextOf, filterResponse, forwarded } from './run.ts'

const request = () => engine.request({ url: 'http://a.example/' })
const setRequest = (value: string): FilterConfig => ({
  type: 'RequestHeaderModifier',
  requestHeaderModifier: { set: [{ name: 'X-A', value }] },
})
const setResponse = (value: string): FilterConfig => ({
  type: 'ResponseHeaderModifier',
  responseHeaderModifier: { set: [{ name: 'X-A', value }] },
})
const rewrite: FilterConfig = { type: 'URLRewrite', urlRewrite: { hostname: 'b.example' } }
const redirect: FilterConfig = { type: 'RequestRedirect', requestRedirect: {} }
const mirror: FilterConfig = { type: 'RequestMirror', requestMirror: { backendUrl: 'http://m.example' } }
const cors: FilterConfig = { type: 'CORS', cors: { allowOrigins: ['*'] } }

describe('what a list compiles to', () => {
  test.each<[string, FilterConfig[], string[]]>([
    ['nothing', [], []],
    ['request modifiers', [setRequest('1'), setRequest('2')], ['requestEdits']],
    ['response modifiers', [setResponse('1'), setResponse('2')], ['responseEdits']],
    ['both', [setRequest('1'), setResponse('2'), setRequest('3')], ['requestEdits', 'responseEdits']],
    ['a rewrite', [rewrite], ['request']],
    ['a rewrite and modifiers', [setRequest('1'), rewrite, setResponse('2')], ['request', 'responseEdits']],
    ['a redirect', [redirect], ['request']],
    ['a mirror', [mirror], ['request']],
    [
      'a mirror that never mirrors',
      [{ type: 'RequestMirror', requestMirror: { backendUrl: 'http://m.example', percent: 0 } }],
      [],
    ],
    ['CORS', [cors], ['ownAnswer', 'request', 'response']],
    ['a rewrite of nothing', [{ type: 'URLRewrite', urlRewrite: {} }], []],
  ])('%s', (_, configs, expected) => {
    const { empty, ...parts } = compiled(...configs)
    const present = Object.entries(parts).filter(([, part]) => part !== undefined)
    expect(present.map(([name]) => name).sort()).toEqual(expected)
    expect(empty).toBe(expected.length === 0)
  })
})

describe('a filter that cannot be applied fails the list: it must not be skipped (HTTPRouteFilter.type)', () => {
  test.each<[string, FilterConfig, string]>([
    ['an unknown type', { type: 'ExternalAuth' }, 'filters[1].type'],
    ['no type', { type: '' }, 'filters[1].type'],
    ['a name that every object has', { type: 'constructor' }, 'filters[1].type'],
    ['a type without its values', { type: 'URLRewrite' }, 'filters[1].urlRewrite'],
    ['values of another type', { type: 'CORS', urlRewrite: {} }, 'filters[1].cors'],
    [
      'a header name that is none',
      { type: 'RequestHeaderModifier', requestHeaderModifier: { remove: ['a b'] } },
      'filters[1].requestHeaderModifier.remove[0]',
    ],
    ['a line break in a header', setRequest('a\r\nX-Evil: 1'), 'filters[1].requestHeaderModifier.set[0].value'],
    [
      'a header that would be cut to a line break',
      setResponse('a\u010a'),
      'filters[1].responseHeaderModifier.set[0].value',
    ],
    [
      'Host',
      { type: 'RequestHeaderModifier', requestHeaderModifier: { set: [{ name: 'HOST', value: 'b' }] } },
      'filters[1].requestHeaderModifier.set[0].name',
    ],
    [
      'a framing field',
      {
        type: 'ResponseHeaderModifier',
        responseHeaderModifier: { add: [{ name: 'Transfer-Encoding', value: 'chunked' }] },
      },
      'filters[1].responseHeaderModifier.add[0].name',
    ],
    [
      'a path with a query',
      { type: 'URLRewrite', urlRewrite: { path: { type: 'ReplaceFullPath', replaceFullPath: '/a?b' } } },
      'filters[1].urlRewrite.path.replaceFullPath',
    ],
    [
      'a path with a fragment',
      { type: 'RequestRedirect', requestRedirect: { path: { type: 'ReplaceFullPath', value: '/a#b' } } },
      'filters[1].requestRedirect.path.value',
    ],
    [
      'a path with a line break',
      { type: 'RequestRedirect', requestRedirect: { path: { type: 'ReplacePrefixMatch', value: '/a\r\nb' } } },
      'filters[1].requestRedirect.path.value',
    ],
    [
      'a path without slash',
      { type: 'URLRewrite', urlRewrite: { path: { type: 'ReplacePrefixMatch', replacePrefixMatch: 'a' } } },
      'filters[1].urlRewrite.path.replacePrefixMatch',
    ],
    [
      'an unknown path modifier',
      { type: 'URLRewrite', urlRewrite: { path: { type: 'ReplaceRegex' } } },
      'filters[1].urlRewrite.path.type',
    ],
    [
      'a hostname with a port',
      { type: 'URLRewrite', urlRewrite: { hostname: 'b.example:80' } },
      'filters[1].urlRewrite.hostname',
    ],
    [
      'a hostname with userinfo',
      { type: 'RequestRedirect', requestRedirect: { hostname: 'a@b.example' } },
      'filters[1].requestRedirect.hostname',
    ],
    [
      'a scheme that is not http',
      { type: 'RequestRedirect', requestRedirect: { scheme: 'javascript' } },
      'filters[1].requestRedirect.scheme',
    ],
    [
      'a status that is no redirect',
      { type: 'RequestRedirect', requestRedirect: { statusCode: 304 } },
      'filters[1].requestRedirect.statusCode',
    ],
    [
      'a share above all',
      { type: 'RequestMirror', requestMirror: { backendUrl: '', percent: 101 } },
      'filters[1].requestMirror.percent',
    ],
    [
      'a share of nothing',
      { type: 'RequestMirror', requestMirror: { backendUrl: '', fraction: { numerator: 0, denominator: 0 } } },
      'filters[1].requestMirror.fraction.denominator',
    ],
    [
      'a method that is none',
      { type: 'CORS', cors: { allowMethods: ['GET, PUT'] } },
      'filters[1].cors.allowMethods[0]',
    ],
  ])('%s', (_, bad, path) => {
    const result = compileFilters([setRequest('1'), bad, redirect])
    expect(result).toHaveProperty('failed')
    expect((result as { failed: string }).failed.startsWith(`${path} `)).toBe(true)
  })
})

/** Notes its name in X-Order; waits for a turn when `later`. */
function noting(name: string, later = false): Filter {
  const added = [['X-Order', name]] as const
  return {
    request(given) {
      const changed = withHeaders(given, { removed: [], added })
      return later ? Promise.resolve(changed) : changed
    },
    response(given) {
      const changed = withResponseHeaders(given, { removed: [], added })
      return later ? Promise.resolve(changed) : changed
    },
  }
}

const staticNote = (name: string): Filter => {
  const edits = { removed: [], added: [['X-Order', name]] } as const
  return { requestEdits: edits, responseEdits: edits }
}

describe('the order', () => {
  test.each<[string, Filter[]]>([
    ['synchronous', [noting('a'), staticNote('b'), staticNote('c'), noting('d')]],
    ['asynchronous', [noting('a', true), staticNote('b'), noting('c', true), noting('d', true)]],
    ['mixed', [staticNote('a'), noting('b', true), noting('c'), staticNote('d')]],
  ])('requests run in listed order, responses in reverse: %s', async (_, filters) => {
    const all = join(filters)
    expect((await forwarded(all, request())).headers.get('x-order')).toBe('a, b, c, d')
    const response = await filterResponse(all, createResponse(200, []), contextOf(request()))
    expect(response.headers.get('x-order')).toBe('d, c, b, a')
  })

  test('is run without a promise where no filter needs one', () => {
    const all = join([noting('a'), staticNote('b')])
    const received = request()
    expect(all.request!(received, contextOf(received))).toBeInstanceOf(Request)
    expect(all.response!(createResponse(200, []), contextOf(received))).toBeInstanceOf(Response)
  })

  test.each([
    ['at once', false],
    ['later', true],
  ])('an answer ends it, given %s', async (_, later) => {
    const seen: string[] = []
    const answering: Filter = {
      request: () => (later ? Promise.resolve(createResponse(418, [])) : createResponse(418, [])),
    }
    const after: Filter = {
      request(given) {
        seen.push('after')
        return given
      },
    }
    const all = join([noting('a', later), answering, after])
    expect((await answered(all, request())).status).toBe(418)
    expect(seen).toEqual([])
  })

  test('an interceptor comes before everything, and sees what the client sent', async () => {
    const seen: (string | null)[] = []
    const intercepting: Filter = {
      intercept(received) {
        seen.push(received.headers.get('x-order'))
        return received.method === 'OPTIONS' ? createResponse(204, []) : undefined
      },
    }
    const all = join([noting('a'), intercepting])
    expect((await forwarded(all, request())).headers.get('x-order')).toBe('a')
    expect((await answered(all, engine.request({ method: 'OPTIONS', url: 'http://a/' }))).status).toBe(204)
    expect(seen).toEqual([null, null])
  })

  test('a modifier before a mirror counts for both, one behind it for the request alone', async () => {
    const received = request()
    const context = contextOf(received)
    const result = await forwarded(compiled(setRequest('1'), mirror, setRequest('2')), received, context)
    expect([context.mirrored[0]!.request.headers.get('x-a'), result.headers.get('x-a')]).toEqual(['1', '2'])
  })

  test('a filter that throws, or rejects, is heard', async () => {
    const throwing: Filter = {
      request: () => {
        throw new Error('broken')
      },
      response: () => Promise.reject(new Error('broken')),
    }
    const all = join([noting('a', true), throwing])
    await expect(forwarded(all, request())).rejects.toThrow('broken')
    await expect(filterResponse(all, createResponse(200, []), contextOf(request()))).rejects.toThrow('broken')
  })
})
