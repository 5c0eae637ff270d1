/** Names to addresses over `node:dns`. */
import { promises as dns } from 'node:dns'
import type { Resolution, ResolvedAddress, Resolver } from '../../src/runtime.ts'
import { socketError } from './socket-error.ts'

const longestTtlMs = 300_000
const shortestTtlMs = 1_000
const ttlWaitMs = 2_000

export const resolver: Resolver = {
  /** The system's answer (hosts file, search domains); its lifetime from the DNS where the name is found there too. */
  async lookup(hostname): Promise<Resolution> {
    const asked = dns.lookup(hostname, { all: true, order: 'ipv4first' })
    const [found, ttlMs] = await Promise.all([inOurWords(asked), ttlOf(hostname)])
    const addresses = found.map(({ address, family }): ResolvedAddress => ({ address, family: family === 6 ? 6 : 4 }))
    return ttlMs === undefined ? { addresses } : { addresses, ttlMs }
  },
  txt: async (hostname) => (await inOurWords(dns.resolveTxt(hostname))).map((parts) => parts.join('')),
  srv: (hostname) => inOurWords(dns.resolveSrv(hostname)),
}

function inOurWords<T>(asked: Promise<T>): Promise<T> {
  return asked.catch((error: unknown) => Promise.reject(socketError(error)))
}

async function ttlOf(hostname: string): Promise<number | undefined> {
  if (!hostname.includes('.')) return undefined
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), ttlWaitMs)))
  const asked = dns.resolve4(hostname, { ttl: true }).then(
    (records) => Math.min(...records.map(({ ttl }) => ttl)) * 1000,
    () => undefined,
  )
  const ttlMs = await Promise.race([asked, late])
  clearTimeout(timer)
  return ttlMs === undefined ? undefined : Math.min(Math.max(ttlMs, shortestTtlMs), longestTtlMs)
}
