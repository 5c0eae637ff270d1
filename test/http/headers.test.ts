import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { engine, engineRequestOf, platform } from './messages.ts'

const url = 'http://a.example/'

describe("an engine's headers do what the platform's do", () => {
  const name = fc.constantFrom('a', 'A', 'x-b', 'X-B', 'Accept', 'set-cookie', 'Set-Cookie')
  // No empty one: Deno joins '' and '1' to '1'.
  const value = fc.constantFrom('1', ' 2 ', 'c, d', '\tcaf\u00e9\r\n')
  const step = fc.oneof(
    fc.tuple(fc.constant('set' as const), name, value),
    fc.tuple(fc.constant('append' as const), name, value),
    fc.tuple(fc.constant('delete' as const), name, fc.constant('')),
  )

  test('whatever is set, appended and deleted', () => {
    const received = fc.array(fc.tuple(name, fc.constantFrom('1', 'z')), { maxLength: 5 })
    fc.assert(
      fc.property(received, fc.array(step, { maxLength: 6 }), (fields, steps) => {
        const [theirs, ours] = [platform, engine].map((kind) => {
          const { headers } = kind.request({ url, fields })
          for (const [method, name, value] of steps) {
            if (method === 'delete') headers.delete(name)
            else headers[method](name, value)
          }
          return headers
        }) as [Headers, Headers]
        expect([...ours]).toEqual(inOrder([...theirs]))
        expect([...ours.keys()]).toEqual([...ours].map(([name]) => name))
        expect([...ours.values()]).toEqual([...ours].map(([, value]) => value))
        expect(ours.getSetCookie()).toEqual(theirs.getSetCookie())
        for (const name of ['a', 'X-B', 'accept', 'SET-cookie', 'none']) {
          expect(ours.get(name)).toBe(theirs.get(name))
          expect(ours.has(name)).toBe(theirs.has(name))
        }
      }),
      { numRuns: 300 },
    )
  })

  const fields = [
    ['X-B', '1'],
    ['Set-Cookie', 'a=1; Path=/'],
    ['accept', '*/*'],
    ['x-b', '2'],
    ['set-cookie', 'b=2'],
  ] as const

  test('iteration is in the order of lower-case names, values joined, each Set-Cookie by itself', () => {
    expect([...engine.response({ fields }).headers]).toEqual([
      ['accept', '*/*'],
      ['set-cookie', 'a=1; Path=/'],
      ['set-cookie', 'b=2'],
      ['x-b', '1, 2'],
    ])
  })

  test('as JSON they are an object, as Bun has it', () => {
    const expected = { accept: '*/*', 'set-cookie': ['a=1; Path=/', 'b=2'], 'x-b': '1, 2' }
    expect(JSON.parse(JSON.stringify(engine.request({ url, fields }).headers))).toEqual(expected)
  })

  test('forEach gives value, name and the headers themselves', () => {
    const { headers } = engine.request({ url, fields })
    const seen: unknown[] = []
    headers.forEach(function (this: unknown, ...all) {
      seen.push([this, ...all])
    }, 'this')
    expect(seen).toHaveLength(4)
    expect(seen[3]).toEqual(['this', '1, 2', 'x-b', headers])
    expect((seen[3] as unknown[])[3]).toBe(headers)
  })

  test('they are Headers, always the same ones, and a copy of them is genuine', () => {
    const request = engine.request({ url, fields })
    expect(request.headers).toBeInstanceOf(Headers)
    expect(request.headers).toBe(request.headers)
    expect(Object.prototype.toString.call(request.headers)).toBe('[object Headers]')
    expect(inOrder([...new Headers([...request.headers])])).toEqual([...request.headers])
    expect(Object.fromEntries(request.headers)).toMatchObject({ accept: '*/*', 'x-b': '1, 2' })
  })

  test('what is written shows in the message, and in no other that shares the received text', () => {
    const request = engineRequestOf({ url, fields })
    const { headers } = request
    headers.set('X-B', '3')
    headers.append('X-C', '4')
    expect(request.headers.get('x-b')).toBe('3')
    expect([...request.headers.keys()]).toEqual(['accept', 'set-cookie', 'set-cookie', 'x-b', 'x-c'])
  })

  test.each<[string, (headers: Headers) => unknown]>([
    ['get with a bad name', (headers) => headers.get('a b')],
    ['has with no name', (headers) => headers.has('')],
    ['set with a line break', (headers) => headers.set('a', 'b\nc')],
    ['set with NUL', (headers) => headers.set('a', 'b\0c')],
    ['append with a code unit above 0xFF', (headers) => headers.append('a', '\u0100')],
    ['append with a bad name', (headers) => headers.append('a:', 'b')],
    ['delete with a bad name', (headers) => headers.delete('\u00e9')],
  ])('%s throws a TypeError and changes nothing', (_, misuse) => {
    for (const kind of [platform, engine]) {
      const { headers } = kind.request({ url, fields })
      expect(() => misuse(headers)).toThrow(TypeError)
      expect(headers.get('x-b')).toBe('1, 2')
      expect(headers.has('a')).toBe(false)
    }
  })

  test('no member is left to the platform, whose own would look for private state', () => {
    const { headers } = engine.request({ url })
    expect(foreignMembers(headers, Headers.prototype)).toEqual([])
  })
})

/** Bun lists cookies last; the order is tested below. */
function inOrder(fields: readonly [string, string][]): [string, string][] {
  return fields.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
}

function foreignMembers(object: object, platformPrototype: object): string[] {
  const ours = Object.getPrototypeOf(object) as object
  return Object.getOwnPropertyNames(platformPrototype).filter(
    (name) => !Object.hasOwn(ours, name) && !Object.hasOwn(object, name),
  )
}
