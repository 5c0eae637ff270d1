/**
 * UUIDs as the tunnel's structs carry them: 16 bytes in the order of their text.
 *
 * @see RFC 9562 section 4
 */
const forms = [
  /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i,
  /^\{[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\}$/i,
  /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i,
  /^[0-9a-f]{32}$/i,
]

/** Reads the four forms that the reference client takes: hyphenated, in braces, as URN, and 32 digits. */
export function parseUuid(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!forms.some((form) => form.test(text))) return undefined
  const digits = text.replace(/^urn:uuid:/i, '').replaceAll(/[-{}]/g, '')
  return Uint8Array.from({ length: 16 }, (_, byte) => Number.parseInt(digits.slice(2 * byte, 2 * byte + 2), 16))
}

/** Lower case, hyphenated. */
export function formatUuid(bytes: Uint8Array): string {
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** A random (version 4) UUID. */
export function createUuid(): Uint8Array<ArrayBuffer> {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = (bytes[6]! & 0x0f) | 0x40
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  return bytes
}
