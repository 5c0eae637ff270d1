import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const text = readFileSync(new URL('../../docs/gateway-api.md', import.meta.url), 'utf8')
const cited = new Set([...text.matchAll(/`((?:[\w-]+\/)+[\w-]+(?:(?:\.node)?\.test\.ts)?)`/g)].map(([, path]) => path!))

test('every test that the page names is there', () => {
  const paths = [...cited].filter((path) => path.endsWith('.test.ts') || path.startsWith('golden/'))
  expect(paths.length).toBeGreaterThan(30)
  const missing = paths.filter(
    (path) => !existsSync(new URL(path.startsWith('golden/') ? `../${path}.in.yaml` : `../${path}`, import.meta.url)),
  )
  expect(missing).toEqual([])
})

test('every row of a clause names a test, or says that there is nothing to test', () => {
  const rows = text.split('\n').filter((line) => /\| (?:yes|ours|no) \|/.test(line))
  expect(rows.length).toBeGreaterThan(70)
  expect(rows.filter((row) => !/\| (?:`[^|]+`|–) \|$/.test(row))).toEqual([])
})
