/** Addresses to bind, as people write them. */
import ipaddr from 'ipaddr.js'
import type { Address, Entrance } from '../runtime.ts'

/** Every address of the machine, IPv6 and IPv4. */
const everyHost = '::'

const bound = /^(?:(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_.-]+)?:)?(\d{1,5})$/
const entrance = /^(?:([^/:=]+\/[^/:=]+):)?(\d{1,5})=(.*)$/
const label = '[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?'
const gatewayName = new RegExp(`^${label}/${label}$`)

/** An address to listen on, and what it stands for. */
export interface ListenAt {
  readonly address: Address
  /** Absent: every HTTP listener of the config. */
  readonly entrance?: Entrance
}

/**
 * Reads `HOST:PORT`, `:PORT`, `PORT` or `[IPV6]:PORT`. Without a host it is every address of the machine. Port 0 lets
 * the system choose.
 */
export function parseBindAddress(text: string): Address | undefined {
  const found = bound.exec(text)
  if (!found) return undefined
  const port = Number(found[2])
  if (port > 65_535) return undefined
  const host = found[1] ?? everyHost
  if (!host.startsWith('[')) return { host, port }
  const bare = host.slice(1, -1)
  return ipaddr.IPv6.isValid(bare) ? { host: bare, port } : undefined
}

/** Reads `[[NAMESPACE/GATEWAY:]PORT=]ADDR`. */
export function parseListen(text: string): ListenAt | undefined {
  const found = entrance.exec(text)
  const address = parseBindAddress(found ? found[3]! : text)
  if (address === undefined) return undefined
  if (!found) return { address }
  const port = Number(found[2])
  const gateway = found[1]
  if (port < 1 || port > 65_535 || (gateway !== undefined && !gatewayName.test(gateway))) return undefined
  return { address, entrance: gateway === undefined ? { port } : { gateway, port } }
}

/** `127.0.0.1:8080`, `[::1]:8080`; for messages and URLs. */
export function formatAddress({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Whether nobody but this machine can reach a bound address. Names count only when they are reserved for that. */
export function isLoopbackHost(host: string): boolean {
  const name = host.toLowerCase()
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  return ipaddr.isValid(name) && ipaddr.process(name).range() === 'loopback'
}

/** An address (`192.0.2.1`) or a block (`10.0.0.0/8`, `fd00::/8`), as a block. */
export function parseAddressBlock(text: string): string | undefined {
  try {
    if (text.includes('/')) {
      const [address, length] = ipaddr.parseCIDR(text)
      return `${address.toString()}/${length}`
    }
    const address = ipaddr.process(text)
    return `${address.toString()}/${address.kind() === 'ipv4' ? 32 : 128}`
  } catch {
    return undefined
  }
}
