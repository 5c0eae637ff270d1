/**
 * Who the client is, and what we tell the backend of it.
 *
 * A peer is believed only if it is Cloudflare's edge or among the trusted proxies. What a stranger claims of itself
 * (`Forwarded`, `X-Forwarded-*`, `X-Real-IP`, `CF-*`, `X-Original-Host`) is taken out, and ours put in.
 *
 * @see RFC 7239 (Forwarded), RFC 9110 section 7.6.3 (Via)
 */
import ipaddr from 'ipaddr.js'
import { kind, type Head } from '../http/head.ts'
import { isAuthority } from '../http/fields.ts'
import type { Address, Exchange } from '../runtime.ts'

export interface TrustOptions {
  /** CIDR ranges or addresses of proxies in front of us. */
  readonly trustedProxies: readonly string[]
  /** Our name in Via: `1.1 name`. A token; unique to this process, so that loops are found. */
  readonly viaName: string
}

export interface ClientFacts {
  /** The client's address. */
  readonly address: string
  /** What the client used to reach the first hop that we believe. */
  readonly scheme: 'http' | 'https'
  /** Kinds of received field to leave out towards the backend. */
  readonly dropped: number
  /** Field lines to add towards the backend. */
  readonly lines: string
}

export interface ClientPolicy {
  factsOf(exchange: Exchange, head: Head, authority: string): ClientFacts
  /** True when the request has come through this process before. */
  hasLooped(head: Head): boolean
}

/** @throws TypeError for what is neither an address nor a CIDR range */
export function createClientPolicy(options: TrustOptions): ClientPolicy {
  const ranges = options.trustedProxies.map(parseRange)
  const via = `Via: 1.1 ${options.viaName}\r\n`
  const viaMember = new RegExp(`(?:^|[\\s,])${options.viaName}(?:$|[\\s,(])`)
  const trusted = (address: string): boolean => {
    if (ranges.length === 0 || !ipaddr.isValid(address)) return false
    const parsed = ipaddr.process(address)
    return ranges.some(([range, bits]) => parsed.kind() === range.kind() && parsed.match(range, bits))
  }
  /** By the socket's own Address object: the same for every request of a connection. */
  const peers = new WeakMap<Address, { readonly trusted: boolean; authority: string; facts: ClientFacts | undefined }>()

  function strangerFacts(exchange: Exchange, authority: string): ClientFacts {
    const { scheme, peer } = exchange
    return {
      address: peer.host,
      scheme,
      dropped: kind.forwarded | kind.cloudflare,
      lines: `${forwardedLines(peer.host, scheme, authority)}${via}`,
    }
  }

  return {
    factsOf(exchange, head, authority) {
      if (exchange.edge === true) return edgeFacts(exchange, head, authority, via)
      const { peer } = exchange
      let known = peers.get(peer)
      if (!known) {
        known = { trusted: trusted(peer.host), authority: '', facts: undefined }
        peers.set(peer, known)
      }
      if (known.trusted) return proxiedFacts(exchange, head, authority, via, trusted)
      if (known.facts === undefined || known.authority !== authority) {
        known.authority = authority
        known.facts = strangerFacts(exchange, authority)
      }
      return known.facts
    },
    hasLooped: (head) => (head.kinds & kind.via) !== 0 && viaMember.test(head.get('via') ?? ''),
  }
}

function forwardedLines(client: string, scheme: string, host: string): string {
  return `X-Forwarded-For: ${client}\r\nX-Forwarded-Proto: ${scheme}\r\nX-Forwarded-Host: ${host}\r\nForwarded: ${forwardedElement(client, scheme, host)}\r\n`
}

function forwardedElement(client: string, scheme: string, host: string): string {
  const node = client.includes(':') ? `"[${client}]"` : client
  return `for=${node};host="${host}";proto=${scheme}`
}

/** The edge names the client; its own address is of no use to anybody. */
function edgeFacts(exchange: Exchange, head: Head, authority: string, via: string): ClientFacts {
  const claimed = head.get('cf-connecting-ip') ?? ''
  const address = ipaddr.isValid(claimed) ? claimed : exchange.peer.host
  const scheme = schemeOf(head.get('x-forwarded-proto')) ?? 'https'
  return { address, scheme, dropped: kind.forwarded, lines: `${forwardedLines(address, scheme, authority)}${via}` }
}

/** Behind a proxy that we trust: its word is passed on, and the proxy itself appended. */
function proxiedFacts(
  exchange: Exchange,
  head: Head,
  authority: string,
  via: string,
  trusted: (address: string) => boolean,
): ClientFacts {
  const { peer } = exchange
  const chain = (head.get('x-forwarded-for') ?? '')
    .split(',')
    .map((member) => member.trim())
    .filter((member) => ipaddr.isValid(member))
  const scheme = schemeOf(head.get('x-forwarded-proto')) ?? exchange.scheme
  const claimedHost = head.get('x-forwarded-host') ?? ''
  const host = isAuthority(claimedHost) ? claimedHost : authority
  let at = chain.length - 1
  while (at > 0 && trusted(chain[at]!)) at--
  const forwarded = head.get('forwarded')
  const element = forwardedElement(peer.host, exchange.scheme, authority)
  const others = head.fields().filter(([name]) => passedOn.test(name))
  const lines =
    `X-Forwarded-For: ${[...chain, peer.host].join(', ')}\r\nX-Forwarded-Proto: ${scheme}\r\nX-Forwarded-Host: ${host}\r\n` +
    `Forwarded: ${forwarded !== null && forwarded !== '' ? `${forwarded}, ${element}` : element}\r\n` +
    others.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  return { address: chain[at] ?? peer.host, scheme, dropped: kind.forwarded, lines: lines + via }
}

/** What a trusted proxy says besides: X-Real-IP, X-Forwarded-Port and their like. */
const passedOn = /^(?:x-real-ip|x-forwarded-(?!(?:for|proto|host)$).+)$/i

function schemeOf(value: string | null): 'http' | 'https' | undefined {
  return value === 'http' || value === 'https' ? value : undefined
}

type Range = [ipaddr.IPv4 | ipaddr.IPv6, number]

function parseRange(text: string): Range {
  try {
    if (text.includes('/')) return ipaddr.parseCIDR(text)
    const address = ipaddr.process(text)
    return [address, address.kind() === 'ipv4' ? 32 : 128]
  } catch {
    throw new TypeError(`"${text}" is neither an IP address nor a CIDR range`)
  }
}
