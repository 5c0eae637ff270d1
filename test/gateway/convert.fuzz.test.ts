/**
 * Whatever manifests hold, `convert` answers: it does not throw, and what it answers the data plane accepts as it is.
 * The manifests are the goldens', with pieces replaced, removed, doubled and moved.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseProxyConfig } from '../../src/config/proxy-config.ts'
import { toWire } from '../../src/config/to-wire.ts'
import { convert } from '../../src/gateway/convert.ts'
import { formatDiagnostic } from '../../src/gateway/diagnostics.ts'
import { parseManifests } from '../../src/gateway/manifest-files.ts'
import { compile } from '../../src/routing/table.ts'

const folder = fileURLToPath(new URL('../golden/', import.meta.url))
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.in.yaml'))
  .map((name) => readFileSync(folder + name, 'utf8'))
const manifests = files.flatMap((text) => parseManifests(text, 'in.yaml').objects.map(({ value }) => value))

/** Values that mean something somewhere, so that a wrong one is nearly a right one. */
const words =
  '* *. / .. % Exact RegularExpression (?= [ (a*)* https://* default web HTTPRoute CORS 10s __proto__ constructor ' +
  'fe80::1 ::ffff:169.254.1.1 0x7f.1 http://a@b 127.0.0.1'
const telling = fc.oneof(
  fc.constantFrom<unknown>(null, {}, [], '', 0, -1, 1.5, 1e10, true, 'a\u0000b', 'a\r\nb: c', '\uD800'),
  fc.constantFrom(...words.split(' ')),
)
const replacement = fc.oneof(
  { weight: 4, arbitrary: telling },
  { weight: 1, arbitrary: fc.anything({ withNullPrototype: true, withObjectString: true }) },
  { weight: 1, arbitrary: fc.constantFrom(...manifests) },
)
interface Change {
  steps: number[]
  action: 'replace' | 'remove' | 'double' | 'rename'
  value: unknown
}
const change: fc.Arbitrary<Change> = fc.record({
  steps: fc.array(fc.nat(20), { minLength: 1, maxLength: 10 }),
  action: fc.constantFrom('replace', 'remove', 'double', 'rename'),
  value: replacement,
})

/** Walks down as far as there is something below, and makes the change where it ends. */
function apply(root: unknown, { steps, action, value }: Change): void {
  let parent = root as Record<string, unknown>
  for (const [i, step] of steps.entries()) {
    const keys = Object.keys(parent)
    const key = keys[step % keys.length]
    if (key === undefined) return
    const child = parent[key]
    if (i < steps.length - 1 && typeof child === 'object' && child !== null && Object.keys(child).length > 0) {
      parent = child as Record<string, unknown>
      continue
    }
    if (action === 'remove' && Array.isArray(parent)) parent.splice(Number(key), 1)
    else if (action === 'remove') delete parent[key]
    else if (action === 'double' && Array.isArray(parent)) parent.push(child)
    else if (action === 'rename' && !Array.isArray(parent)) {
      delete parent[key]
      parent[typeof value === 'string' ? value : `${key}s`] = child
    } else parent[key] = value
    return
  }
}

function convertsSafely(values: readonly unknown[]): void {
  const { config, diagnostics } = convert(values.map((value) => ({ value, file: 'in.yaml', line: 1 })))
  const wire: unknown = JSON.parse(JSON.stringify(toWire(config)))
  expect(parseProxyConfig(wire)).toMatchObject({ warnings: [] })
  expect(compile(config, (rule) => rule).diagnostics).toEqual([])
  for (const diagnostic of diagnostics) expect(formatDiagnostic(diagnostic)).toMatch(/^[\x20-\x7e]+$/)
}

test('manifests with mistakes in them', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(manifests.length - 1), { minLength: 1, maxLength: 30 }),
      fc.array(change, { minLength: 1, maxLength: 20 }),
      (picks, changes) => {
        const values = structuredClone(picks.map((pick) => manifests[pick]))
        for (const one of changes) apply(values, structuredClone(one))
        convertsSafely(values)
      },
    ),
    { numRuns: 500 },
  )
})

test('no manifests at all, but anything', () => {
  fc.assert(
    fc.property(fc.array(fc.anything({ withBigInt: true, withDate: true, withMap: true })), (values) => {
      convertsSafely(values)
    }),
    { numRuns: 300 },
  )
})

test('files with bytes changed are read, or refused with a place', () => {
  const edit = fc.record({ at: fc.nat(), remove: fc.nat(20), insert: fc.oneof(fc.string(), telling.map(String)) })
  fc.assert(
    fc.property(fc.constantFrom(...files), fc.array(edit, { minLength: 1, maxLength: 5 }), (text, edits) => {
      let changed = text
      for (const { at, remove, insert } of edits) {
        const start = at % changed.length
        changed = changed.slice(0, start) + insert + changed.slice(start + remove)
      }
      const { objects, diagnostics } = parseManifests(changed, 'in.yaml')
      expect(diagnostics.every(({ line, column }) => line !== undefined && column !== undefined)).toBe(true)
      convertsSafely(objects.map(({ value }) => value))
    }),
    { numRuns: 150 },
  )
})
