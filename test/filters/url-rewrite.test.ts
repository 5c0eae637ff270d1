import { describe, expect, test } from 'vitest'
import type { UrlRewrite } from '../../src/config/proxy-config.ts'
import type { RouteContext } from '../../src/filters/filter.ts'
import { authorityOf, targetOf } from '../../src/http/request.ts'
import { engine } from '../http/messages.ts'
import { compiled, contextOf, forwarded } from './run.ts'

async function rewritten(urlRewrite: UrlRewrite, target: string, change: Partial<RouteContext> = {}): Promise<string> {
  const received = engine.request({ url: `http://a.example:8080${target}` })
  const request = await forwarded(compiled({ type: 'URLRewrite', urlRewrite }), received, contextOf(received, change))
  return `${authorityOf(request)} ${targetOf(request)}`
}

const full = (replaceFullPath: string): UrlRewrite => ({ path: { type: 'ReplaceFullPath', replaceFullPath } })
const prefix = (replacePrefixMatch: string): UrlRewrite => ({
  path: { type: 'ReplacePrefixMatch', replacePrefixMatch },
})

describe('URLRewrite (Gateway API HTTPURLRewriteFilter)', () => {
  test.each<[string, UrlRewrite, string, string]>([
    ['hostname replaces Host, port included', { hostname: 'b.example' }, '/p/x', 'b.example /p/x'],
    ['ReplaceFullPath keeps the query', full('/n'), '/p/x?y=/p', 'a.example:8080 /n?y=/p'],
    ['ReplaceFullPath without a value is the root', { path: { type: 'ReplaceFullPath' } }, '/p', 'a.example:8080 /'],
    [
      'ReplacePrefixMatch keeps the rest, byte for byte',
      prefix('/n/'),
      '/p/%2e%2F//x/',
      'a.example:8080 /n/%2e%2F//x/',
    ],
    [
      'ReplacePrefixMatch without a value removes',
      { path: { type: 'ReplacePrefixMatch' } },
      '/p/x',
      'a.example:8080 /x',
    ],
    ['ReplacePrefixMatch of the whole path', prefix('/'), '/p?q', 'a.example:8080 /?q'],
    ['both', { hostname: 'b.example', ...prefix('/n') }, '/p/x?q', 'b.example /n/x?q'],
    ['neither', {}, '/p/x?q', 'a.example:8080 /p/x?q'],
  ])('%s', async (_, rewrite, target, expected) => {
    expect(await rewritten(rewrite, target, { pathPrefix: '/p' })).toBe(expected)
  })

  test('a prefix is not replaced where none matched', async () => {
    expect(await rewritten(prefix('/n'), '/p/x', { pathPrefix: undefined })).toBe('a.example:8080 /p/x')
  })

  test('the path is made of the one that was matched, after normalisation', async () => {
    expect(await rewritten(prefix('/n'), '/z/../p/x', { target: '/p/x', pathPrefix: '/p' })).toBe('a.example:8080 /n/x')
  })

  test("a backendRef's path replaces the rule's; what it does not give stays", async () => {
    const received = engine.request({ url: 'http://a.example/p/x' })
    const context = contextOf(received, { pathPrefix: '/p' })
    const ofRule = compiled({ type: 'URLRewrite', urlRewrite: { hostname: 'rule.example', ...prefix('/rule') } })
    const ofBackend = compiled({ type: 'URLRewrite', urlRewrite: prefix('/backend') })
    const request = await forwarded(ofBackend, await forwarded(ofRule, received, context), context)
    expect([authorityOf(request), targetOf(request)]).toEqual(['rule.example', '/backend/x'])
  })

  test('headers and body go along', async () => {
    const received = engine.request({ method: 'PUT', url: 'http://a/p', fields: [['X-A', '1']], body: 'body' })
    const request = await forwarded(compiled({ type: 'URLRewrite', urlRewrite: full('/n') }), received)
    expect([request.method, request.headers.get('x-a'), await request.text()]).toEqual(['PUT', '1', 'body'])
  })
})
