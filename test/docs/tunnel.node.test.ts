import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const root = new URL('../../', import.meta.url)
const text = readFileSync(new URL('docs/tunnel.md', root), 'utf8')
const faults = readFileSync(new URL('src/tunnel/edge/faults.ts', root), 'utf8')

test('every test that the page names is there', () => {
  const paths = new Set(Array.from(text.matchAll(/`(test\/[\w./-]+)`/g), ([, path]) => path!))
  expect(paths.size).toBeGreaterThan(25)
  expect([...paths].filter((path) => !existsSync(new URL(path, root)))).toEqual([])
})

test('every row of the checklists is there, and names a test', () => {
  const rows = text.split('\n').filter((line) => /^\| \d+[a-z]? \|/.test(line))
  const numbers = rows.map((row) => Number.parseInt(row.slice(2), 10))
  expect([...new Set(numbers)]).toEqual(Array.from({ length: 21 }, (_, at) => at + 1))
  expect(rows.filter((row) => !/\| [^|]*`test\/[^|]+ \|$/.test(row))).toEqual([])
})

test('every fault that can be asked for is in the table of faults', () => {
  const asked = [...faults.matchAll(/^ {2}readonly (\w+)\?:|kind: '([a-z-]+)'/gm)].map(
    ([, name, kind]) => name ?? kind!,
  )
  expect(asked.length).toBeGreaterThan(12)
  const named = Array.from(text.matchAll(/`([^`\n]+)`/g), ([, code]) => code!.split(/[:,]? /)).flat()
  expect(asked.filter((name) => !named.includes(name))).toEqual([])
})
