/**
 * Each `test/golden/NAME.in.yaml` converts to `NAME.out.yaml`: the config in its wire form, and what was found. The file
 * name is the test name. `npm run test:golden` rewrites the second files; the review reads their diff.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { parseProxyConfig } from '../../src/config/proxy-config.ts'
import { toWire } from '../../src/config/to-wire.ts'
import { convert } from '../../src/gateway/convert.ts'
import { formatDiagnostic } from '../../src/gateway/diagnostics.ts'
import { parseManifests } from '../../src/gateway/manifest-files.ts'

const folder = fileURLToPath(new URL('../golden/', import.meta.url))
const names = readdirSync(folder).flatMap((name) => /^(.+)\.in\.yaml$/.exec(name)?.[1] ?? [])

describe.each(names)('%s', (name) => {
  const { objects, diagnostics: syntax } = parseManifests(readFileSync(`${folder}${name}.in.yaml`, 'utf8'), 'in.yaml')
  const { config, diagnostics } = convert(objects)

  test('converts to this config, with these findings', async () => {
    expect(syntax).toEqual([])
    const findings = diagnostics.map((diagnostic) => ({
      [diagnostic.level]: formatDiagnostic(diagnostic),
      ...(diagnostic.condition && { condition: `${diagnostic.condition.type}: ${diagnostic.condition.reason}` }),
    }))
    const text = stringify({ config: toWire(config), findings }, { lineWidth: 0, aliasDuplicateObjects: false })
    await expect(text).toMatchFileSnapshot(`${folder}${name}.out.yaml`)
  })

  test('makes a config that the data plane accepts', () => {
    const wire: unknown = JSON.parse(JSON.stringify(toWire(config)))
    expect(parseProxyConfig(wire)).toMatchObject({ config: { version: 1 }, warnings: [] })
  })
})
