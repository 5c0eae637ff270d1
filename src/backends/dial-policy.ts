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

/** @returns why the address must not be dialled, or undefined when it may */
export type DialPolicy = (address: Address) => string | undefined

/** Cloud metadata services that are not link-local. */
const metadataAddresses = new Set(['fd00:ec2::254', '100.100.100.200', '168.63.129.16'])

export function createDialPolicy(options: DialPolicyOptions): DialPolicy {
  return ({ host, port }) => {
    if (!ipaddr.isValid(host)) return `${host} is not an IP address`
    const address = ipaddr.process(host)
    const range = address.range()
    if (range === 'linkLocal' || metadataAddresses.has(address.toString()))
      return `${host} is a link-local or metadata address`
    if (range === 'unspecified' || range === 'broadcast' || range === 'multicast') return `${host} is no host's address`
    if (range === 'loopback' && !options.allowLoopback)
      return `${host} is a loopback address; --allow-loopback-backends permits it`
    for (const own of options.ownListeners) {
      if (own.port === port && isSelf(address, own.host)) return `${host}:${port} is our own listener`
    }
    return undefined
  }
}

function isSelf(address: ipaddr.IPv4 | ipaddr.IPv6, own: string): boolean {
  if (!ipaddr.isValid(own)) return false
  const listener = ipaddr.process(own)
  return (
    listener.toString() === address.toString() || (listener.range() === 'unspecified' && address.range() === 'loopback')
  )
}
