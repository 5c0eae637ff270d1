/**
 * One header field as HPACK hands it out: checked once, when it enters the dynamic table or comes as a literal, so that
 * a field that is only an index costs no more than its line's concatenation.
 */
import { equalsFold, isAuthority, isBlank, isToken, tokenTable, valueTable } from '../http/fields.ts'
import { classify, kind } from '../http/head.ts'

/** What a field is to a message; everything but `regular` is looked at when a head is put together. */
export const role = {
  regular: 0,
  method: 1,
  scheme: 2,
  authority: 3,
  path: 4,
  status: 5,
  protocol: 6,
  /** Several become one, joined by "; ". RFC 9113 section 8.2.3. */
  cookie: 7,
} as const

/** What is known of a field by its name alone. */
export interface FieldName {
  readonly text: string
  readonly role: number
  readonly kind: number
  /** Why no message may have such a field; empty when it may. */
  readonly fault: string
}

export interface HpackField {
  readonly name: FieldName
  readonly value: string
  /** `name: value` CR LF */
  readonly line: string
  readonly fault: string
  /** As RFC 7541 section 4.1 counts it. */
  readonly size: number
}

export function fieldName(text: string): FieldName {
  if (text.charCodeAt(0) === 58) {
    const found = pseudoRoles[text]
    return {
      text,
      role: found ?? role.regular,
      kind: kind.other,
      fault: found === undefined ? 'unknown pseudo-header field' : '',
    }
  }
  const kinds = classify(text, 0, text.length)
  return {
    text,
    role: text === 'cookie' ? role.cookie : role.regular,
    kind: kinds,
    fault: nameFault(text, kinds),
  }
}

export function hpackField(name: FieldName, value: string): HpackField {
  return {
    name,
    value,
    line: name.role === role.regular ? `${name.text}: ${value}\r\n` : '',
    fault: name.fault !== '' ? name.fault : valueFault(name, value),
    size: name.text.length + value.length + 32,
  }
}

const pseudoRoles: Readonly<Record<string, number>> = {
  ':method': role.method,
  ':scheme': role.scheme,
  ':authority': role.authority,
  ':path': role.path,
  ':status': role.status,
  ':protocol': role.protocol,
}

function nameFault(name: string, kinds: number): string {
  if (name === '') return 'empty field name'
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i)
    if (tokenTable[c] !== 1 || (c >= 65 && c <= 90)) return 'malformed field name'
  }
  const ofConnection =
    (kinds & (kind.connection | kind.transferEncoding | kind.upgrade)) !== 0 ||
    ((kinds & kind.hopByHop) !== 0 && (name === 'keep-alive' || name === 'proxy-connection'))
  return ofConnection ? `connection-specific field ${name}` : ''
}

/** RFC 9113 section 8.2.1. Nothing is trimmed: a value with white space around it is malformed. */
function valueFault(name: FieldName, value: string): string {
  const n = value.length
  for (let i = 0; i < n; i++) if (valueTable[value.charCodeAt(i)] !== 1) return `control character in ${name.text}`
  if (n > 0 && (isBlank(value.charCodeAt(0)) || isBlank(value.charCodeAt(n - 1))))
    return `white space around the value of ${name.text}`
  switch (name.role) {
    case role.regular:
      return (name.kind & kind.te) !== 0 && !(n === 8 && equalsFold(value, 0, 'trailers'))
        ? 'te may only be trailers'
        : ''
    case role.method:
      return isToken(value) ? '' : 'malformed :method'
    case role.scheme:
      return /^[A-Za-z][A-Za-z0-9+.-]*$/.test(value) ? '' : 'malformed :scheme'
    case role.path:
      return n === 0 ? 'empty :path' : ''
    case role.status:
      return /^[1-9][0-9][0-9]$/.test(value) ? '' : 'malformed :status'
    case role.authority:
      return value.includes('@') && !isAuthority(value) ? 'userinfo in :authority' : ''
    default:
      return ''
  }
}
