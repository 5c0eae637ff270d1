/**
 * Fields to header blocks. RFC 7541 section 6.
 *
 * Field lines come as text, as a {@link Head} serialises them. A line seen for the second time enters the dynamic
 * table, so that what each message repeats costs one octet and what never repeats pushes nothing out. Strings are sent
 * without Huffman coding, which costs both ends more time than it saves anybody.
 */
import { isBlank } from '../http/fields.ts'
import { staticFields, staticIndex } from './static-table.ts'

/** Our table is no larger, whatever the peer allows. */
const maxTableSize = 4096
/** Longer lines are not worth their place in the table. */
const maxIndexedLine = 512
/** Lines remembered as seen, or as entered, by their hash. */
const slots = 128
const ringSize = 128 // 4096 / 32

/** Longer texts are not remembered for the next message. */
const maxKeptText = 2_048

/** Names whose values are worth guessing: never in a table of anybody's. RFC 7541 section 7.1.3. */
const sensitive: ReadonlySet<string> = new Set([
  'authorization',
  'cookie',
  'proxy-authorization',
  'set-cookie',
  'x-api-key',
  'x-auth-token',
])

interface KnownName {
  readonly name: string
  /** 0 for names that are known only as sensitive. */
  readonly index: number
  readonly sensitive: boolean
}

/** Static names by their length and their first and last letters. */
const knownNames: readonly (readonly KnownName[])[] = buildKnownNames()

export class HpackEncoder {
  private maxSize = maxTableSize
  private announced = maxTableSize
  /** The smallest size since the last block, when it must be told. RFC 7541 section 4.2. */
  private lowest = maxTableSize
  private size = 0
  private added = 0
  private oldest = 0
  // Made when the first line is seen: many connections carry one request only.
  private seenHash: Int32Array = noSlots
  private seenEntry: Int32Array = noSlots
  private lines: Uint8Array[] = []
  private sizes: Int32Array = noSlots
  /** Counts what a block may change: while it stays, equal fields make equal blocks. */
  private changes = 0
  private lastText = ''
  private lastChanges = -1
  private lastBlock: Uint8Array = noBytes

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  limit(size: number): void {
    this.maxSize = Math.min(size, maxTableSize)
    this.lowest = Math.min(this.lowest, this.maxSize)
    this.changes++
    this.evict(0)
  }

  /** Octets that a block of so much text can come to. */
  static bound(text: string): number {
    return text.length + (text.length >> 3) + 64 // a field of less than 127 octets takes less room than its line
  }

  /** Begins a block: tells the peer of a changed table. @returns the offset behind */
  begin(out: Uint8Array, at: number): number {
    if (this.maxSize === this.announced && this.lowest === this.announced) return at
    if (this.lowest < this.maxSize) at = writeInteger(out, at, 0x20, 0x1f, this.lowest)
    at = writeInteger(out, at, 0x20, 0x1f, this.maxSize)
    this.announced = this.lowest = this.maxSize
    return at
  }

  status(status: number, out: Uint8Array, at: number): number {
    const index = statusIndex(status)
    if (index > 0) {
      out[at] = 0x80 | index
      return at + 1
    }
    return this.encode(`:status: ${status}\r\n`, out, at)
  }

  method(method: string, out: Uint8Array, at: number): number {
    if (method === 'GET' || method === 'POST') {
      out[at] = 0x80 | (method === 'GET' ? staticIndex.get : staticIndex.post)
      return at + 1
    }
    return this.encode(`:method: ${method}\r\n`, out, at)
  }

  scheme(scheme: 'http' | 'https', out: Uint8Array, at: number): number {
    out[at] = 0x80 | (scheme === 'http' ? staticIndex.http : staticIndex.https)
    return at + 1
  }

  /** Targets differ from request to request: they do not enter the table. */
  path(path: string, out: Uint8Array, at: number): number {
    if (path === '/') {
      out[at] = 0x80 | staticIndex.rootPath
      return at + 1
    }
    out[at] = staticIndex.path
    return writeText(out, at + 1, path)
  }

  authority(authority: string, out: Uint8Array, at: number): number {
    return this.encode(`:authority: ${authority}\r\n`, out, at)
  }

  /** Encodes field lines, each ending in CR LF. Names go out in lower case. @returns the offset behind */
  fields(text: string, out: Uint8Array, at: number): number {
    if (text !== this.lastText) {
      this.lastText = text.length <= maxKeptText ? text : ''
      this.lastChanges = -1
      return this.encode(text, out, at)
    }
    const { lastBlock } = this
    if (this.lastChanges === this.changes) {
      out.set(lastBlock, at)
      return at + lastBlock.length
    }
    const before = this.changes
    const end = this.encode(text, out, at)
    if (this.changes === before) {
      this.lastBlock = out.slice(at, end)
      this.lastChanges = before
    }
    return end
  }

  private encode(text: string, out: Uint8Array, at: number): number {
    const { length } = text
    if (length === 0) return at
    const lines = bytesOf(text)
    let from = 0
    while (from < length) {
      let colon = from + 1 // a pseudo-header field begins with one
      while (lines[colon] !== 58) colon++
      let end = colon + 1
      while (lines[end] !== 13) end++
      at = this.line(lines, from, colon, end, out, at)
      from = end + 2
    }
    return at
  }

  private line(lines: Uint8Array, from: number, colon: number, end: number, out: Uint8Array, at: number): number {
    let valueStart = colon + 1
    let valueEnd = end
    while (isBlank(lines[valueStart]!)) valueStart++
    while (valueEnd > valueStart && isBlank(lines[valueEnd - 1]!)) valueEnd--
    const known = knownName(lines, from, colon - from)
    const index = known === undefined ? 0 : known.index
    if (known !== undefined && known.sensitive)
      return literal(lines, from, colon, valueStart, valueEnd, index, 0x10, 0x0f, out, at)
    if (end - from > maxIndexedLine || this.maxSize === 0)
      return literal(lines, from, colon, valueStart, valueEnd, index, 0, 0x0f, out, at)

    if (this.seenHash.length === 0) {
      this.seenHash = new Int32Array(slots)
      this.seenEntry = new Int32Array(slots).fill(-1)
      this.sizes = new Int32Array(ringSize)
    }
    const hash = hashOf(lines, from, colon, valueEnd)
    const slot = (hash ^ (hash >>> 15)) & (slots - 1)
    if (this.seenHash[slot] !== hash) {
      this.changes++
      this.seenHash[slot] = hash
      this.seenEntry[slot] = -1
      return literal(lines, from, colon, valueStart, valueEnd, index, 0, 0x0f, out, at)
    }
    const entry = this.seenEntry[slot]!
    if (entry >= this.oldest && equal(this.lines[entry % ringSize]!, lines, from, end))
      return writeInteger(out, at, 0x80, 0x7f, staticFields.length + this.added - entry)
    this.changes++
    this.seenEntry[slot] = this.add(lines.slice(from, end), colon - from + valueEnd - valueStart + 32)
    return literal(lines, from, colon, valueStart, valueEnd, index, 0x40, 0x3f, out, at)
  }

  /** @returns the entry's number, counted from the connection's first */
  private add(line: Uint8Array, size: number): number {
    this.evict(size)
    if (size > this.maxSize) return -1 // the peer's table is empty now, as ours is
    this.lines[this.added % ringSize] = line
    this.sizes[this.added % ringSize] = size
    this.size += size
    return this.added++
  }

  private evict(room: number): void {
    while (this.oldest < this.added && this.size + room > this.maxSize)
      this.size -= this.sizes[this.oldest++ % ringSize]!
  }
}

const encoder = new TextEncoder()
const keptBytes = 16_384
let scratch = new Uint8Array(keptBytes)

/** The code units of a text, one octet each, until the next call: octets are quicker to look at than a joined text. */
function bytesOf(text: string): Uint8Array {
  const { length } = text
  if (length > scratch.length) scratch = new Uint8Array(length)
  const bytes = scratch
  const { read, written } = encoder.encodeInto(text, bytes)
  // UTF-8 has one octet for each code unit of ASCII alone.
  if (read !== length || written !== length) for (let i = 0; i < length; i++) bytes[i] = text.charCodeAt(i)
  if (length > keptBytes) scratch = new Uint8Array(keptBytes)
  return bytes
}

/** Of a line's length, its name's, and the end of its value, where values differ; whoever finds a line compares it. */
function hashOf(lines: Uint8Array, from: number, colon: number, end: number): number {
  let hash = Math.imul(end - from, 31) + colon - from
  for (let i = Math.max(from, end - hashedBytes); i < end; i++) hash = (Math.imul(hash, 31) + lines[i]!) | 0
  return (Math.imul(hash, 31) + lines[from]!) | 0
}

const hashedBytes = 24

function equal(line: Uint8Array, lines: Uint8Array, from: number, end: number): boolean {
  if (line.length !== end - from) return false
  for (let i = 0; i < line.length; i++) if (line[i] !== lines[from + i]) return false
  return true
}

function literal(
  lines: Uint8Array,
  from: number,
  colon: number,
  valueStart: number,
  valueEnd: number,
  nameIndex: number,
  pattern: number,
  mask: number,
  out: Uint8Array,
  at: number,
): number {
  if (nameIndex > 0) at = writeInteger(out, at, pattern, mask, nameIndex)
  else {
    out[at++] = pattern
    at = writeInteger(out, at, 0, 0x7f, colon - from)
    for (let i = from; i < colon; i++) {
      const c = lines[i]!
      out[at++] = c >= 65 && c <= 90 ? c + 32 : c
    }
  }
  at = writeInteger(out, at, 0, 0x7f, valueEnd - valueStart)
  for (let i = valueStart; i < valueEnd; i++) out[at++] = lines[i]!
  return at
}

/** A string as it is, without Huffman coding. */
function writeText(out: Uint8Array, at: number, text: string): number {
  at = writeInteger(out, at, 0, 0x7f, text.length)
  for (let i = 0; i < text.length; i++) out[at++] = text.charCodeAt(i)
  return at
}

function writeInteger(out: Uint8Array, at: number, pattern: number, mask: number, value: number): number {
  if (value < mask) {
    out[at] = pattern | value
    return at + 1
  }
  out[at++] = pattern | mask
  value -= mask
  while (value >= 0x80) {
    out[at++] = (value & 0x7f) | 0x80
    value >>>= 7
  }
  out[at] = value
  return at + 1
}

function statusIndex(status: number): number {
  switch (status) {
    case 200:
      return 8
    case 204:
      return 9
    case 206:
      return 10
    case 304:
      return 11
    case 400:
      return 12
    case 404:
      return 13
    case 500:
      return 14
    default:
      return 0
  }
}

function bucketOf(length: number, first: number, last: number): number {
  return (length * 5 + (first | 32) * 3 + (last | 32)) & 127
}

function buildKnownNames(): KnownName[][] {
  const buckets: KnownName[][] = Array.from({ length: 128 }, () => [])
  const indices = new Map<string, number>()
  staticFields.forEach(([name], i) => {
    if (!indices.has(name)) indices.set(name, i + 1)
  })
  for (const name of sensitive) if (!indices.has(name)) indices.set(name, 0)
  for (const [name, index] of indices) {
    const bucket = bucketOf(name.length, name.charCodeAt(0), name.charCodeAt(name.length - 1))
    buckets[bucket]!.push({ name, index, sensitive: sensitive.has(name) })
  }
  return buckets
}

function knownName(lines: Uint8Array, at: number, length: number): KnownName | undefined {
  const bucket = knownNames[bucketOf(length, lines[at]!, lines[at + length - 1]!)]!
  for (let i = 0; i < bucket.length; i++) {
    const known = bucket[i]!
    if (known.name.length === length && isNamed(lines, at, known.name)) return known
  }
  return undefined
}

function isNamed(lines: Uint8Array, at: number, lowerName: string): boolean {
  for (let i = 0; i < lowerName.length; i++) {
    const c = lines[at + i]!
    if ((c >= 65 && c <= 90 ? c + 32 : c) !== lowerName.charCodeAt(i)) return false
  }
  return true
}

const noSlots = new Int32Array(0)
const noBytes = new Uint8Array(0)
