/**
 * Who the client is, and what we tell the backend of it.
 *
 * A peer is believed only if it is Cloudflare's edge or among the trusted proxies. What a stranger claims of itself
 * (`Forwarded`, `X-Forwarded-*`, `X-Real-IP`, `CF-*`, `X-Original-Host`) takes no part in matching and does not reach a
 * backend; ours does. Nobody's claims do as trailers: see `http/trailers.ts`. A request that came without an
 * {@link Exchange} is a stranger's without an address.
 *
 * @see RFC 7239 (Forwarded), RFC 9110 section 7.6.3 (Via)
 */
import ipaddr from 'ipaddr.js'
import { isAuthority } from '../http/fields.ts'
import { classify, headOf, kind, type Head } from '../http/head.ts'
import type { Address, Exchange } from '../runtime.ts'
import { addressesOf, forwardedLines, hopsOf, schemeOf, type Hop } from './forwarded.ts'

export interface TrustOptions {
  /** CIDR ranges or addresses of proxies in front of us. */
  readonly trustedProxies: readonly string[]
  /** Our name in Via: `1.1 name`. A token; unique to this process, so that loops are found. */
  readonly viaName: string
}

export interface ClientFacts {
  /** The client's address; '' when nobody knows. */
  readonly address: string
  /** What the client used to reach the first hop that we believe. */
  readonly scheme: 'http' | 'https'
  /** Kinds of received field that are not believed: a mask of `kind`. */
  readonly disbelieved: number
  /** Kinds of received field to leave out towards the backend. */
  readonly dropped: number
  /** Field lines to add towards the backend. */
  readonly lines: string
}

export interface ClientPolicy {
  factsOf(exchange: Exchange | undefined, head: Head, authority: string, scheme: 'http' | 'https'): ClientFacts
  /** True when the request has come through this process before. */
  hasLooped(head: Head): boolean
}

const claims = kind.forwarded | kind.cloudflare

interface EdgeClient {
  readonly claimed: string
  readonly authority: string
  readonly facts: ClientFacts
}

const recentSlots = 256
/** What is remembered may be a part of the head's text, and then holds all of it. */
const recentHeadLength = 4_096

function slotOf(address: string): number {
  const { length } = address
  return (
    (address.charCodeAt(length - 1) * 31 + address.charCodeAt(length - 2) * 7 + address.charCodeAt(length - 3)) &
    (recentSlots - 1)
  )
}

/** @throws TypeError for what is neither an address nor a CIDR range */
export function createClientPolicy(options: TrustOptions): ClientPolicy {
  const ranges = options.trustedProxies.map(parseRange)
  const via = `Via: 1.1 ${options.viaName}\r\n`
  const viaMember = new RegExp(`(?:^|[\\s,])${options.viaName}(?:$|[\\s,(])`)
  const isTrusted = (address: string): boolean => {
    if (ranges.length === 0 || !ipaddr.isValid(address)) return false
    const parsed = ipaddr.process(address)
    return ranges.some(([range, bits]) => parsed.kind() === range.kind() && parsed.match(range, bits))
  }
  /** By the socket's own Address object: the same for every request of a connection. */
  const peers = new WeakMap<Address, { readonly trusted: boolean; authority: string; facts: ClientFacts | undefined }>()

  /** Of the clients of the edge, which come in runs: those who were last at each slot. */
  const recent: (EdgeClient | undefined)[] = Array.from({ length: recentSlots })

  function strangerFacts(address: string, scheme: 'http' | 'https', authority: string): ClientFacts {
    const lines = forwardedLines(address === '' ? [] : [address], scheme, authority) + via
    return { address, scheme, disbelieved: claims, dropped: claims, lines }
  }

  /** The edge names the client; its own address is of no use to anybody. What the client spoke, the transport has found out. */
  function edgeFacts(exchange: Exchange, head: Head, authority: string): ClientFacts {
    const claimed = head.get('cf-connecting-ip', kind.cloudflare) ?? ''
    const { scheme } = exchange
    const slot = slotOf(claimed)
    const last = recent[slot]
    if (last?.claimed === claimed && last.facts.scheme === scheme && last.authority === authority) return last.facts
    const named = ipaddr.isValid(claimed)
    const address = named ? claimed : hostOfPeer(exchange)
    const lines = forwardedLines(address === '' ? [] : [address], scheme, authority) + via
    const facts: ClientFacts = { address, scheme, disbelieved: 0, dropped: kind.forwarded, lines }
    if (named && head.text.length <= recentHeadLength) recent[slot] = { claimed, authority, facts }
    return facts
  }

  /** Behind a proxy that we trust: its word is passed on, and the proxy itself appended. */
  function proxiedFacts(exchange: Exchange, head: Head, authority: string): ClientFacts {
    const peer = hostOfPeer(exchange)
    const listed = head.get('x-forwarded-for')
    const hops = listed === null ? hopsOf(head.get('forwarded') ?? '') : []
    const chain = listed === null ? addressesOfHops(hops) : addressesOf(listed)
    let at = chain.length - 1
    while (at > 0 && isTrusted(chain[at]!)) at--
    const hop = hops[hops.length - chain.length + at]
    const scheme = schemeOf(head.get('x-forwarded-proto')) ?? hop?.scheme ?? exchange.scheme
    const claimedHost = head.get('x-forwarded-host') ?? hop?.host ?? ''
    const host = isAuthority(claimedHost) ? claimedHost : authority
    // Forwarded is made of the same facts, so that the two never tell a backend different things.
    const lines = forwardedLines([...chain, peer], scheme, host)
    const others = head.fields().filter(([name]) => passedOn.test(name))
    const more = others.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    return { address: chain[at] ?? peer, scheme, disbelieved: 0, dropped: kind.forwarded, lines: lines + more + via }
  }

  return {
    factsOf(exchange, head, authority, scheme) {
      if (!exchange) return strangerFacts('', scheme, authority)
      if (exchange.edge === true) return edgeFacts(exchange, head, authority)
      const { peer } = exchange
      let known = peers.get(peer)
      if (!known) {
        known = { trusted: isTrusted(peer.host), authority: '', facts: undefined }
        peers.set(peer, known)
      }
      if (known.trusted) return proxiedFacts(exchange, head, authority)
      if (known.facts === undefined || known.authority !== authority) {
        known.authority = authority
        known.facts = strangerFacts(hostOfPeer(exchange), exchange.scheme, authority)
      }
      return known.facts
    },
    hasLooped: (head) => (head.kinds & kind.via) !== 0 && viaMember.test(head.get('via') ?? ''),
  }
}

/** A head without the fields that are not believed; the same one when it has none. */
export function believedHead(head: Head, { disbelieved }: ClientFacts): Head {
  if ((head.kinds & disbelieved) === 0) return head
  return headOf(head.fields().filter(([name]) => (classify(name, 0, name.length) & disbelieved) === 0))
}

/** The lines to add, without those that a filter has removed or set: the rule's author has the last word on them. */
export function linesBeside(head: Head, lines: string): string {
  const removed = head.edits?.removed
  if (removed === undefined) return lines
  let kept = lines
  for (const name of removed) {
    if ((classify(name, 0, name.length) & kind.forwarded) === 0) continue
    kept = kept
      .split('\r\n')
      .filter((line) => !line.toLowerCase().startsWith(`${name}:`))
      .join('\r\n')
  }
  return kept
}

/** Without zone: it says something to us alone. */
function hostOfPeer({ peer }: Exchange): string {
  const zone = peer.host.indexOf('%')
  return zone < 0 ? peer.host : peer.host.slice(0, zone)
}

/** From the nearest hop outwards, as far as they name addresses. */
function addressesOfHops(hops: readonly Hop[]): string[] {
  const addresses: string[] = []
  for (const { address } of hops.toReversed()) {
    if (address === undefined) break
    addresses.unshift(address)
  }
  return addresses
}

/** What a trusted proxy says besides: X-Real-IP, X-Forwarded-Port and their like. */
const passedOn = /^(?:x-real-ip|x-forwarded-(?!(?:for|proto|host)$).+)$/i

type Range = [ipaddr.IPv4 | ipaddr.IPv6, number]

function parseRange(text: string): Range {
  try {
    if (text.includes('/')) {
      const [range, bits] = ipaddr.parseCIDR(text)
      const mapped = range instanceof ipaddr.IPv6 && range.isIPv4MappedAddress() && bits >= 96
      return mapped ? [range.toIPv4Address(), bits - 96] : [range, bits]
    }
    const address = ipaddr.process(text)
    return [address, address.kind() === 'ipv4' ? 32 : 128]
  } catch {
    throw new TypeError(`"${text}" is neither an IP address nor a CIDR range`)
  }
}
