/** What proxies say of the client: `X-Forwarded-For` and `Forwarded` (RFC 7239), read without trusting any of it. */
import ipaddr from 'ipaddr.js'
import { isAuthority } from '../http/fields.ts'

/** One hop's account. */
export interface Hop {
  /** An IP address; undefined when the hop hides it (`unknown`, `_name`) or says nothing of it. */
  readonly address: string | undefined
  readonly scheme: 'http' | 'https' | undefined
  readonly host: string | undefined
}

/**
 * The addresses of an X-Forwarded-For, nearest hop last. What stands to the left of a member that is no address cannot
 * be vouched for by anybody, and is left out with it.
 */
export function addressesOf(xForwardedFor: string): string[] {
  const addresses: string[] = []
  for (const member of xForwardedFor.split(',').toReversed()) {
    const address = addressOfNode(member.trim())
    if (address === undefined) break
    addresses.unshift(address)
  }
  return addresses
}

const pair =
  /[\t ]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+\-.^_`|~0-9A-Za-z]+))[\t ]*([;,]|$)/y

/**
 * The elements of a Forwarded, nearest hop last; none at all when it cannot be read.
 *
 * Forwarded   = 1#forwarded-element
 * element     = [ forwarded-pair ] *( ";" [ forwarded-pair ] )       RFC 7239 section 4
 */
export function hopsOf(forwarded: string): Hop[] {
  const hops: Hop[] = []
  let parameters = new Map<string, string>()
  pair.lastIndex = 0
  for (;;) {
    const found = pair.exec(forwarded)
    if (!found) return []
    const [, name, quoted, plain, delimiter] = found
    parameters.set(name!.toLowerCase(), quoted === undefined ? plain! : quoted.replace(/\\(.)/g, '$1'))
    if (delimiter === ';') continue
    const host = parameters.get('host')
    hops.push({
      address: addressOfNode(parameters.get('for') ?? ''),
      scheme: schemeOf(parameters.get('proto') ?? null),
      host: host !== undefined && isAuthority(host) ? host : undefined,
    })
    if (delimiter === '') return hops
    parameters = new Map()
  }
}

export function schemeOf(value: string | null): 'http' | 'https' | undefined {
  const lower = value?.toLowerCase()
  return lower === 'http' || lower === 'https' ? lower : undefined
}

/** `192.0.2.1`, `2001:db8::1`, either with a port behind it, the latter then in brackets. RFC 7239 section 6 */
function addressOfNode(node: string): string | undefined {
  const [, bracketed, plain] = /^(?:\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([^[\]]+))$/.exec(node) ?? []
  if (bracketed !== undefined) return ipaddr.IPv6.isValid(bracketed) ? bracketed : undefined
  if (plain === undefined || plain.includes('%')) return undefined
  const [host = '', port] = plain.split(':').length === 2 ? plain.split(':') : [plain]
  if (port !== undefined && !/^\d{1,5}$/.test(port)) return undefined
  return ipaddr.IPv4.isValidFourPartDecimal(host) || ipaddr.IPv6.isValid(host) ? host : undefined
}

/** Field lines that say it in every way that backends read. The hops' addresses, nearest last. */
export function forwardedLines(addresses: readonly string[], scheme: string, host: string): string {
  const chain = addresses.length === 0 ? '' : `X-Forwarded-For: ${addresses.join(', ')}\r\n`
  const last = addresses.length - 1
  const elements = (addresses.length === 0 ? [undefined] : addresses).map((address, i) => {
    const node = address === undefined ? 'unknown' : address.includes(':') ? `"[${address}]"` : address
    return i === Math.max(last, 0) ? `for=${node};host="${host}";proto=${scheme}` : `for=${node}`
  })
  return `${chain}X-Forwarded-Proto: ${scheme}\r\nX-Forwarded-Host: ${host}\r\nForwarded: ${elements.join(', ')}\r\n`
}
