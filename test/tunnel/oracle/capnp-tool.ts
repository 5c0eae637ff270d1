import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The C++ implementation's command line tool (Debian: capnproto), which knows nothing of ours. */
export interface CapnpTool {
  /** Messages of a type, framed one after the other, as JSON values. */
  toJson(type: string, binary: Uint8Array): unknown[]
  /** The other way round, in segments of at least `segmentWords` words. */
  toBinary(type: string, values: readonly unknown[], segmentWords?: number): Uint8Array
  close(): void
}

/** The tool's version, or `undefined` where it is not installed. */
export function capnpVersion(): string | undefined {
  try {
    return execFileSync('capnp', ['--version'], { encoding: 'utf8' }).trim()
  } catch {
    return undefined
  }
}

/** @param content the struct that RPC payloads hold */
export function openCapnpTool(content: string): CapnpTool {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-capnp-'))
  const schema = join(folder, 'tunnel.capnp')
  const text = readFileSync(new URL('tunnel.capnp', import.meta.url), 'utf8')
  writeFileSync(schema, text.replace('using Content = Nothing;', `using Content = ${content};`))

  const run = (args: readonly string[], input: Uint8Array | string): Uint8Array =>
    execFileSync('capnp', ['convert', ...args], { input, maxBuffer: 256 * 1024 * 1024 })

  return {
    toJson(type, binary) {
      const lines = new TextDecoder().decode(run(['--short', 'binary:json', schema, type], binary))
      return lines
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as unknown)
    },
    toBinary(type, values, segmentWords) {
      const size = segmentWords === undefined ? [] : [`--segment-size=${segmentWords}`]
      return run([...size, 'json:binary', schema, type], values.map((value) => JSON.stringify(value)).join('\n'))
    },
    close() {
      rmSync(folder, { recursive: true })
    },
  }
}

/**
 * A value without the characters that confuse the tool's reader of JSON streams, which looks for brackets, quotes and
 * comments in strings too. They do go the other way.
 */
export function plainly<T>(value: T): T {
  if (typeof value === 'string') return value.replaceAll(/[[\]{}#/"\\]/g, '_') as T
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(plainly) as T
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, plainly(field)])) as T
}
