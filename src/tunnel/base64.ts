/** Standard Base64 with padding. @see RFC 4648 section 4 */
export function encodeBase64(bytes: Uint8Array): string {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
}

/** Reads standard Base64 with its padding. Line breaks are ignored; anything else that is none gives `undefined`. */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  const digits = text.replaceAll(/[\r\n]/g, '')
  if (digits.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(digits)) return undefined
  return Uint8Array.from(atob(digits), (character) => character.charCodeAt(0))
}
