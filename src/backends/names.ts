/** DNS names of backends, looked up again when their answers have run out. */
import type { Resolution, Resolver } from '../runtime.ts'

/** For answers that say nothing of their lifetime. */
const defaultTtlMs = 30_000
/** A name that cannot be resolved keeps its last addresses this long: a broken DNS must not break what works. */
const staleMs = 300_000

interface Known {
  addresses: readonly string[]
  freshUntilMs: number
  usableUntilMs: number
  asked: Promise<readonly string[]> | undefined
}

export interface Names {
  /** Addresses at hand, fresh or being refreshed in the background; undefined when they must be waited for. */
  known(hostname: string): readonly string[] | undefined
  /** Rejects with a SocketError when the name has no address. */
  lookup(hostname: string): Promise<readonly string[]>
  /** Forgets names that no backend uses any more. */
  retain(used: ReadonlySet<string>): void
}

export function createNames(resolver: Resolver, now: () => number): Names {
  const names = new Map<string, Known>()

  function ask(hostname: string, before: Known | undefined): Promise<readonly string[]> {
    const entry: Known = before ?? { addresses: [], freshUntilMs: 0, usableUntilMs: 0, asked: undefined }
    names.set(hostname, entry)
    entry.asked ??= resolver.lookup(hostname).then(
      (found: Resolution) => {
        entry.asked = undefined
        entry.addresses = found.addresses.map(({ address }) => address)
        entry.freshUntilMs = now() + (found.ttlMs ?? defaultTtlMs)
        entry.usableUntilMs = entry.freshUntilMs + staleMs
        return entry.addresses
      },
      (error: unknown) => {
        entry.asked = undefined
        if (entry.addresses.length > 0 && now() < entry.usableUntilMs) {
          entry.freshUntilMs = now() + defaultTtlMs
          return entry.addresses
        }
        names.delete(hostname)
        return Promise.reject(error)
      },
    )
    return entry.asked
  }

  return {
    known(hostname) {
      const entry = names.get(hostname)
      if (!entry || entry.addresses.length === 0) return undefined
      const at = now()
      if (at >= entry.usableUntilMs) return undefined
      if (at >= entry.freshUntilMs) ask(hostname, entry).catch(() => {}) // answered from what we have
      return entry.addresses
    },
    lookup: (hostname) => ask(hostname, names.get(hostname)),
    retain(used) {
      for (const hostname of names.keys()) if (!used.has(hostname)) names.delete(hostname)
    },
  }
}
