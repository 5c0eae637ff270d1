/**
 * Start lines and framing of HTTP/1.1, strictly: what two implementations might read differently is refused.
 *
 * request-line = method SP request-target SP HTTP-version          RFC 9112 section 3
 * status-line  = HTTP-version SP status-code SP [ reason-phrase ]   RFC 9112 section 4
 */
import type { ProxyError } from '../errors.ts'
import { equalsFold, forEachMember, isAuthority, tokenTable, valueTable } from '../http/fields.ts'
import { type Head, type HeadFault, kind } from '../http/head.ts'
import type { FoundHead } from './connection.ts'
import type { Http1Limits } from './limits.ts'

type BadRequest = Extract<ProxyError, { kind: 'bad-request' }>

export interface RequestHead {
  readonly method: string
  /** Origin-form, or `*`. */
  readonly target: string
  readonly authority: string
  readonly minorVersion: 0 | 1
  readonly head: Head
  readonly facts: RequestFacts
}

export interface RequestFacts {
  /** As received. */
  readonly fields: Head
  readonly host: string
  /** Without the fields that `Connection` named. */
  readonly head: Head
  /** Bytes; undefined for chunked; 0 for no body. */
  readonly bodyLength: number | undefined
  readonly keepAlive: boolean
  readonly awaitsContinue: boolean
  readonly upgrade: string | undefined
}

export interface ResponseHead {
  readonly status: number
  readonly reason: string
  readonly minorVersion: 0 | 1
  readonly head: Head
  readonly framing: Framing
  readonly keepAlive: boolean
}

/** How long a body is: a number of bytes, or how its end is marked. */
export type Framing = number | 'chunked' | 'close'

/** @param before the request before on this connection: equal fields say the same */
export function parseRequestHead(
  found: FoundHead,
  limits: Http1Limits,
  before?: RequestHead,
): RequestHead | BadRequest {
  const { text, bytes, base, fields } = found
  let i = 0
  while (tokenTable[bytes[base + i]!] === 1) i++
  if (i === 0 || bytes[base + i] !== 32) return bad(400, 'malformed request line')
  const method = text.slice(0, i)
  const targetStart = ++i
  let c = bytes[base + i]!
  while (c > 32 && c !== 127 && c !== 35) c = bytes[base + ++i]!
  if (i - targetStart > limits.maxTargetBytes) return bad(414, 'request target too long')
  if (c !== 32 || i === targetStart) return bad(400, 'malformed request target')
  let target = text.slice(targetStart, i)
  const minorVersion = versionAt(text, i + 1)
  if (minorVersion === undefined) {
    return /^HTTP\/\d\.\d\r\n/.test(text.slice(i + 1, i + 12))
      ? bad(505, 'unsupported HTTP version')
      : bad(400, 'malformed request line')
  }
  if (text.charCodeAt(i + 9) !== 13 || text.charCodeAt(i + 10) !== 10) return bad(400, 'malformed request line')

  if (typeof fields === 'string') return badField(fields)
  const facts =
    before?.facts.fields === fields && before.minorVersion === minorVersion
      ? before.facts
      : factsOf(fields, minorVersion)
  if ('kind' in facts) return facts
  let authority = facts.host
  if (method === 'CONNECT') return bad(405, 'CONNECT is not supported')
  if (target.charCodeAt(0) !== 47) {
    if (target === '*') {
      if (method !== 'OPTIONS') return bad(400, 'the target * is for OPTIONS only')
    } else {
      const absolute = splitAbsolute(target, method)
      if (!absolute || !isAuthority(absolute.authority)) return bad(400, 'malformed request target')
      ;({ authority, target } = absolute)
    }
  }
  return { method, target, authority, minorVersion, head: facts.head, facts }
}

/** What the fields say of the message and its connection. */
function factsOf(fields: Head, minorVersion: 0 | 1): RequestFacts | BadRequest {
  const host = onlyValue(fields, kind.host)
  if (host === undefined) return bad(400, 'exactly one Host header is required')
  if (!isAuthority(host)) return bad(400, 'invalid Host header')

  let head = fields
  let bodyLength: number | undefined = 0
  if ((head.kinds & (kind.transferEncoding | kind.contentLength)) !== 0) {
    const framing = messageFraming(head, minorVersion)
    if (typeof framing === 'string' && framing !== 'chunked') return bad(400, framing)
    bodyLength = framing === 'chunked' ? undefined : framing
  }

  let keepAlive = minorVersion === 1
  let upgrade: string | undefined
  if ((head.kinds & kind.connection) !== 0) {
    const connection = readConnection(head)
    if (connection.close) keepAlive = false
    else if (minorVersion === 0) keepAlive = connection.keepAlive
    if (connection.named.length > 0) head = head.edit({ removed: connection.named, added: [] })
    if (connection.upgrade && minorVersion === 1) upgrade = upgradeOf(head)
  }

  let awaitsContinue = false
  if ((head.kinds & kind.expect) !== 0 && minorVersion === 1) {
    const expect = onlyValue(head, kind.expect)
    if (expect?.toLowerCase() !== '100-continue') return bad(417, 'unknown expectation')
    awaitsContinue = bodyLength !== 0
  }
  return { fields, host, head, bodyLength, keepAlive, awaitsContinue, upgrade }
}

/**
 * @param method of the request this answers
 * @returns what is wrong, in words, when the answer must not be trusted
 */
export function parseResponseHead(found: FoundHead, method: string): ResponseHead | string {
  const { text, fields } = found
  const minorVersion = versionAt(text, 0)
  if (minorVersion === undefined || text.charCodeAt(8) !== 32) return 'malformed status line'
  const status = digit(text, 9) * 100 + digit(text, 10) * 10 + digit(text, 11)
  if (!(status >= 100)) return 'malformed status code'
  let i = 12
  let reason = ''
  if (text.charCodeAt(i) === 32) {
    const from = ++i
    while (valueTable[text.charCodeAt(i)] === 1) i++
    reason = text.slice(from, i).trim()
  }
  if (text.charCodeAt(i) !== 13 || text.charCodeAt(i + 1) !== 10) return 'malformed status line'
  if (typeof fields === 'string') return faultText[fields]
  let head = fields

  let framing: Framing = 'close'
  let keepAlive = minorVersion === 1
  const framed = (head.kinds & (kind.transferEncoding | kind.contentLength)) !== 0
  if (framed) {
    const found = messageFraming(head, minorVersion)
    if (typeof found === 'string' && found !== 'chunked') return found
    framing = found
  }
  if (status < 200 || status === 204 || status === 304 || method === 'HEAD') framing = 0
  if ((head.kinds & kind.connection) !== 0) {
    const connection = readConnection(head)
    keepAlive = !connection.close && (minorVersion === 1 || connection.keepAlive)
    if (connection.named.length > 0) head = head.edit({ removed: connection.named, added: [] })
  }
  return { status, reason, minorVersion, head, framing, keepAlive: keepAlive && framing !== 'close' }
}

/** What a head fault is called to a person. */
export const faultText: Readonly<Record<HeadFault, string>> = {
  name: 'malformed header name',
  'colon-space': 'white space before the colon of a header',
  value: 'control character in a header',
  'line-end': 'a line must end in CR LF',
  fold: 'folded header lines are not accepted',
  count: 'too many headers',
  'line-length': 'header line too long',
}

export function bad(status: BadRequest['status'], reason: string): BadRequest {
  return { kind: 'bad-request', status, reason }
}

function badField(fault: HeadFault): BadRequest {
  return bad(fault === 'count' || fault === 'line-length' ? 431 : 400, faultText[fault])
}

/** 0 or 1 for HTTP/1.0 and HTTP/1.1. */
function versionAt(text: string, at: number): 0 | 1 | undefined {
  if (!text.startsWith('HTTP/1.', at)) return undefined
  const c = text.charCodeAt(at + 7)
  return c === 49 ? 1 : c === 48 ? 0 : undefined
}

function digit(text: string, at: number): number {
  const c = text.charCodeAt(at)
  return c >= 48 && c <= 57 ? c - 48 : NaN
}

/** The value, when exactly one field line has that kind. */
function onlyValue(head: Head, wanted: number): string | undefined {
  let count = 0
  for (const line of head.lines) if ((line & wanted) !== 0) count++
  return count === 1 ? head.received(wanted) : undefined
}

/** RFC 9112 section 6.3. Both fields, a repeated one, or any coding but a single `chunked`: refused. */
function messageFraming(head: Head, minorVersion: 0 | 1): number | 'chunked' | string {
  if ((head.kinds & kind.transferEncoding) !== 0) {
    if ((head.kinds & kind.contentLength) !== 0) return 'both Transfer-Encoding and Content-Length'
    if (minorVersion === 0) return 'Transfer-Encoding in HTTP/1.0'
    const coding = onlyValue(head, kind.transferEncoding)
    return coding !== undefined && coding.length === 7 && equalsFold(coding, 0, 'chunked')
      ? 'chunked'
      : 'unsupported Transfer-Encoding'
  }
  const value = onlyValue(head, kind.contentLength)
  if (value === undefined) return 'repeated Content-Length'
  const length = parseLength(value)
  return length ?? 'malformed Content-Length'
}

function parseLength(value: string): number | undefined {
  if (value.length === 0 || value.length > 16) return undefined
  let length = 0
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i)
    if (c < 48 || c > 57) return undefined
    length = length * 10 + c - 48
  }
  return length <= Number.MAX_SAFE_INTEGER ? length : undefined
}

/** RFC 9112 section 3.2.2; an OPTIONS for no path at all is for the server as a whole: section 3.2.4. */
function splitAbsolute(target: string, method: string): { authority: string; target: string } | undefined {
  const found = /^https?:\/\/([^/?]+)(.*)$/i.exec(target)
  if (!found) return undefined
  const rest = found[2]!
  if (rest === '' && method === 'OPTIONS') return { authority: found[1]!, target: '*' }
  return { authority: found[1]!, target: rest.startsWith('/') ? rest : `/${rest}` }
}

interface ConnectionOptions {
  close: boolean
  keepAlive: boolean
  upgrade: boolean
  /** Further field names to take out before anything else looks at the message. */
  readonly named: string[]
}

const plainKeepAlive: ConnectionOptions = { close: false, keepAlive: true, upgrade: false, named: [] }

/** Names that `Connection` may not take out: framing, routing, and what we say of the client ourselves. */
const unremovable =
  /^(?:host|content-length|transfer-encoding|forwarded|via|expect|x-forwarded-.*|x-real-ip|x-original-host|cf-.*)$/

function readConnection(head: Head): ConnectionOptions {
  const value = onlyValue(head, kind.connection) ?? head.get('connection') ?? ''
  if (value.length === 10 && equalsFold(value, 0, 'keep-alive')) return plainKeepAlive
  const options: ConnectionOptions = { close: false, keepAlive: false, upgrade: false, named: [] }
  forEachMember(value, (member) => {
    if (member === 'close') options.close = true
    else if (member === 'keep-alive') options.keepAlive = true
    else if (member === 'upgrade') options.upgrade = true
    else if (member !== 'te' && tokenLike(member) && !unremovable.test(member)) options.named.push(member)
  })
  return options
}

function tokenLike(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (tokenTable[text.charCodeAt(i)] !== 1) return false
  return true
}

/** The protocols a client wants to switch to. `h2c` is never passed on: the backend would leave our framing behind. */
function upgradeOf(head: Head): string | undefined {
  const value = head.get('upgrade')
  if (value === null) return undefined
  let hidden = false
  forEachMember(value, (member) => {
    if (member.startsWith('h2c') || member.startsWith('http/')) hidden = true
  })
  return hidden ? undefined : value
}
