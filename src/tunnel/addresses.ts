import { type EdgeAddress, type EdgeRegions } from './discovery.ts'

/**
 * Which connection uses which address. One address serves one connection at a time; a connection keeps its address
 * across reconnects until it is told to rotate; new ones come from the region with more addresses to spare, so that
 * connections spread over both.
 *
 * @see cloudflared, edgediscovery/edgediscovery.go and edgediscovery/allregions/
 */
export interface AddressPool {
  /** How many connections can have an address each. */
  readonly capacity: number
  /** The connection's address, or a free one. `undefined` when none is free. */
  take(connIndex: number): EdgeAddress | undefined
  /**
   * Another address than the one the connection had. `undefined` when no other is free; the old one may be taken again
   * then.
   *
   * @param unreachable whether the old address did not work, which may move its region to the other IP version
   */
  rotate(connIndex: number, unreachable: boolean): EdgeAddress | undefined
  /** The connection has this address already, from another pool; nothing happens if this one has no such address. */
  claim(connIndex: number, address: EdgeAddress): void
  /** The connection has no use for its address any more. */
  release(connIndex: number): void
}

export type IpVersion = 'auto' | 4 | 6

export interface AddressPoolOptions {
  readonly ipVersion: IpVersion
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Returns a number in [0, 1). */
  readonly random: () => number
}

/** How long a region that fell back from IPv6 stays there. */
const returnAfterMs = 10 * 60_000

interface Slot {
  readonly address: EdgeAddress
  readonly region: Region
  user: number | undefined
}

interface Region {
  /** The addresses of the family that the resolver named first, or of the one that was asked for. */
  readonly primary: Slot[]
  readonly secondary: Slot[]
  active: Slot[]
  returnAtMs: number
}

export function createAddressPool(regions: EdgeRegions, { ipVersion, now, random }: AddressPoolOptions): AddressPool {
  const all = regions.map((addresses) => createRegion(addresses, ipVersion))

  function find(isMeant: (slot: Slot) => boolean): Slot | undefined {
    return all.flatMap((region) => [...region.primary, ...region.secondary]).find(isMeant)
  }

  function held(connIndex: number): Slot | undefined {
    return find((slot) => slot.user === connIndex)
  }

  function choose(except?: Slot): Slot | undefined {
    const free = all.map((region) => region.active.filter((slot) => slot.user === undefined && slot !== except))
    const [first = [], second = []] = free
    const firstLeads = first.length > second.length || (first.length === second.length && random() < 0.5)
    const from = firstLeads ? first : second
    return from[Math.floor(random() * from.length)] ?? (firstLeads ? second : first)[0]
  }

  function assign(slot: Slot | undefined, connIndex: number): EdgeAddress | undefined {
    if (slot !== undefined) slot.user = connIndex
    return slot?.address
  }

  return {
    get capacity() {
      return all.reduce((sum, region) => sum + region.active.length, 0)
    },
    take(connIndex) {
      return held(connIndex)?.address ?? assign(choose(), connIndex)
    },
    rotate(connIndex, unreachable) {
      const old = held(connIndex)
      if (old !== undefined) {
        old.user = undefined
        if (unreachable) reconsiderFamily(old, now())
      }
      return assign(choose(old), connIndex)
    },
    claim(connIndex, { host, port }) {
      assign(
        find(({ address, user }) => address.host === host && address.port === port && user === undefined),
        connIndex,
      )
    },
    release(connIndex) {
      const slot = held(connIndex)
      if (slot !== undefined) slot.user = undefined
    },
  }
}

function createRegion(addresses: readonly EdgeAddress[], ipVersion: IpVersion): Region {
  const family = ipVersion === 'auto' ? addresses[0]?.family : ipVersion
  const region: Region = { primary: [], secondary: [], active: [], returnAtMs: 0 }
  for (const address of addresses) {
    const slot = { address, region, user: undefined }
    if (address.family === family) region.primary.push(slot)
    else if (ipVersion === 'auto') region.secondary.push(slot)
  }
  region.active = region.primary
  return region
}

/** Broken IPv6 is common enough to be worth leaving; from the other side, IPv4 that fails is left at once. */
function reconsiderFamily({ region, address }: Slot, nowMs: number): void {
  if (region.active === region.primary) {
    if (address.family !== 6 || region.secondary.length === 0) return
    region.active = region.secondary
    region.returnAtMs = nowMs + returnAfterMs
    return
  }
  if (address.family === 4 || nowMs >= region.returnAtMs) region.active = region.primary
}
