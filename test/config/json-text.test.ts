import { describe, expect, test } from 'vitest'
import { parseJsonText } from '../../src/config/json-text.ts'

describe('a fault in JSON has its place', () => {
  test.each([
    ['a bare word', '{"key": hunter2}', 'text at line 1, column 9'],
    ['a comma before an end', '{"a": 1,}', 'text at line 1, column 9'],
    ['two commas', '[1,,2]', 'text at line 1, column 4'],
    ['a missing comma', '{"a": 1\n "b": 2}', 'text at line 2, column 2'],
    ['a missing colon', '{"a" 1}', 'text at line 1, column 6'],
    ['a key that is no string', '{\n\ta: 1}', 'text at line 2, column 2'],
    ['a colon in a list', '["a": 1]', 'text at line 1, column 5'],
    ['the wrong bracket', '{"a": [1}', 'text at line 1, column 9'],
    ['a bracket too many', '{"a": {}}}', 'text at line 1, column 10'],
    ['a second value', '{} {}', 'text at line 1, column 4'],
    ['a line break in a string', '{"a": "b\nc"}', 'text at line 1, column 9'],
    ['an escape that is none', String.raw`["a\x"]`, 'text at line 1, column 4'],
    ['a number that is none', '[1, 01]', 'text at line 1, column 6'],
    ['a word cut short', '[tru]', 'text at line 1, column 2'],
    ['a byte order mark', '\ufeff{}', 'text at line 1, column 1'],
    ['nothing', '', 'end at line 1, column 1'],
    ['an end inside a list', '[1,\n2\n', 'end at line 3, column 1'],
    ['an end inside a string', '{"a": "b', 'end at line 1, column 9'],
  ])('%s', (_, text, place) => {
    expect(parseJsonText(text)).toEqual({ fault: `unexpected ${place}` })
  })

  test.each([
    ['a long string', `["${'x'.repeat(1e6)}`],
    ['many escapes', `["${String.raw`\n`.repeat(1e6)}`],
    ['deep lists', '['.repeat(1e5)],
  ])('behind %s too', (_, text) => {
    expect(parseJsonText(text)).toEqual({ fault: `unexpected end at line 1, column ${text.length + 1}` })
  })
})

test('it is not looked for without end', () => {
  expect(parseJsonText('['.repeat(1e6))).toEqual({ fault: 'unexpected text or end behind the first 500000 tokens' })
})

test('what is JSON is read', () => {
  expect(parseJsonText(' {"a": [1.5e3, true, null, "\\u0041"]}\n')).toEqual({ value: { a: [1500, true, null, 'A'] } })
})
