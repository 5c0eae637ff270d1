/**
 * Where we may dial, decided after DNS.
 *
 * A route must not be a way to the node's metadata service, to other services of the node, or back to ourselves.
 */
import ipaddr from 'ipaddr.js'
import type { Address } from '../runtime.ts'

export interface DialPolicyOptions {
  /** Loopback backends: for configs from local files, or where the operator says so. */
  readonly allowLoopback: boolean
  /** Our own listeners, admin included. */
  readonly ownListeners: readonly Address[]
}

/** Both return why a connection must not be, or undefined when it may. */
export interface DialPolicy {
  /** Before dialling. */
  refusal(to: Address): string | undefined
  /** After dialling: from one of the host's own addresses the system connects with that same address. */
  refusalOfOpen(local: Address, remote: Address): string | undefined
}

/** Cloud metadata services that are not link-local: AWS, Google, Alibaba, Oracle and Azure. */
const metadataAddresses: ReadonlySet<string> = new Set([
  'fd00:ec2::254',
  'fd20:ce::254',
  '100.100.100.200',
  '192.0.0.192',
  '168.63.129.16',
])

export function createDialPolicy({ allowLoopback, ownListeners }: DialPolicyOptions): DialPolicy {
  const own = ownListeners.flatMap(({ host, port }) => {
    const address = addressOf(host)
    return address ? [{ address, port }] : []
  })

  function refusalOf(address: IpAddress, host: string, port: number): string | undefined {
    const range = address.range()
    if (range === 'linkLocal' || metadataAddresses.has(address.toString()))
      return `${host} is a link-local or metadata address`
    if (range === 'unspecified' || range === 'broadcast' || range === 'multicast') return `${host} is no host's address`
    if (range === 'loopback' && !allowLoopback)
      return `${host} is a loopback address; --allow-loopback-backends permits it`
    for (const listener of own) {
      if (listener.port !== port) continue
      if (sameAddress(listener.address, address) || (isWildcard(listener.address) && range === 'loopback'))
        return `${host}:${port} is our own listener`
    }
    return undefined
  }

  return {
    refusal({ host, port }) {
      const address = addressOf(host)
      if (!address) return `${host} is not an IP address`
      const inner = embeddedAddress(address)
      return refusalOf(address, host, port) ?? (inner && refusalOf(inner, host, port))
    },
    refusalOfOpen(local, remote) {
      if (!own.some(({ address, port }) => port === remote.port && isWildcard(address))) return undefined
      const from = addressOf(local.host)
      const to = addressOf(remote.host)
      return from && to && sameAddress(from, to) ? `${remote.host}:${remote.port} is our own listener` : undefined
    },
  }
}

/** True for an address in its ordinary notation; anything else is a name, and has to be looked up. */
export function isAddress(host: string): boolean {
  return ipaddr.IPv4.isValidFourPartDecimal(host) || ipaddr.IPv6.isValid(host)
}

type IpAddress = ipaddr.IPv4 | ipaddr.IPv6

/** IPv4-mapped IPv6 is IPv4. A zone only ever belongs to a link-local address, so an address with one is none for us. */
function addressOf(host: string): IpAddress | undefined {
  return isAddress(host) && !host.includes('%') ? ipaddr.process(host) : undefined
}

/** The IPv4 address that a translator or tunnel would take out of an IPv6 one. RFC 6052, RFC 3056, RFC 4291 section 2.5.5. */
function embeddedAddress(address: IpAddress): ipaddr.IPv4 | undefined {
  if (address.kind() !== 'ipv6') return undefined
  const bytes = address.toByteArray()
  const last = bytes.slice(12)
  if (address.range() === 'rfc6052') return new ipaddr.IPv4(last)
  if (address.range() === '6to4') return new ipaddr.IPv4(bytes.slice(2, 6))
  // "::" and "::1" are no IPv4-compatible addresses.
  const compatible = bytes.slice(0, 12).every((byte) => byte === 0) && (last[0] !== 0 || last[1] !== 0)
  return compatible ? new ipaddr.IPv4(last) : undefined
}

function sameAddress(a: IpAddress, b: IpAddress): boolean {
  return a.toString() === b.toString()
}

function isWildcard(address: IpAddress): boolean {
  return address.range() === 'unspecified'
}
