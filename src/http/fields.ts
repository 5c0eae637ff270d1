/**
 * What may stand in a request line and a field line: the one gate for everything that goes out, whatever it came from
 * (a client, a config, a filter, a handler), and the same check for what comes in.
 *
 * @see RFC 9110 section 5 (fields), RFC 9112 section 2.2 and 3 (lines), RFC 9113 section 8.2.1
 */

/** 1 where a code unit may stand in a token (RFC 9110 section 5.6.2). */
export const tokenTable: Uint8Array = tableOf(
  "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
)

/** 1 where a code unit may stand in a field value: HTAB, SP, VCHAR and obs-text. */
export const valueTable: Uint8Array = Uint8Array.from({ length: 256 }, (_, c) =>
  c === 9 || (c >= 32 && c !== 127) ? 1 : 0,
)

function tableOf(characters: string): Uint8Array {
  const table = new Uint8Array(256)
  for (let i = 0; i < characters.length; i++) table[characters.charCodeAt(i)] = 1
  return table
}

/** A method or a field name. */
export function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (tokenTable[text.charCodeAt(i)] !== 1) return false
  return text.length > 0
}

/** A field value: no control but HTAB, nothing above 0xFF, no white space at either end. May be empty. */
export function isFieldValue(text: string): boolean {
  const n = text.length
  for (let i = 0; i < n; i++) if (valueTable[text.charCodeAt(i)] !== 1) return false
  return n === 0 || (!isBlank(text.charCodeAt(0)) && !isBlank(text.charCodeAt(n - 1)))
}

/**
 * A request target in origin-form, or `*`: no byte up to 0x20, no 0x7F, nothing above 0xFF, no fragment.
 *
 * Without its leading slash a target would be read as part of the authority by whoever joins the two.
 */
export function isTarget(text: string): boolean {
  if (text.charCodeAt(0) !== 47) return text === '*'
  for (let i = 1; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c <= 32 || c === 127 || c > 255 || c === 35) return false
  }
  return true
}

/**
 * A Host or `:authority`: host and optional port, no userinfo. RFC 3986 section 3.2, RFC 9112 section 3.2.
 *
 * Names are held to the characters that DNS and its users know (letters, digits, `-`, `.`, `_`); percent-encoded and
 * sub-delims hosts are refused since no two implementations agree on them.
 */
export function isAuthority(text: string): boolean {
  if (text === lastAuthority) return true
  if (!looksLikeAuthority(text)) return false
  lastAuthority = text
  return true
}

/** Most requests are for the host of the one before. */
let lastAuthority = 'localhost'

function looksLikeAuthority(text: string): boolean {
  const n = text.length
  let i = 0
  if (text.charCodeAt(0) === 91) {
    i = text.indexOf(']')
    if (i < 3) return false
    for (let k = 1; k < i; k++) {
      const c = text.charCodeAt(k)
      if (!((c >= 48 && c <= 58) || (c >= 97 && c <= 102) || (c >= 65 && c <= 70) || c === 46)) return false
    }
    i++
  } else {
    for (; i < n; i++) {
      const c = text.charCodeAt(i)
      if (c === 58) break
      if (!((c >= 97 && c <= 122) || (c >= 48 && c <= 57) || c === 45 || c === 46 || (c >= 65 && c <= 90) || c === 95))
        return false
    }
    if (i === 0 || i > 255) return false
  }
  if (i === n) return true
  if (text.charCodeAt(i) !== 58 || n - i > 6) return false
  let port = 0
  for (let k = i + 1; k < n; k++) {
    const c = text.charCodeAt(k)
    if (c < 48 || c > 57) return false
    port = port * 10 + c - 48
  }
  return port <= 65535
}

/** True when `text` has, at `at`, the ASCII letters of `lower` in either case. `lower` must be lower case. */
export function equalsFold(text: string, at: number, lower: string): boolean {
  for (let i = 0; i < lower.length; i++) {
    const c = text.charCodeAt(at + i)
    const d = lower.charCodeAt(i)
    if (c !== d && (c < 65 || c > 90 || c + 32 !== d)) return false
  }
  return true
}

/** White space as RFC 9110 section 5.6.3 knows it: SP and HTAB. */
export function isBlank(c: number): boolean {
  return c === 32 || c === 9
}

/** Calls `visit` with each comma-separated member of a list value, trimmed and in lower case; empty members are skipped. */
export function forEachMember(value: string, visit: (member: string) => void): void {
  for (const part of value.split(',')) {
    const member = part.trim().toLowerCase()
    if (member !== '') visit(member)
  }
}
