/** What a header block held, gathered into one head as its fields are decoded. One per connection, used again and again. */
import type { Field } from '../runtime.ts'
import { Head, kind, kindBits, maxHeadText } from '../http/head.ts'
import { role, type HpackField } from './field.ts'
import type { FieldSink } from './hpack-decoder.ts'
import type { Http2Limits } from './limits.ts'

const noLines: number[] = []
const noFields: HpackField[] = []

/** What is left of a text for fields that the gateway acts upon: all others behind it become additions. */
const reservedText = 32_768
const maxOtherText = maxHeadText - reservedText

/** A head that is kept for the next message must not cost an idle connection much. */
const maxKeptText = 2_048

export class FieldBlock implements FieldSink {
  method: string | undefined
  scheme: string | undefined
  authority: string | undefined
  path: string | undefined
  status: string | undefined
  protocol: string | undefined
  /** The first thing that makes the message malformed. RFC 9113 section 8.1.1. */
  fault: string | undefined
  /** More than we take; the fields are incomplete. */
  tooLarge = false
  private readonly limits: Http2Limits
  /** Regular fields that are, one after the other, the very ones of the last head; until the first that is not. */
  private same = 0
  private diverged = false
  private text = ''
  private lines: number[] = noLines
  private fields: HpackField[] = noFields
  private cookie: string | undefined
  private size = 0
  private count = 0
  private pseudo = 0
  private overflow: Field[] | undefined
  private kinds = 0
  private last: Head | undefined
  private lastFields: readonly HpackField[] = noFields
  private lastCookie: string | undefined

  constructor(limits: Http2Limits) {
    this.limits = limits
  }

  begin(): void {
    this.method = this.scheme = this.authority = this.path = this.status = this.protocol = undefined
    this.fault = undefined
    this.tooLarge = false
    this.kinds = 0
    this.same = 0
    this.diverged = false
    this.text = ''
    this.lines = noLines
    this.fields = noFields
    this.cookie = undefined
    this.size = 0
    this.count = 0
    this.pseudo = 0
    this.overflow = undefined
  }

  add(field: HpackField): void {
    const { name } = field
    this.size += field.size
    if (this.tooLarge) return
    if (field.fault !== '') {
      this.fault ??= field.fault
      return
    }
    if (this.size > this.limits.maxHeaderListBytes || this.count >= this.limits.maxFieldLines) {
      this.tooLarge = true
      return
    }
    this.count++
    if (name.role !== role.regular) {
      this.addSpecial(field)
      return
    }
    if (!this.diverged) {
      if (this.lastFields[this.same] === field) {
        this.same++
        return
      }
      this.diverge()
    }
    if ((this.overflow || this.text.length + field.line.length > maxOtherText) && this.isBeyond(field)) return
    this.lines.push((this.text.length << kindBits) | name.kind)
    this.text += field.line
    this.fields.push(field)
    this.kinds |= name.kind
  }

  /** A head of its own, from here on. */
  private diverge(): void {
    const { last, same } = this
    this.diverged = true
    this.lines = []
    this.fields = []
    if (last === undefined || same === 0) return
    this.lines = last.lines.slice(0, same)
    this.fields = this.lastFields.slice(0, same)
    this.text = last.text.slice(0, same < last.lines.length ? last.lines[same]! >>> kindBits : last.end)
    for (const line of this.lines) this.kinds |= line & ((1 << kindBits) - 1)
  }

  /** True when it held pseudo-header fields. */
  get hasPseudo(): boolean {
    return this.pseudo !== 0
  }

  /** The regular fields. Call once. */
  head(): Head {
    // A client's requests differ in their targets more than in their fields, and an equal head is edited and written
    // in the same way again.
    if (!this.diverged) {
      if (this.last && this.same === this.lastFields.length && this.cookie === this.lastCookie) return this.last
      this.diverge()
    }
    if (this.cookie !== undefined) this.addCookie(this.cookie)
    const { text, last, overflow } = this
    const known = last !== undefined && overflow === undefined && last.text === text
    const head = known ? last : new Head(text, this.lines, text.length, this.kinds)
    if (overflow) return head.edit({ removed: [], added: overflow })
    if (text.length <= maxKeptText) {
      this.last = head
      this.lastFields = this.fields
      this.lastCookie = this.cookie
    }
    return head
  }

  private addSpecial(field: HpackField): void {
    const { name, value } = field
    if (name.role === role.cookie) {
      this.cookie = this.cookie === undefined ? value : `${this.cookie}; ${value}`
      return
    }
    const bit = 1 << name.role
    if ((this.pseudo & bit) !== 0) this.fault ??= `repeated ${name.text}`
    if (this.same > 0 || this.diverged || this.cookie !== undefined)
      this.fault ??= `${name.text} behind a regular field`
    this.pseudo |= bit
    switch (name.role) {
      case role.method:
        this.method = value
        break
      case role.scheme:
        this.scheme = value
        break
      case role.authority:
        this.authority = value
        break
      case role.path:
        this.path = value
        break
      case role.status:
        this.status = value
        break
      default:
        this.protocol = value
    }
  }

  private addCookie(value: string): void {
    const line = `cookie: ${value}\r\n`
    if (this.text.length + line.length > maxHeadText) (this.overflow ??= []).push(['cookie', value])
    else {
      this.lines.push((this.text.length << kindBits) | kind.other)
      this.text += line
    }
  }

  /**
   * A head's text has an end; what does not fit becomes an addition to it. A field that the gateway acts upon must stand
   * in the text, where it is found by its kind, and some room is kept for those. What Cloudflare says of a client is
   * none in an answer.
   */
  private isBeyond({ name, value, line }: HpackField): boolean {
    if (name.kind === kind.other || (name.kind === kind.cloudflare && this.status !== undefined)) {
      this.overflow ??= []
      this.overflow.push([name.text, value])
      return true
    }
    this.tooLarge ||= this.text.length + line.length > maxHeadText
    return this.tooLarge
  }
}
