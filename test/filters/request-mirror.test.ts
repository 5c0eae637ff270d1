import { describe, expect, test } from 'vitest'
import type { Filter, RequestMirror } from '../../src/config/proxy-config.ts'
import { engineRequest, targetOf } from '../../src/http/request.ts'
import { engine, kinds } from '../http/messages.ts'
import { compiled, contextOf, forwarded, type TestContext } from './run.ts'

const mirror = (requestMirror: Partial<RequestMirror> = {}) => ({
  type: 'RequestMirror',
  requestMirror: { backendUrl: 'http://mirror.example:8080', ...requestMirror },
})

async function mirroring(...configs: readonly Filter[]): Promise<TestContext> {
  const received = engine.request({ url: 'http://a/p/x?y' })
  const context = contextOf(received, { pathPrefix: '/p' })
  await forwarded(compiled(...configs), received, context)
  return context
}

describe.each(kinds)('a request of $name kind', (kind) => {
  test('is forwarded and mirrored, body included', async () => {
    const received = kind.request({ method: 'POST', url: 'http://a/p', fields: [['X-A', '1']], body: 'body' })
    const context = contextOf(received)
    const request = await forwarded(compiled(mirror()), received, context)
    const [copy] = context.mirrored
    expect(await Promise.all([request.text(), copy!.request.text()])).toEqual(['body', 'body'])
    expect([copy!.request.method, targetOf(copy!.request), copy!.request.headers.get('x-a')]).toEqual([
      'POST',
      '/p',
      '1',
    ])
  })

  test('without body is forwarded as it is', async () => {
    const received = kind.request({ url: 'http://a/p' })
    const context = contextOf(received)
    expect(await forwarded(compiled(mirror()), received, context)).toBe(received)
    expect(context.mirrored).toHaveLength(1)
  })
})

describe('which requests (Gateway API HTTPRequestMirrorFilter, GEP-3171)', () => {
  test.each<[string, Partial<RequestMirror>, number, boolean]>([
    ['every one, without percent and fraction', {}, 0.999, true],
    ['percent 100 is every one', { percent: 100 }, 0.999, true],
    ['percent 0 is none', { percent: 0 }, 0, false],
    ['percent 20: below', { percent: 20 }, 0.199, true],
    ['percent 20: above', { percent: 20 }, 0.2, false],
    ['fraction 1/3: below', { fraction: { numerator: 1, denominator: 3 } }, 0.333, true],
    ['fraction 1/3: above', { fraction: { numerator: 1, denominator: 3 } }, 0.334, false],
    ['fraction 0 is none', { fraction: { numerator: 0, denominator: 5 } }, 0, false],
    ['fraction 5/5 is every one', { fraction: { numerator: 5, denominator: 5 } }, 0.999, true],
    [
      'fraction wins over percent, its rounded twin',
      { percent: 0, fraction: { numerator: 1, denominator: 1000 } },
      0,
      true,
    ],
  ])('%s', async (_, share, random, expected) => {
    const received = engine.request({ url: 'http://a/' })
    const context = contextOf(received, { random: () => random })
    await forwarded(compiled(mirror(share)), received, context)
    expect(context.mirrored.length).toBe(expected ? 1 : 0)
  })

  test('several mirrors choose independently', async () => {
    const rolls = [0.1, 0.9, 0.1]
    const received = engine.request({ url: 'http://a/' })
    const context = contextOf(received, { random: () => rolls.shift()! })
    const configs = ['one', 'two', 'three'].map((name) => mirror({ name, percent: 50 }))
    await forwarded(compiled(...configs), received, context)
    expect(context.mirrored.map(({ target }) => target.name)).toEqual(['one', 'three'])
  })
})

describe('what the mirror gets', () => {
  test('the target of the config itself, which identifies it', async () => {
    const config = mirror({ name: 'ns/mirror:8080', endpoints: [{ address: '127.0.0.1', port: 1 }] })
    expect((await mirroring(config)).mirrored[0]!.target).toBe(config.requestMirror)
  })

  test('the request as it is at that point of the list', async () => {
    const set = (value: string) => ({
      type: 'RequestHeaderModifier',
      requestHeaderModifier: { set: [{ name: 'X-A', value }] },
    })
    const rewrite = {
      type: 'URLRewrite',
      urlRewrite: { path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/n' } },
    }
    const { mirrored } = await mirroring(mirror(), set('1'), mirror(), rewrite, set('2'), mirror())
    expect(mirrored.map(({ request }) => [request.headers.get('x-a'), targetOf(request)])).toEqual([
      [null, '/p/x?y'],
      ['1', '/p/x?y'],
      ['2', '/n/x?y'],
    ])
  })

  test('its own copy of the body, each of several', async () => {
    const received = engine.request({ method: 'POST', url: 'http://a/', body: 'body' })
    const context = contextOf(received)
    const request = await forwarded(compiled(mirror(), mirror(), mirror()), received, context)
    const all = [request, ...context.mirrored.map((copy) => copy.request)]
    expect(await Promise.all(all.map((each) => each.text()))).toEqual(['body', 'body', 'body', 'body'])
  })

  test('no part in the exchange: the client that leaves does not take the copy along', async () => {
    const { mirrored } = await mirroring(mirror())
    expect(engineRequest(mirrored[0]!.request)!.exchange).toBeUndefined()
  })
})
