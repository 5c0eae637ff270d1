import { describe, expect, test } from 'vitest'
import type { HeaderModifier } from '../../src/config/proxy-config.ts'
import { editsOf } from '../../src/filters/header-edits.ts'
import type { Field } from '../../src/runtime.ts'
import { headOfLines, kinds } from '../http/messages.ts'
import { compiled, contextOf, filterResponse, forwarded } from './run.ts'

const of = (name: string, value: string): { name: string; value: string } => ({ name, value })

/** Names that show what happened: [modifier, sent, expected]. */
const rows: [string, HeaderModifier, Field[], Record<string, string | null>][] = [
  [
    'set replaces all values',
    { set: [of('X-A', 'new')] },
    [
      ['x-a', '1'],
      ['X-A', '2'],
    ],
    { 'x-a': 'new' },
  ],
  ['set creates', { set: [of('X-A', 'new')] }, [], { 'x-a': 'new' }],
  ['add keeps what is there', { add: [of('x-a', '2')] }, [['X-A', '1']], { 'x-a': '1, 2' }],
  ['add creates', { add: [of('X-A', '1')] }, [], { 'x-a': '1' }],
  [
    'remove deletes all values',
    { remove: ['X-a'] },
    [
      ['x-A', '1'],
      ['X-A', '2'],
      ['X-B', '3'],
    ],
    { 'x-a': null, 'x-b': '3' },
  ],
  ['remove of nothing is nothing', { remove: ['X-C'] }, [['X-A', '1']], { 'x-a': '1', 'x-c': null }],
  ['an empty value is a value', { set: [of('X-A', '')] }, [['X-A', '1']], { 'x-a': '' }],
  ['a list of values in one', { add: [of('X-A', '2, 3')] }, [['X-A', '1']], { 'x-a': '1, 2, 3' }],
  [
    'different actions on different names',
    { set: [of('A', '1')], add: [of('B', '2')], remove: ['C'] },
    [
      ['A', '0'],
      ['B', '0'],
      ['C', '0'],
    ],
    { a: '1', b: '0, 2', c: null },
  ],
  ['set comes before add', { add: [of('X-A', '2')], set: [of('X-A', '1')] }, [['X-A', '0']], { 'x-a': '1, 2' }],
  ['add comes before remove', { add: [of('X-A', '2')], remove: ['x-a'] }, [['X-A', '0']], { 'x-a': null }],
  ['of two set the later counts', { set: [of('X-A', '1'), of('x-a', '2')] }, [], { 'x-a': '2' }],
  ['of two add both count', { add: [of('X-A', '1'), of('x-a', '2')] }, [], { 'x-a': '1, 2' }],
]

describe.each(kinds)('on messages of $name kind', (kind) => {
  test.each(rows)('RequestHeaderModifier: %s', async (_, requestHeaderModifier, fields, expected) => {
    const filters = compiled({ type: 'RequestHeaderModifier', requestHeaderModifier })
    const { headers } = await forwarded(filters, kind.request({ url: 'http://a/', fields }))
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, headers.get(name)]))).toEqual(expected)
  })

  test.each(rows)('ResponseHeaderModifier: %s', async (_, responseHeaderModifier, fields, expected) => {
    const filters = compiled({ type: 'ResponseHeaderModifier', responseHeaderModifier })
    const context = contextOf(kind.request({ url: 'http://a/' }))
    const { headers } = await filterResponse(filters, kind.response({ status: 503, fields }), context)
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, headers.get(name)]))).toEqual(expected)
  })
})

test('names go out as the route wrote them, and what is not named stays as it came', () => {
  const head = headOfLines('hOST: a', 'x-KEEP:  1', 'X-Set: 0').edit(
    editsOf({ set: [of('X-SET', '1')], add: [of('x-add', '2')] }),
  )
  expect(head.serialize(0)).toBe('hOST: a\r\nx-KEEP:  1\r\nX-SET: 1\r\nx-add: 2\r\n')
})

test('a modifier of a request is data, and costs no function', () => {
  const filters = compiled({
    type: 'RequestHeaderModifier',
    requestHeaderModifier: { set: [of('X-A', '1')], remove: ['x-b'] },
  })
  expect(filters).toEqual({
    empty: false,
    requestEdits: { removed: ['x-a', 'x-b'], added: [['X-A', '1']] },
    request: undefined,
    responseEdits: undefined,
    response: undefined,
    ownAnswer: undefined,
  })
})

test('several modifiers of a list are one edit, in their order', () => {
  const set = (value: string) => ({ type: 'RequestHeaderModifier', requestHeaderModifier: { set: [of('X-A', value)] } })
  const add = { type: 'RequestHeaderModifier', requestHeaderModifier: { add: [of('X-A', '3')] } }
  expect(compiled(set('1'), set('2'), add).requestEdits).toEqual({
    removed: ['x-a'],
    added: [
      ['X-A', '2'],
      ['X-A', '3'],
    ],
  })
})

test('response modifiers run in reverse order, so the first of the list has the last word', () => {
  const set = (value: string) => ({
    type: 'ResponseHeaderModifier',
    responseHeaderModifier: { set: [of('X-A', value)] },
  })
  expect(compiled(set('1'), set('2')).responseEdits).toEqual({ removed: ['x-a'], added: [['X-A', '1']] })
})

test('a modifier without content does nothing', () => {
  expect(compiled({ type: 'RequestHeaderModifier', requestHeaderModifier: {} }).empty).toBe(true)
})
