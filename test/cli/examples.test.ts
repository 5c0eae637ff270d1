import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { describeTour, exampleNames } from '../../src/cli/demo/tour.ts'
import { wantedEndpoints } from '../../src/cli/demo/source.ts'
import { convert } from '../../src/gateway/convert.ts'
import { parseManifests, type Manifest } from '../../src/gateway/manifest-files.ts'

const folder = fileURLToPath(new URL('../../examples', import.meta.url))

async function readExample(name: string): Promise<readonly Manifest[]> {
  const { objects, diagnostics } = parseManifests(
    await readFile(`${folder}/${name}/${name}.yaml`, 'utf8'),
    `${name}.yaml`,
  )
  expect(diagnostics).toEqual([])
  return objects
}

test('the tour leads through every example that has manifests', async () => {
  const folders = (await readdir(folder)).filter((name) => name !== 'library')
  expect(folders.toSorted()).toEqual([...exampleNames].toSorted())
})

describe.each(exampleNames)('examples/%s', (name) => {
  test('can be served by itself, with nothing to complain about', async () => {
    const { config, diagnostics } = convert(await readExample(name))
    expect(diagnostics).toEqual([])
    expect(config.rules.length).toBeGreaterThan(0)
    expect(config.rules.filter(({ unavailableStatus }) => unavailableStatus !== undefined)).toEqual([])
  })

  test('is part of what the demo says', () => {
    const text = describeTour({ port: 8080, admin: 'http://127.0.0.1:8081', direct: false })
    expect(text).toContain(`(examples/${name})`)
  })
})

test('no two examples want the same port', async () => {
  const wanted = (await Promise.all(exampleNames.map(readExample))).flatMap(wantedEndpoints).map(({ port }) => port)
  expect(new Set(wanted).size).toBe(wanted.length)
})
