/**
 * One message head: the text that came over the wire, and the edits laid over it.
 *
 * The text is scanned once. Each field line is remembered as its offset and its kind, so that what a proxy must take
 * out (hop-by-hop fields, forwarding claims of strangers) is cut by copying the runs between, and what nobody touches is
 * never taken apart. A `Head` can only hold valid field lines: the parser, `headOf` and the makers of edits see to it.
 */
import type { Field } from '../runtime.ts'
import { composeEdits, type HeaderEdits } from './edits.ts'
import { equalsFold, isBlank, isFieldValue, isToken, tokenTable, valueTable } from './fields.ts'

/** Kinds of field that the gateway itself acts upon; a bit each, so that sets of them are masks. */
export const kind = {
  other: 0,
  host: 1 << 0,
  contentLength: 1 << 1,
  transferEncoding: 1 << 2,
  connection: 1 << 3,
  /** Keep-Alive, Proxy-Connection, HTTP2-Settings, Proxy-Authenticate, Proxy-Authorization. */
  hopByHop: 1 << 4,
  te: 1 << 5,
  trailer: 1 << 6,
  upgrade: 1 << 7,
  expect: 1 << 8,
  /** Forwarded, X-Forwarded-*, X-Real-IP, X-Original-Host. */
  forwarded: 1 << 9,
  /** CF-*: what Cloudflare's edge says of the client, Cf-Access-* among them. */
  cloudflare: 1 << 10,
  via: 1 << 11,
  date: 1 << 12,
} as const

/** Kinds of field that are one hop's own business, and never passed on. RFC 9110 section 7.6.1 */
export const hopByHopKinds: number = kind.connection | kind.transferEncoding | kind.hopByHop | kind.te | kind.upgrade

/** Those, and what says where a message ends or goes: an engine writes them itself, and nobody else adds any. */
export const connectionKinds: number = hopByHopKinds | kind.host | kind.contentLength | kind.expect

/** A line is its offset << kindBits | its kind. */
export const kindBits = 13
/** Offsets and kinds share one small integer (31 bits where pointers are compressed). */
const maxText = 1 << (30 - kindBits)

/** Upper limit of a head's text in this representation; parsers must keep below it. */
export const maxHeadText: number = maxText - 1

export type HeadFault = 'name' | 'colon-space' | 'value' | 'line-end' | 'fold' | 'count' | 'line-length'

export class Head {
  /** Whatever the field lines stand in: the whole head as received, or the lines alone. */
  readonly text: string
  /** One entry a line: offset of the name << kindBits | kind. */
  readonly lines: readonly number[]
  /** Offset behind the last line's CR LF. */
  readonly end: number
  /** Union of the kinds of all lines. Edits are not in it. */
  readonly kinds: number
  readonly edits: HeaderEdits | undefined
  // Heads that serve many messages (`http1/head-memo.ts`) are edited and written in the same way each time.
  private lastEdits: HeaderEdits | undefined
  private lastEdited: Head | undefined
  private lastDropped = -1
  private lastText = ''

  constructor(text: string, lines: readonly number[], end: number, kinds: number, edits?: HeaderEdits) {
    this.text = text
    this.lines = lines
    this.end = end
    this.kinds = kinds
    this.edits = edits
  }

  edit(edits: HeaderEdits): Head {
    if (this.lastEdits === edits) return this.lastEdited!
    const edited = new Head(
      this.text,
      this.lines,
      this.end,
      this.kinds,
      this.edits ? composeEdits(this.edits, edits) : edits,
    )
    this.lastEdits = edits
    return (this.lastEdited = edited)
  }

  has(lowerName: string): boolean {
    return this.get(lowerName) !== null
  }

  /**
   * All values joined by a comma and a space, or null. RFC 9110 section 5.2.
   *
   * @param among the kinds that fields of that name are of, where they are known: other lines are passed by
   */
  get(lowerName: string, among = 0): string | null {
    let found: string | null = null
    if ((among === 0 || (this.kinds & among) !== 0) && !this.edits?.removed.includes(lowerName)) {
      for (let i = 0; i < this.lines.length; i++) {
        const line = this.lines[i]!
        if (among !== 0 && (line & among) === 0) continue
        const at = line >>> kindBits
        if (this.named(at, lowerName)) {
          const value = this.valueAt(i, at + lowerName.length)
          found = found === null ? value : `${found}, ${value}`
        }
      }
    }
    if (this.edits) {
      for (const [name, value] of this.edits.added) {
        if (name.length === lowerName.length && equalsFold(name, 0, lowerName))
          found = found === null ? value : `${found}, ${value}`
      }
    }
    return found
  }

  /** The values of all fields of that name, one entry per field line. */
  values(lowerName: string): string[] {
    const found: string[] = []
    if (!this.edits?.removed.includes(lowerName)) {
      for (let i = 0; i < this.lines.length; i++) {
        const at = this.lines[i]! >>> kindBits
        if (this.named(at, lowerName)) found.push(this.valueAt(i, at + lowerName.length))
      }
    }
    if (this.edits) {
      for (const [name, value] of this.edits.added) {
        if (name.length === lowerName.length && equalsFold(name, 0, lowerName)) found.push(value)
      }
    }
    return found
  }

  /** Value of the first received line of a kind, edits disregarded; undefined when there is none. */
  received(wanted: number): string | undefined {
    if ((this.kinds & wanted) === 0) return undefined
    for (let i = 0; i < this.lines.length; i++) {
      const line = this.lines[i]!
      if ((line & wanted) !== 0) return this.valueAt(i, this.text.indexOf(':', line >>> kindBits))
    }
    return undefined
  }

  /** Whether edits remove or add fields of that name. */
  edited(lowerName: string): boolean {
    const { edits } = this
    if (edits === undefined) return false
    return (
      edits.removed.includes(lowerName) ||
      edits.added.some(([name]) => name.length === lowerName.length && equalsFold(name, 0, lowerName))
    )
  }

  /** Every field in order, names as they were written, edits applied. */
  fields(): Field[] {
    const all: Field[] = []
    const removed = this.edits?.removed
    for (let i = 0; i < this.lines.length; i++) {
      const at = this.lines[i]! >>> kindBits
      if (removed && this.isOneOf(at, removed)) continue
      const colon = this.text.indexOf(':', at)
      all.push([this.text.slice(at, colon), this.valueAt(i, colon)])
    }
    if (this.edits) all.push(...this.edits.added)
    return all
  }

  /**
   * The field lines as text, each ending in CR LF, edits applied.
   *
   * @param dropped kinds to leave out, a mask; of added fields those that frame or route the message
   */
  serialize(dropped: number): string {
    if (this.lastDropped !== dropped) {
      this.lastText = this.write(dropped)
      this.lastDropped = dropped
    }
    return this.lastText
  }

  private write(dropped: number): string {
    const { text, lines, edits } = this
    const first = lines.length === 0 ? this.end : lines[0]! >>> kindBits
    let out: string
    const removed = edits?.removed
    if ((this.kinds & dropped) === 0 && (removed === undefined || removed.length === 0)) {
      out = text.slice(first, this.end)
    } else {
      out = ''
      let from = first // start of the run being kept
      for (let i = 0; i < lines.length; i++) {
        const line = lines[i]!
        const at = line >>> kindBits
        if ((line & dropped) !== 0 || (removed && this.isOneOf(at, removed))) {
          if (at > from) out += text.slice(from, at)
          from = this.lineEnd(i)
        }
      }
      if (this.end > from) out += text.slice(from, this.end)
    }
    if (edits) {
      for (let i = 0; i < edits.added.length; i++) {
        const field = edits.added[i]!
        if ((classify(field[0], 0, field[0].length) & dropped & connectionKinds) !== 0) continue
        out += `${field[0]}: ${field[1]}\r\n`
      }
    }
    return out
  }

  private named(at: number, lowerName: string): boolean {
    return this.text.charCodeAt(at + lowerName.length) === 58 && equalsFold(this.text, at, lowerName)
  }

  private isOneOf(at: number, lowerNames: readonly string[]): boolean {
    for (let i = 0; i < lowerNames.length; i++) if (this.named(at, lowerNames[i]!)) return true
    return false
  }

  private lineEnd(i: number): number {
    return i + 1 < this.lines.length ? this.lines[i + 1]! >>> kindBits : this.end
  }

  private valueAt(i: number, colon: number): string {
    let from = colon + 1
    let to = this.lineEnd(i) - 2
    while (from < to && isBlank(this.text.charCodeAt(from))) from++
    while (to > from && isBlank(this.text.charCodeAt(to - 1))) to--
    return this.text.slice(from, to)
  }
}

export const emptyHead: Head = new Head('', [], 0, 0)

/**
 * Reads field lines given as text. RFC 9112 section 5.
 *
 * @param start offset of the first field line
 * @param end   offset behind the last field line's CR LF, where an empty line follows
 */
export function parseFields(
  text: string,
  start: number,
  end: number,
  maxLines: number,
  maxLineLength: number,
): Head | HeadFault {
  const scan = new FieldScan()
  const fault = scan.run(bytesOf(text), undefined, start, Math.min(end + 2, text.length), maxLines, maxLineLength)
  if (fault !== undefined) return fault === 'more' ? 'line-end' : fault
  return scan.head(text, 0)
}

/**
 * Finds the field lines of a head in the bytes that came, up to the empty line.
 *
 * Bytes are looked at before there is a string, since that takes half the time; and four at once where `words` shows
 * the same memory.
 */
export class FieldScan {
  /** Offset of the empty line. */
  end = 0
  private lines: number[] = []
  /** Lines whose names may be of a kind of their own: index and length of the name. */
  private readonly suspects: number[] = []

  /**
   * @param start of the first field line
   * @param end   of the bytes that are there
   * @returns undefined when the empty line was found, 'more' when it has not come yet
   */
  run(
    bytes: Uint8Array,
    words: Int32Array | undefined,
    start: number,
    end: number,
    maxLines: number,
    maxLineLength: number,
  ): HeadFault | 'more' | undefined {
    const lines: number[] = []
    this.lines = lines
    this.suspects.length = 0
    const lastWord = end >> 2 // behind it lie bytes of an earlier read
    let i = start
    for (;;) {
      const lineStart = i
      let c = bytes[i]!
      while (tokenTable[c] === 1) c = bytes[++i]!
      if (i >= end) return 'more'
      if (c !== 58 || i === lineStart) {
        if (c === 13 && i === lineStart) {
          if (i + 1 >= end) return 'more'
          if (bytes[i + 1] !== 10) return 'line-end'
          this.end = i
          return undefined
        }
        return i > lineStart ? (isBlank(c) ? 'colon-space' : 'name') : isBlank(c) ? 'fold' : 'name'
      }
      const nameLength = i - lineStart
      i++
      // Nearly every value is printable ASCII; what else may stand in one is looked up.
      for (;;) {
        if (words !== undefined) {
          while ((i & 3) !== 0 && (c = bytes[i]!) > 31 && c < 127) i++
          if ((i & 3) === 0) {
            let k = i >> 2
            let word = words[k]!
            // No byte below 0x20, none above 0x7E.
            while ((((word - 0x20202020) | (word + 0x01010101) | word) & 0x80808080) === 0 && k < lastWord)
              word = words[++k]!
            i = k << 2
          }
        }
        c = bytes[i]!
        while (c > 31 && c < 127) c = bytes[++i]!
        if (valueTable[c] !== 1) break
        i++
      }
      if (i >= end) return 'more'
      if (c !== 13) return c === 10 ? 'line-end' : 'value'
      if (i + 1 >= end) return 'more'
      if (bytes[i + 1] !== 10) return 'line-end'
      i += 2
      if (i - lineStart > maxLineLength) return 'line-length'
      if (lines.length === maxLines) return 'count'
      if (beginsKind[bytes[lineStart]!] === 1) this.suspects.push(lines.length, nameLength)
      lines.push(lineStart)
    }
  }

  /** @param text of the bytes from `base` on, up to behind the last field line at least */
  head(text: string, base: number): Head {
    const { lines, suspects } = this
    for (let i = 0; i < lines.length; i++) lines[i] = (lines[i]! - base) << kindBits
    let kinds = 0
    for (let i = 0; i < suspects.length; i += 2) {
      const line = lines[suspects[i]!]!
      const which = classify(text, line >>> kindBits, suspects[i + 1]!)
      lines[suspects[i]!] = line | which
      kinds |= which
    }
    return new Head(text, lines, this.end - base, kinds)
  }
}

/** The code units of a text that has none above 0xFF. */
export function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i)
  return bytes
}

/**
 * A head made of fields.
 *
 * @throws TypeError when a name is no token or a value has control characters, or code units above 0xFF
 */
export function headOf(fields: Iterable<Field>): Head {
  let text = ''
  let kinds = 0
  const lines: number[] = []
  for (const [name, value] of fields) {
    checkField(name, value)
    const which = classify(name, 0, name.length)
    lines.push((text.length << kindBits) | which)
    kinds |= which
    text += `${name}: ${value}\r\n`
  }
  if (text.length >= maxText) throw new TypeError('header section too large')
  return new Head(text, lines, text.length, kinds)
}

/** @throws TypeError naming the field, never its value */
export function checkField(name: string, value: string): void {
  if (!isToken(name)) throw new TypeError('invalid header name')
  if (!isFieldValue(value)) throw new TypeError(`invalid value for header ${name}`)
}

/** 1 for the letters, in both cases, that begin the names of kinds of their own. */
const beginsKind: Uint8Array = Uint8Array.from({ length: 256 }, (_, c) =>
  'cdefhkptuvx'.includes(String.fromCharCode(c).toLowerCase()) ? 1 : 0,
)

/** The kind of a field name, in whatever case. */
export function classify(text: string, at: number, length: number): number {
  switch (text.charCodeAt(at) | 32) {
    case 99: // c
      if (length === 10 && equalsFold(text, at, 'connection')) return kind.connection
      if (length === 14 && equalsFold(text, at, 'content-length')) return kind.contentLength
      return length > 3 && equalsFold(text, at, 'cf-') ? kind.cloudflare : kind.other
    case 100: // d
      return length === 4 && equalsFold(text, at, 'date') ? kind.date : kind.other
    case 101: // e
      return length === 6 && equalsFold(text, at, 'expect') ? kind.expect : kind.other
    case 102: // f
      return length === 9 && equalsFold(text, at, 'forwarded') ? kind.forwarded : kind.other
    case 104: // h
      if (length === 4 && equalsFold(text, at, 'host')) return kind.host
      return length === 14 && equalsFold(text, at, 'http2-settings') ? kind.hopByHop : kind.other
    case 107: // k
      return length === 10 && equalsFold(text, at, 'keep-alive') ? kind.hopByHop : kind.other
    case 112: // p
      return (length === 16 && equalsFold(text, at, 'proxy-connection')) ||
        (length === 18 && equalsFold(text, at, 'proxy-authenticate')) ||
        (length === 19 && equalsFold(text, at, 'proxy-authorization'))
        ? kind.hopByHop
        : kind.other
    case 116: // t
      if (length === 2 && equalsFold(text, at, 'te')) return kind.te
      if (length === 7 && equalsFold(text, at, 'trailer')) return kind.trailer
      return length === 17 && equalsFold(text, at, 'transfer-encoding') ? kind.transferEncoding : kind.other
    case 117: // u
      return length === 7 && equalsFold(text, at, 'upgrade') ? kind.upgrade : kind.other
    case 118: // v
      return length === 3 && equalsFold(text, at, 'via') ? kind.via : kind.other
    case 120: // x
      return (length > 12 && equalsFold(text, at, 'x-forwarded-')) ||
        (length === 9 && equalsFold(text, at, 'x-real-ip')) ||
        (length === 15 && equalsFold(text, at, 'x-original-host'))
        ? kind.forwarded
        : kind.other
  }
  return kind.other
}
