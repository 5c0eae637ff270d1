/** DNS names of backends, looked up again when their answers have run out. */
import type { Resolution, Resolver } from '../runtime.ts'

/** For answers that say nothing of their lifetime. */
const defaultTtlMs = 30_000
/** A lifetime of 0 would have every request ask. */
const minTtlMs = 1_000
/** A name that cannot be resolved keeps its last addresses this long: a broken DNS must not break what works. */
const staleMs = 300_000
/** How soon a broken DNS is asked again while the last addresses are used. */
const askAgainMs = 5_000

interface Known {
  /** The same array until the answer is another one. */
  addresses: readonly string[]
  freshUntilMs: number
  usableUntilMs: number
  asked: Promise<readonly string[]> | undefined
}

export interface Names {
  /** Addresses at hand, fresh or being refreshed in the background; undefined when they must be waited for. */
  known(hostname: string): readonly string[] | undefined
  /** Rejects with a SocketError when the name cannot be resolved. */
  lookup(hostname: string): Promise<readonly string[]>
  /** Forgets names that no backend uses any more. */
  retain(used: ReadonlySet<string>): void
}

export function createNames(resolver: Resolver, now: () => number): Names {
  const names = new Map<string, Known>()

  function ask(hostname: string): Promise<readonly string[]> {
    let entry = names.get(hostname)
    if (!entry) {
      entry = { addresses: [], freshUntilMs: 0, usableUntilMs: 0, asked: undefined }
      names.set(hostname, entry)
    }
    return (entry.asked ??= refresh(hostname, entry))
  }

  async function refresh(hostname: string, entry: Known): Promise<readonly string[]> {
    let found: Resolution
    try {
      found = await resolver.lookup(hostname)
    } catch (error) {
      entry.asked = undefined
      if (entry.addresses.length > 0 && now() < entry.usableUntilMs) {
        entry.freshUntilMs = now() + askAgainMs
        return entry.addresses
      }
      if (names.get(hostname) === entry) names.delete(hostname)
      throw error
    }
    entry.asked = undefined
    const addresses = [...new Set(found.addresses.map(({ address }) => address))].toSorted()
    // Resolvers rotate their answers; the same addresses in another order are no change.
    if (addresses.join() !== entry.addresses.join()) entry.addresses = addresses
    entry.freshUntilMs = now() + Math.max(found.ttlMs ?? defaultTtlMs, minTtlMs)
    entry.usableUntilMs = entry.freshUntilMs + staleMs
    return entry.addresses
  }

  return {
    known(hostname) {
      const entry = names.get(hostname)
      if (!entry || entry.addresses.length === 0) return undefined
      const at = now()
      if (at >= entry.usableUntilMs) return undefined
      if (at >= entry.freshUntilMs) ask(hostname).catch(() => {}) // answered from what we have
      return entry.addresses
    },
    lookup: ask,
    retain(used) {
      for (const hostname of names.keys()) if (!used.has(hostname)) names.delete(hostname)
    },
  }
}
