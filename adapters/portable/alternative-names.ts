/**
 * The names a certificate is for, out of its bytes: the text that runtimes make of them (`DNS:a, URI:b`) can't be told
 * apart everywhere when a name has a comma in it.
 *
 * SubjectAltName ::= SEQUENCE OF GeneralName            RFC 5280 section 4.2.1.6
 */
export interface AlternativeName {
  readonly type: 'DNS' | 'URI'
  readonly value: string
}

const sequence = 0x30
const extensionsTag = 0xa3
/** OBJECT IDENTIFIER 2.5.29.17, as an element. */
const subjectAltName = [0x06, 0x03, 0x55, 0x1d, 0x11]

interface Element {
  readonly tag: number
  readonly start: number
  readonly end: number
}

/** @param der a certificate, which the handshake has found well-formed */
export function alternativeNames(der: Uint8Array): readonly AlternativeName[] {
  const certificate = elementAt(der, 0)
  const signed = certificate && elementAt(der, certificate.start)
  const extensions = signed && elementsIn(der, signed).find(({ tag }) => tag === extensionsTag)
  const list = extensions && elementAt(der, extensions.start)
  if (!list) return []
  for (const extension of elementsIn(der, list)) {
    if (!subjectAltName.every((byte, i) => der[extension.start + i] === byte)) continue
    const value = elementsIn(der, extension).at(-1) // behind the OID and, maybe, `critical`
    const names = value && elementAt(der, value.start)
    return names?.tag === sequence ? elementsIn(der, names).flatMap((name) => nameOf(der, name)) : []
  }
  return []
}

function nameOf(der: Uint8Array, { tag, start, end }: Element): AlternativeName[] {
  if (tag !== 0x82 && tag !== 0x86) return []
  return [{ type: tag === 0x82 ? 'DNS' : 'URI', value: String.fromCharCode(...der.subarray(start, end)) }]
}

function elementsIn(der: Uint8Array, { start, end }: Element): Element[] {
  const found: Element[] = []
  for (let at = start; at < end;) {
    const element = elementAt(der, at)
    if (!element || element.end > end) break
    found.push(element)
    at = element.end
  }
  return found
}

/** Tag, length, contents: X.690 section 8.1, definite lengths of up to four bytes. */
function elementAt(der: Uint8Array, at: number): Element | undefined {
  const tag = der[at]
  const first = der[at + 1]
  if (tag === undefined || first === undefined) return undefined
  let start = at + 2
  let length = first
  if (first > 0x7f) {
    const count = first & 0x7f
    if (count === 0 || count > 4) return undefined
    length = 0
    for (let i = 0; i < count; i++) length = length * 256 + (der[start + i] ?? 0)
    start += count
  }
  const end = start + length
  return end <= der.length ? { tag, start, end } : undefined
}
