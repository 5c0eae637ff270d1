import { describe, expect, test } from 'vitest'
import { formatDiagnostic } from '../../src/gateway/diagnostics.ts'
import { parseManifests } from '../../src/gateway/manifest-files.ts'

const values = (text: string): unknown[] => parseManifests(text, 'a.yaml').objects.map(({ value }) => value)
const complaints = (text: string): string[] => parseManifests(text, 'a.yaml').diagnostics.map(formatDiagnostic)

describe('a file of manifests', () => {
  test.each<[string, string, unknown[]]>([
    ['nothing', '', []],
    ['one document', 'a: 1', [{ a: 1 }]],
    ['several, some of them empty', '---\na: 1\n---\n---\n# only a comment\n---\nb: 2\n...\n', [{ a: 1 }, { b: 2 }]],
    ['JSON, with tabs', '{"a":\t[1,\n\t"b"]}', [{ a: [1, 'b'] }]],
    ['JSON documents between YAML separators', '---\n{"a": 1}\n---\n{"b": 2}\n', [{ a: 1 }, { b: 2 }]],
    ['a byte order mark and CR LF', '\uFEFFa: 1\r\nb: 2\r\n', [{ a: 1, b: 2 }]],
    ['a List', 'kind: List\napiVersion: v1\nitems:\n- a: 1\n- b: 2', [{ a: 1 }, { b: 2 }]],
    ['an empty List', 'kind: List\nitems: []\n---\nkind: List\nitems:\n---\nkind: HTTPRouteList', []],
    [
      'a typed list, whose items need not say what they are',
      'kind: HTTPRouteList\napiVersion: g/v1\nitems: [{ a: 1 }, { kind: Own, apiVersion: o/v1 }, 3]',
      [{ a: 1, kind: 'HTTPRoute', apiVersion: 'g/v1' }, { kind: 'Own', apiVersion: 'o/v1' }, 3],
    ],
    [
      'a list in a list, which is none',
      'kind: List\nitems: [{ kind: List, items: [] }]',
      [{ kind: 'List', items: [] }],
    ],
    ['aliases', 'a: &x [1]\nb: *x', [{ a: [1], b: [1] }]],
    ['YAML 1.2: yes is a word, and so is a time', 'a: yes\nb: 2026-01-01', [{ a: 'yes', b: '2026-01-01' }]],
    ['YAML 1.2, whatever the file says', '%YAML 1.1\n---\na: yes', [{ a: 'yes' }]],
    ['no merge keys', 'a: { <<: { b: 1 } }', [{ a: { '<<': { b: 1 } } }]],
    ['a tag of YAML’s own', 'a: !!str 1', [{ a: '1' }]],
    ['keys that are numbers', '1: a', [{ '1': 'a' }]],
  ])('holds %s', (_, text, expected) => {
    expect(complaints(text)).toEqual([])
    expect(values(text)).toEqual(expected)
  })

  test('keeps the file and the line of each document', () => {
    const { objects } = parseManifests('# a comment\n---\n\na: 1\n---\nb: 2\n', 'dir/b.yaml')
    expect(objects.map(({ file, line }) => `${file}:${line}`)).toEqual(['dir/b.yaml:4', 'dir/b.yaml:6'])
  })

  test('gives a key named __proto__ no power', () => {
    const [value] = values('__proto__: { polluted: true }')
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
    expect(({} as { polluted?: true }).polluted).toBeUndefined()
  })
})

describe('a file that is not well-formed', () => {
  test.each([
    ['a syntax error', 'a: 1\nb: "c', 'a.yaml:2:6: Missing closing "quote.'],
    ['tabs as indentation', 'a:\n\t- b', 'a.yaml:2:1: Tabs are not allowed as indentation.'],
    ['a repeated key', 'a: 1\nb: { c: 1, c: 2 }', 'a.yaml:2:12: Map keys must be unique. Keep one of them.'],
    ['a repeated key in JSON', '{"a": 1, "a": 2}', 'a.yaml:1:10: Map keys must be unique. Keep one of them.'],
    ['a key that is a list', '[1]: 2', 'a.yaml:1:1: With stringKeys, all keys must be strings.'],
    ['a tag of somebody’s own', 'a: !vault x', 'a.yaml:1:4: Unresolved tag: !vault. Write the value without a tag.'],
    [
      'a binary tag',
      'a: !!binary aGk=',
      'a.yaml:1:4: Unresolved tag: tag:yaml.org,2002:binary. Write the value without a tag.',
    ],
    ['an alias of nothing', 'a: *b', 'a.yaml:1:1: Unresolved alias (the anchor must be set before the alias): b.'],
    ['flow nesting without end', '['.repeat(100_000), 'a.yaml:1:201: Values are nested more than 200 deep.'],
    ['block nesting without end', '- '.repeat(100_000), 'a.yaml:1:400: Values are nested more than 200 deep.'],
    ['keys nested without end', '{a: '.repeat(100_000), 'a.yaml:1:798: Values are nested more than 200 deep.'],
  ])('%s', (_, text, expected) => {
    const { objects, diagnostics } = parseManifests(text, 'a.yaml')
    expect(diagnostics.map(formatDiagnostic)).toContain(expected)
    expect(diagnostics.every(({ level, line, column }) => level === 'error' && line && column)).toBe(true)
    expect(objects).toEqual([])
  })

  test('refuses the good documents as well: half of the file may be missing', () => {
    expect(values('a: 1\n---\nb: [')).toEqual([])
  })

  test('an alias bomb', () => {
    const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]']
    for (let i = 1; i < 12; i++)
      lines.push(
        `a${i}: &a${i} [${Array(10)
          .fill(`*a${i - 1}`)
          .join(', ')}]`,
      )
    expect(complaints(lines.join('\n'))).toEqual([expect.stringContaining('Excessive alias count')])
  })

  test('never quotes the line, which could be a secret', () => {
    const text = 'kind: Secret\nstringData:\n  password: "hunter2\n  other: !x hunter2'
    expect(complaints(text).length).toBeGreaterThan(0)
    expect(complaints(text).join()).not.toContain('hunter2')
  })

  test('stops complaining at some point', () => {
    expect(complaints('a: 1\n'.repeat(1000)).length).toBe(10)
  })

  test('reads a map of very many keys in time', () => {
    const text = `{${Array.from({ length: 50_000 }, (_, i) => `k${i}: 1`).join(', ')}}`
    expect(Object.keys(values(text)[0] as object)).toHaveLength(50_000)
  })
})
