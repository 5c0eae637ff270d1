import { posix } from 'node:path'
import type { ImportsOfFile } from './imports.ts'

/*
 * The house, floor by floor. A room is a folder of src/, or a file that stands alone in it. Imports go downstairs
 * only: to a lower floor, or within the room. Floor 0 is one common room: its parts may use each other.
 */
const floors: readonly (readonly string[])[] = [
  ['runtime.ts', 'errors.ts', 'options.ts', 'options', 'telemetry.ts', 'timers.ts', 'http', 'config'],
  ['http1', 'http2', 'gateway', 'routing', 'filters'],
  ['server.ts'],
  ['tunnel', 'tunnel/edge', 'backends', 'sources'],
  ['proxy'],
  ['admin', 'control', 'observe'],
  ['start.ts'],
  ['mod.ts'],
  ['cli'],
]

/** The local edge speaks the connector's wire format from the other end; the connector knows nothing of it. */
const doors: Readonly<Record<string, readonly string[]>> = { 'tunnel/edge': ['tunnel'] }

/** Each library has one job, so each has its rooms. Adapters may use any that the package depends on. */
const librariesOfSrc: Readonly<Record<string, readonly string[]>> = {
  '@peculiar/x509': ['tunnel/edge'],
  commander: ['cli'],
  hono: ['admin'],
  'ipaddr.js': ['options', 'http', 'config', 'gateway', 'backends', 'tunnel', 'proxy', 'admin', 'start.ts', 'cli'],
  re2js: ['config', 'routing'],
  'reflect-metadata': ['tunnel/edge'],
  valibot: ['config', 'admin'],
  yaml: ['gateway', 'start.ts', 'cli'],
  zod: ['options.ts', 'options', 'gateway', 'admin', 'cli'],
}

/** An adapter's own modules, besides Node's. */
const modulesOfAdapters: Readonly<Record<string, readonly string[]>> = {
  bun: ['bun', 'bun:'],
  workers: ['cloudflare:'],
}

/**
 * Holds a set of files to the house rules.
 *
 * @param dependencies names in package.json's `dependencies`: what whoever installs the package will have
 * @returns one sentence for each broken rule; none when the house is in order
 */
export function findViolations(files: readonly ImportsOfFile[], dependencies: ReadonlySet<string>): readonly string[] {
  const violations: string[] = []
  for (const { file, specifiers } of files) {
    for (const specifier of specifiers) {
      const problem = specifier.startsWith('.')
        ? judgeRelative(file, posix.join(posix.dirname(file), specifier))
        : judgeModule(file, specifier, dependencies)
      if (problem !== undefined) violations.push(`${file} imports ${specifier}: ${problem}`)
    }
  }
  return [...violations, ...findCycles(files).map((cycle) => `these import each other: ${cycle.join(' -> ')}`)]
}

function judgeRelative(file: string, target: string): string | undefined {
  if (!target.endsWith('.ts')) return 'an import names a .ts file'
  return file.startsWith('src/') ? judgeRooms(file, target) : judgeAdapters(file, target)
}

function judgeRooms(file: string, target: string): string | undefined {
  if (!target.startsWith('src/')) return 'src/ imports nothing outside itself'
  const from = roomOf(file)
  const to = roomOf(target)
  const fromFloor = floorOf(from)
  const toFloor = floorOf(to)
  if (fromFloor === -1) return `no floor lists the room ${from}`
  if (toFloor === -1) return `no floor lists the room ${to}`
  if (from === to || fromFloor === 0 || doors[from]?.includes(to)) {
    return toFloor > fromFloor ? `${to} is upstairs of ${from}` : undefined
  }
  if (toFloor > fromFloor) return `${to} is upstairs of ${from}`
  return toFloor === fromFloor ? `${from} and ${to} are on one floor` : undefined
}

function judgeAdapters(file: string, target: string): string | undefined {
  if (target.startsWith('src/')) return undefined
  const to = adapterOf(target)
  if (to === undefined) return 'adapters import src/ and adapters/portable'
  return to === adapterOf(file) || to === 'portable' ? undefined : 'adapters do not import each other'
}

function judgeModule(file: string, specifier: string, dependencies: ReadonlySet<string>): string | undefined {
  const inSrc = file.startsWith('src/')
  if (specifier.startsWith('reference:')) return inSrc ? 'src/ has one set of types, and no other' : undefined
  if (specifier.startsWith('node:')) return inSrc ? 'src/ is Web-standard code' : undefined
  const own = modulesOfAdapters[adapterOf(file) ?? '']
  if (own?.some((name) => specifier === name || (name.endsWith(':') && specifier.startsWith(name)))) return undefined

  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
  if (!dependencies.has(name)) return `package.json does not list ${name} among its dependencies`
  if (inSrc && !librariesOfSrc[name]?.includes(roomOf(file))) return `${name} is not for the room ${roomOf(file)}`
  return undefined
}

function roomOf(file: string): string {
  const [, first = '', second = '', third] = file.split('/')
  return third !== undefined && floorOf(`${first}/${second}`) !== -1 ? `${first}/${second}` : first
}

function floorOf(room: string): number {
  return floors.findIndex((rooms) => rooms.includes(room))
}

function adapterOf(file: string): string | undefined {
  return /^adapters\/([^/]+)\//.exec(file)?.[1]
}

/** Every file that a walk along imports comes back to, once, as the path walked. */
function findCycles(files: readonly ImportsOfFile[]): readonly (readonly string[])[] {
  const edges = new Map(
    files.map(({ file, specifiers }) => [
      file,
      specifiers.filter((name) => name.startsWith('.')).map((name) => posix.join(posix.dirname(file), name)),
    ]),
  )
  const cycles: string[][] = []
  const done = new Set<string>()
  const walk = (file: string, path: readonly string[]): void => {
    const start = path.indexOf(file)
    if (start !== -1) cycles.push([...path.slice(start), file])
    if (start !== -1 || done.has(file)) return
    for (const target of edges.get(file) ?? []) walk(target, [...path, file])
    done.add(file)
  }
  for (const file of edges.keys()) walk(file, [])
  return cycles
}
