import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { findViolations } from './architecture/floors.ts'
import { readImports } from './architecture/imports.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

function readSources(folder: string): readonly string[] {
  return readdirSync(`${root}/${folder}`, { recursive: true, encoding: 'utf8' })
    .map((name) => `${folder}/${name.replaceAll('\\', '/')}`)
    .filter((name) => name.endsWith('.ts') && !name.includes('/node_modules/'))
}

function readDependencies(): ReadonlySet<string> {
  const { dependencies }: { dependencies: Record<string, string> } = JSON.parse(
    readFileSync(`${root}/package.json`, 'utf8'),
  )
  return new Set(Object.keys(dependencies))
}

test('the house is in order: imports go downstairs only, and nothing uninvited comes in', () => {
  const files = [...readSources('src'), ...readSources('adapters')]
  expect(files).toContain('src/runtime.ts')
  const imports = files.map((file) => readImports(file, readFileSync(`${root}/${file}`, 'utf8')))
  expect(findViolations(imports, readDependencies())).toEqual([])
})

describe('readImports', () => {
  test.each([
    ['a value', `import { a } from './a.ts'`, ['./a.ts']],
    ['a type', `import type { A } from './a.ts'`, ['./a.ts']],
    ['nothing but the effect', `import './a.ts'`, ['./a.ts']],
    ['a re-export', `export { a } from './a.ts'; export * from './b.ts'`, ['./a.ts', './b.ts']],
    ['a dynamic import', `const f = async () => await import('node:fs')`, ['node:fs']],
    ['a type in passing', `export type B = Promise<import('./c.ts').C>`, ['./c.ts']],
    ['CommonJS in TypeScript', `import e = require('./e.ts')`, ['./e.ts']],
    ['a reference', `/// <reference types="node" />\nexport const a = 1`, ['reference:node']],
    ['no import, though a string and a comment read like one', `// import './a.ts'\nconst s = "import './b.ts'"`, []],
    ['an export of its own', `export const a = 1; export type { A }; interface A {}`, []],
  ])('sees %s', (_, source, specifiers) => {
    expect(readImports('src/x.ts', source).specifiers).toEqual(specifiers)
  })

  test('refuses a computed dynamic import', () => {
    expect(() => readImports('src/x.ts', 'export const f = (name: string) => import(name)')).toThrow('src/x.ts')
  })
})

describe('findViolations', () => {
  const dependencies = new Set(['zod', 'hono', 'pino'])
  const judge = (file: string, specifier: string): readonly string[] =>
    findViolations([{ file, specifiers: [specifier] }], dependencies)

  test.each([
    ['downstairs', 'src/proxy/proxy.ts', '../routing/table.ts'],
    ['two floors down', 'src/start.ts', './runtime.ts'],
    ['within a room', 'src/http1/server.ts', './parse.ts'],
    ['within a room, from a folder of it', 'src/gateway/kinds/service.ts', '../manifests.ts'],
    ['within floor 0', 'src/http/request.ts', '../errors.ts'],
    ['within the local edge', 'src/tunnel/edge/edge.ts', './session.ts'],
    ['from the local edge to the tunnel', 'src/tunnel/edge/edge.ts', '../capnp.ts'],
    ['to a library in its room', 'src/admin/app.ts', 'hono'],
    ["to a library's own path in its room", 'src/admin/app.ts', 'hono/bearer-auth'],
    ['from an adapter to src/', 'adapters/node/serve.ts', '../../src/start.ts'],
    ['from an adapter to the portable one', 'adapters/bun/serve.ts', '../portable/sockets.ts'],
    ["from an adapter to Node's modules", 'adapters/portable/sockets.ts', 'node:net'],
    ['from an adapter to a dependency', 'adapters/portable/log.ts', 'pino'],
    ["to a runtime's own module in its adapter", 'adapters/bun/serve.ts', 'bun:ffi'],
  ])('allows an import %s', (_, file, specifier) => {
    expect(judge(file, specifier)).toEqual([])
  })

  test.each([
    ['upstairs', 'src/routing/table.ts', '../proxy/proxy.ts', 'upstairs'],
    ['upstairs from floor 0', 'src/http/request.ts', '../http1/server.ts', 'upstairs'],
    ['from a room to the hallway', 'src/admin/app.ts', '../start.ts', 'upstairs'],
    ['across a floor', 'src/filters/cors.ts', '../routing/table.ts', 'one floor'],
    ['across a floor, through a folder', 'src/sources/files/files.ts', '../../backends/pool.ts', 'one floor'],
    ['from the tunnel to the local edge', 'src/tunnel/connector.ts', './edge/edge.ts', 'one floor'],
    ['from a room no floor lists', 'src/utils/strings.ts', '../errors.ts', 'no floor'],
    ['to a room no floor lists', 'src/proxy/proxy.ts', '../utils/strings.ts', 'no floor'],
    ['out of src/', 'src/start.ts', '../adapters/node/serve.ts', 'nothing outside'],
    ['without its suffix', 'src/http1/server.ts', './parse', '.ts file'],
    ["of Node's modules in src/", 'src/http1/server.ts', 'node:net', 'Web-standard'],
    ["of another runtime's modules in src/", 'src/http1/server.ts', 'bun:ffi', 'dependencies'],
    ['of more types in src/', 'src/http1/server.ts', 'reference:node', 'one set of types'],
    ['of a package nobody installs', 'adapters/node/serve.ts', 'vitest', 'dependencies'],
    ['of a library outside its room', 'src/routing/table.ts', 'zod', 'not for the room'],
    ['of a library that is for adapters', 'src/proxy/record.ts', 'pino', 'not for the room'],
    ['between adapters', 'adapters/bun/serve.ts', '../node/serve.ts', 'each other'],
    ['from the portable adapter to another', 'adapters/portable/sockets.ts', '../deno/serve.ts', 'each other'],
    ['from an adapter to a test', 'adapters/node/serve.ts', '../../test/support/backend.ts', 'adapters import'],
    ["of one runtime's module in another's adapter", 'adapters/node/serve.ts', 'bun', 'dependencies'],
  ])('refuses an import %s', (_, file, specifier, reason) => {
    const [violation, ...others] = judge(file, specifier)
    expect(violation).toContain(`${file} imports ${specifier}: `)
    expect(violation).toContain(reason)
    expect(others).toEqual([])
  })

  test('refuses a circle of imports, even on floor 0', () => {
    const circle = [
      { file: 'src/errors.ts', specifiers: ['./http/head.ts'] },
      { file: 'src/http/head.ts', specifiers: ['./trailers.ts'] },
      { file: 'src/http/trailers.ts', specifiers: ['../errors.ts'] },
    ]
    expect(findViolations(circle, dependencies)).toEqual([
      'these import each other: src/errors.ts -> src/http/head.ts -> src/http/trailers.ts -> src/errors.ts',
    ])
  })

  test('allows two ways to one file: a diamond is no circle', () => {
    const diamond = [
      { file: 'src/proxy/proxy.ts', specifiers: ['./respond.ts', './record.ts'] },
      { file: 'src/proxy/respond.ts', specifiers: ['./status.ts'] },
      { file: 'src/proxy/record.ts', specifiers: ['./status.ts'] },
      { file: 'src/proxy/status.ts', specifiers: [] },
    ]
    expect(findViolations(diamond, dependencies)).toEqual([])
  })
})
