/**
 * Header blocks to fields. RFC 7541 sections 3, 5 and 6.
 *
 *   1xxxxxxx  indexed                      section 6.1
 *   01xxxxxx  literal, added to the table          6.2.1
 *   001xxxxx  new size of the table                6.3
 *   0001xxxx  literal, never indexed               6.2.3
 *   0000xxxx  literal                              6.2.2
 */
import { fieldName, hpackField, type FieldName, type HpackField } from './field.ts'
import { decodeHuffman } from './huffman.ts'
import { staticFields } from './static-table.ts'

/** Takes the fields of a block, in order. */
export interface FieldSink {
  add(field: HpackField): void
}

/** Reads bytes as a string of the same code units. */
export type Latin1 = (bytes: Uint8Array, start: number, end: number) => string

const staticEntries: readonly HpackField[] = staticFields.map(([name, value]) => hpackField(fieldName(name), value))
const staticCount = staticEntries.length
/** Names whose facts are worth keeping; others are looked at each time they come. */
const knownNames = new Map<string, FieldName>(staticEntries.map(({ name }) => [name.text, name]))
for (const name of ['te', 'content-encoding', 'x-forwarded-for', 'x-request-id', 'sec-fetch-site', 'grpc-timeout'])
  knownNames.set(name, fieldName(name))

/** No integer of ours has more than this; RFC 7541 section 5.1 asks for a limit. */
const maxInteger = 0x7fff_ffff

export class HpackDecoder {
  private readonly latin1: Latin1
  /** SETTINGS_HEADER_TABLE_SIZE as we announced it. */
  private readonly sizeLimit: number
  private maxSize: number
  private size = 0
  // A ring: entry 62 is the last one added.
  private ring: (HpackField | undefined)[]
  private added = 0
  private count = 0
  private at = 0
  private scratch: Uint8Array = noBytes

  constructor(sizeLimit: number, latin1: Latin1) {
    this.sizeLimit = this.maxSize = sizeLimit
    this.latin1 = latin1
    this.ring = []
  }

  /**
   * Decodes one whole header block. All of it is decoded, whatever the sink makes of it: both ends' tables must agree.
   *
   * @returns what is wrong, for a COMPRESSION_ERROR of the connection
   */
  decode(bytes: Uint8Array, start: number, end: number, sink: FieldSink): string | undefined {
    this.at = start
    let fields = 0
    while (this.at < end) {
      const first = bytes[this.at++]!
      if (first >= 0x80) {
        const index = first === 0xff ? this.integer(bytes, end, 0x7f) : first & 0x7f
        const field = this.entry(index)
        if (!field) return 'index outside the table'
        sink.add(field)
        fields++
      } else if (first >= 0x20 && first < 0x40) {
        const size = first === 0x3f ? this.integer(bytes, end, 0x1f) : first & 0x1f
        if (size < 0 || size > this.sizeLimit) return 'table larger than agreed'
        if (fields > 0) return 'table size changed inside a block'
        this.maxSize = size
        this.evict(0)
      } else {
        const mask = first >= 0x40 ? 0x3f : 0x0f
        const index = (first & mask) === mask ? this.integer(bytes, end, mask) : first & mask
        let name: FieldName | undefined
        if (index === 0) {
          const text = this.string(bytes, end)
          if (text === undefined) return 'malformed name'
          name = knownNames.get(text) ?? fieldName(text)
        } else {
          name = this.entry(index)?.name
          if (!name) return 'index outside the table'
        }
        const value = this.string(bytes, end)
        if (value === undefined) return 'malformed value'
        const field = hpackField(name, value)
        if (first >= 0x40) this.add(field)
        sink.add(field)
        fields++
      }
    }
    return undefined
  }

  /** Octets that the dynamic table takes, as RFC 7541 section 4.1 counts. */
  get tableSize(): number {
    return this.size
  }

  private entry(index: number): HpackField | undefined {
    if (index <= staticCount) return staticEntries[index - 1]
    const back = index - staticCount
    return back <= this.count ? this.ring[(this.added - back) % this.ring.length] : undefined
  }

  private add(field: HpackField): void {
    this.evict(field.size)
    if (field.size > this.maxSize) return // an entry larger than the table empties it: section 4.4
    if (this.ring.length === 0)
      this.ring = Array.from<undefined>({ length: Math.max(Math.floor(this.sizeLimit / 32), 1) })
    this.ring[this.added % this.ring.length] = field
    this.added++
    this.count++
    this.size += field.size
  }

  private evict(room: number): void {
    while (this.count > 0 && this.size + room > this.maxSize) {
      const oldest = (this.added - this.count) % this.ring.length
      this.size -= this.ring[oldest]!.size
      this.ring[oldest] = undefined
      this.count--
    }
  }

  /** The rest of an integer whose prefix was all ones. @returns -1 when it is cut short or too large */
  private integer(bytes: Uint8Array, end: number, prefix: number): number {
    let value = prefix
    for (let shift = 0; shift <= 28; shift += 7) {
      if (this.at >= end) return -1
      const octet = bytes[this.at++]!
      value += (octet & 0x7f) * 2 ** shift
      if (octet < 0x80) return value <= maxInteger ? value : -1
    }
    return -1
  }

  private string(bytes: Uint8Array, end: number): string | undefined {
    if (this.at >= end) return undefined
    const first = bytes[this.at++]!
    const length = (first & 0x7f) === 0x7f ? this.integer(bytes, end, 0x7f) : first & 0x7f
    if (length < 0 || length > end - this.at) return undefined
    const start = this.at
    this.at += length
    if (first < 0x80) return length === 0 ? '' : this.latin1(bytes, start, start + length)
    const need = Math.ceil((length * 8) / 5)
    if (this.scratch.length < need) this.scratch = new Uint8Array(Math.max(need, 1024))
    const decoded = decodeHuffman(bytes, start, start + length, this.scratch, 0)
    if (decoded < 0) return undefined
    const text = this.latin1(this.scratch, 0, decoded)
    if (need > maxKeptScratch) this.scratch = noBytes
    return text
  }
}

const maxKeptScratch = 16_384
const noBytes = new Uint8Array(0)
