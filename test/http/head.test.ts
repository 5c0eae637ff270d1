import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { composeEdits, type HeaderEdits } from '../../src/http/edits.ts'
import { type Head, headOf, kind, parseFields } from '../../src/http/head.ts'
import type { Field } from '../../src/runtime.ts'
import { headOfLines } from './messages.ts'

const names = [
  'Host',
  'content-length',
  'Transfer-Encoding',
  'Connection',
  'Keep-Alive',
  'TE',
  'Trailer',
  'Upgrade',
  'Expect',
  'X-Forwarded-For',
  'Forwarded',
  'CF-Ray',
  'Via',
  'Date',
  'X-A',
  'x-a',
  'X-AB',
  'Set-Cookie',
]
const aName = fc.constantFrom(...names)
const aValue = fc.constantFrom('', 'a', 'b c', 'd\te', 'f:g', 'caf\u00e9', '1, 2')
const aField = fc.tuple(aName, aValue)
const someFields: fc.Arbitrary<Field[]> = fc.array(aField, { maxLength: 8 })
const someEdits: fc.Arbitrary<HeaderEdits> = fc.record({
  removed: fc.array(
    aName.map((name) => name.toLowerCase()),
    { maxLength: 3 },
  ),
  added: fc.array(aField, { maxLength: 3 }),
})

/** Kinds that are dropped from what was added as well; of the others, what was added is ours. */
const framing = /^(?:host|content-length|transfer-encoding|connection|keep-alive|te|upgrade|expect)$/i

/** What a head must mean, in the plainest words. */
function applied(fields: readonly Field[], edits: readonly HeaderEdits[]): Field[] {
  return edits.reduce<Field[]>(
    (before, { removed, added }) => [...before.filter(([name]) => !removed.includes(name.toLowerCase())), ...added],
    [...fields],
  )
}

function textOf(fields: readonly Field[]): string {
  return fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')
}

/** The same fields as parsed text (behind a start line) and as a head of our own. */
function bothHeads(fields: readonly Field[]): Head[] {
  const start = 'GET / HTTP/1.1\r\n'
  const text = start + textOf(fields)
  return [parseFields(`${text}\r\n`, start.length, text.length, 100, 1000) as Head, headOf(fields)]
}

describe('edits', () => {
  test('composed edits have the effect of the first and then the second', () => {
    fc.assert(
      fc.property(someFields, someEdits, someEdits, (fields, first, second) => {
        expect(applied(fields, [composeEdits(first, second)])).toEqual(applied(fields, [first, second]))
      }),
    )
  })
})

describe('a head and a naive list of fields say the same', () => {
  test('of every name and of all fields, after any edits', () => {
    fc.assert(
      fc.property(someFields, fc.array(someEdits, { maxLength: 3 }), (fields, edits) => {
        const expected = applied(fields, edits)
        for (const plain of bothHeads(fields)) {
          const head = edits.reduce((before, next) => before.edit(next), plain)
          expect(head.fields()).toEqual(expected)
          for (const name of names) {
            const values = expected
              .filter(([other]) => other.toLowerCase() === name.toLowerCase())
              .map(([, value]) => value)
            expect(head.values(name.toLowerCase())).toEqual(values)
            expect(head.get(name.toLowerCase())).toBe(values.length === 0 ? null : values.join(', '))
            expect(head.has(name.toLowerCase())).toBe(values.length > 0)
          }
        }
      }),
    )
  })

  test('when serialised, with kinds dropped', () => {
    const masks: [number, RegExp][] = [
      [0, /^$/],
      [kind.host | kind.contentLength, /^(?:host|content-length)$/i],
      [kind.connection | kind.hopByHop | kind.te | kind.upgrade, /^(?:connection|keep-alive|te|upgrade)$/i],
      [kind.forwarded | kind.cloudflare, /^(?:x-forwarded-for|forwarded|cf-ray)$/i],
      [kind.transferEncoding | kind.trailer | kind.expect, /^(?:transfer-encoding|trailer|expect)$/i],
      [kind.via | kind.date, /^(?:via|date)$/i],
    ]
    fc.assert(
      fc.property(someFields, someEdits, fc.constantFrom(...masks), (fields, edits, [mask, dropped]) => {
        const kept = fields.filter(([name]) => !dropped.test(name))
        for (const head of bothHeads(fields)) {
          expect(head.serialize(mask)).toBe(textOf(kept))
          const added = edits.added.filter(([name]) => !(dropped.test(name) && framing.test(name)))
          const expected = applied(kept, [{ removed: edits.removed, added }])
          expect(head.edit(edits).serialize(mask)).toBe(textOf(expected))
        }
      }),
      { numRuns: 500 },
    )
  })

  test('a handler cannot frame or route a message by adding a field that the engine writes', () => {
    const head = headOf([]).edit({
      removed: [],
      added: [
        ['Content-Length', '5'],
        ['HOST', 'evil.example'],
        ['Via', 'x'],
      ],
    })
    expect(head.serialize(kind.contentLength | kind.host | kind.via)).toBe('Via: x\r\n')
  })

  test('a name that begins like another is another', () => {
    const head = headOfLines('X-AB: 1', 'X-A: 2', 'X: 3')
    expect(head.get('x-a')).toBe('2')
    expect(head.edit({ removed: ['x'], added: [] }).serialize(0)).toBe('X-AB: 1\r\nX-A: 2\r\n')
  })

  test('an edit changes no head but the one it makes', () => {
    const head = headOfLines('A: 1')
    head.edit({ removed: ['a'], added: [['b', '2']] })
    expect(head.fields()).toEqual([['A', '1']])
  })
})

describe('what a head refuses to hold', () => {
  test.each([
    ['no colon', 'A\r\n', 'name'],
    ['an empty name', ': a\r\n', 'name'],
    ['a space before the colon', 'A : b\r\n', 'colon-space'],
    ['a folded line', 'A: b\r\n c\r\n', 'fold'],
    ['a bare LF', 'A: b\nC: d\r\n', 'line-end'],
    ['a bare CR', 'A: b\rC: d\r\n', 'line-end'],
    ['a NUL', 'A: \0\r\n', 'value'],
    ['a letter beyond ASCII in the name', '\u00e9: a\r\n', 'name'],
    ['too many lines', 'A: b\r\nC: d\r\nE: f\r\nG: h\r\n', 'count'],
    ['too long a line', `A: ${'b'.repeat(60)}\r\n`, 'line-length'],
  ])('%s', (_, text, fault) => expect(parseFields(`${text}\r\n`, 0, text.length, 3, 50)).toBe(fault))

  test('more text than its offsets can address', () => {
    expect(() => headOf([['a', 'b'.repeat(200_000)]])).toThrow(TypeError)
  })
})

test('the received value of a kind is the first line of it, whatever edits say', () => {
  const head = headOfLines('X: y', 'content-LENGTH:  5 ', 'Content-Length: 6').edit({
    removed: ['content-length'],
    added: [],
  })
  expect(head.received(kind.contentLength)).toBe('5')
  expect(head.received(kind.host)).toBeUndefined()
})
