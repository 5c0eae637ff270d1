/**
 * `Headers` over a {@link Head}: reads search the received text, writes note an edit.
 *
 * `instanceof Headers` holds. Every member is overridden, since the platform's own would look for private state. The
 * platform's constructors do as well: hand them `[...headers]`.
 */
import type { Field } from '../runtime.ts'
import type { HeaderEdits } from './edits.ts'
import { isFieldValue, isToken } from './fields.ts'
import type { Head } from './head.ts'

/** What console.log() asks for; the platform's own would throw. */
export const inspection: unique symbol = Symbol.for('nodejs.util.inspect.custom') as never

/** Whoever owns the head that a `Headers` object shows. */
export interface HeadOwner {
  head: Head
}

export class LazyHeaders {
  readonly #owner: HeadOwner

  constructor(owner: HeadOwner) {
    this.#owner = owner
  }

  get(name: string): string | null {
    return this.#owner.head.get(lowerName(name))
  }

  has(name: string): boolean {
    return this.#owner.head.has(lowerName(name))
  }

  getSetCookie(): string[] {
    return this.#owner.head.values('set-cookie')
  }

  /** As Cloudflare's runtime has it; other runtimes have `getSetCookie` only. */
  getAll(name: string): string[] {
    return this.#owner.head.values(lowerName(name))
  }

  set(name: string, value: string): void {
    this.#edit({ removed: [lowerName(name)], added: [[name, normalValue(value)]] })
  }

  append(name: string, value: string): void {
    lowerName(name)
    this.#edit({ removed: [], added: [[name, normalValue(value)]] })
  }

  delete(name: string): void {
    this.#edit({ removed: [lowerName(name)], added: [] })
  }

  forEach(callback: (value: string, name: string, headers: Headers) => void, thisArg?: unknown): void {
    for (const [name, value] of this.#sorted()) callback.call(thisArg, value, name, this)
  }

  entries(): IterableIterator<[string, string]> {
    return this.#sorted()[Symbol.iterator]()
  }

  *keys(): IterableIterator<string> {
    for (const [name] of this.#sorted()) yield name
  }

  *values(): IterableIterator<string> {
    for (const [, value] of this.#sorted()) yield value
  }

  [Symbol.iterator](): IterableIterator<[string, string]> {
    return this.entries()
  }

  /** As Bun has it, where JSON.stringify() shows every field. */
  toJSON(): Record<string, string | string[]> {
    const cookies = this.getSetCookie()
    const all: Record<string, string | string[]> = Object.fromEntries(this.#sorted())
    if (cookies.length > 0) all['set-cookie'] = cookies
    return all
  }

  /** Bun's: the number of fields. */
  get count(): number {
    return new Set(this.#sorted().map(([name]) => name)).size
  }

  get [Symbol.toStringTag](): string {
    return 'Headers'
  }

  [inspection](): unknown {
    return this.toJSON()
  }

  #edit(edits: HeaderEdits): void {
    this.#owner.head = this.#owner.head.edit(edits)
  }

  #sorted(): [string, string][] {
    return sortAndCombine(this.#owner.head.fields())
  }
}
Object.setPrototypeOf(LazyHeaders.prototype, Headers.prototype)

/** Fetch's "sort and combine": lower-case names in order, values joined, except that every Set-Cookie stands alone. */
export function sortAndCombine(fields: readonly Field[]): [string, string][] {
  const combined = new Map<string, string>()
  const cookies: [string, string][] = []
  for (const [name, value] of fields) {
    const lower = name.toLowerCase()
    if (lower === 'set-cookie') {
      cookies.push([lower, value])
      continue
    }
    const before = combined.get(lower)
    combined.set(lower, before === undefined ? value : `${before}, ${value}`)
  }
  const all = [...combined, ...cookies]
  return all.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
}

function lowerName(name: string): string {
  if (!isToken(name)) throw new TypeError('invalid header name')
  return name.toLowerCase()
}

/** Fetch's "normalize" and its check. */
function normalValue(value: string): string {
  // oxlint-disable-next-line typescript/no-unnecessary-type-conversion -- callers in plain JavaScript may pass numbers
  const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, '')
  if (!isFieldValue(text)) throw new TypeError('invalid header value')
  return text
}
