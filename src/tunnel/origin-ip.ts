import ipaddr from 'ipaddr.js'

/**
 * The local address of a connection as registration carries it: 16 bytes, IPv4 in its IPv4-mapped form (RFC 4291
 * section 2.5.5.2). Empty when the text is no address, since the field is for information only.
 */
export function originIpBytes(address: string): Uint8Array<ArrayBuffer> {
  const text = address.replace(/%.*$/, '')
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) {
    return Uint8Array.from(ipaddr.IPv4.parse(text).toIPv4MappedAddress().toByteArray())
  }
  return Uint8Array.from(ipaddr.IPv6.isValid(text) ? ipaddr.IPv6.parse(text).toByteArray() : [])
}
