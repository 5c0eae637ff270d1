import { type Resolver, type ServiceRecord } from '../runtime.ts'
import { type Log } from '../telemetry.ts'
import { describeThrown } from './describe-thrown.ts'

/** One address of the edge. The port serves TCP and UDP alike. */
export interface EdgeAddress {
  readonly host: string
  readonly port: number
  readonly family: 4 | 6
}

/** The edge's two regions. Connections are spread over both; one of them may be empty. */
export type EdgeRegions = readonly [readonly EdgeAddress[], readonly EdgeAddress[]]

export type EdgeResolver = Pick<Resolver, 'lookup' | 'srv'>

export interface DiscoveryOptions {
  readonly resolver: EdgeResolver
  /** Asks a resolver of its own when the system's cannot answer; see dns-over-tls.ts. */
  readonly srvOverTls: (name: string) => Promise<readonly ServiceRecord[]>
  /** For instance `us` or `fed`; absent is the whole world. */
  readonly region?: string | undefined
  /** Returns a number in [0, 1). */
  readonly random: () => number
}

/** The edge's name in DNS. `tcp` also when the connection is to be QUIC. */
export function edgeServiceName(region: string | undefined): string {
  return `_${region ? `${region}-` : ''}v2-origintunneld._tcp.argotunnel.com`
}

/**
 * Finds the edge: SRV records name its regions, and each region's name has the addresses.
 *
 * A region that does not resolve is left out as long as another one does, since half an edge is better than none.
 *
 * @throws Error, whose cause is the resolver's, when no address is found
 * @see cloudflared, edgediscovery/allregions/discovery.go
 */
export async function discoverEdge(options: DiscoveryOptions): Promise<EdgeRegions> {
  const name = edgeServiceName(options.region)
  const records = orderRecords(await querySrv(name, options), options.random).slice(0, 2)
  const found = await Promise.allSettled(records.map((record) => resolveRecord(record, options.resolver)))
  const regions = found.map((region) => (region.status === 'fulfilled' ? region.value : []))
  if (regions.every((region) => region.length === 0)) {
    const cause = found.find((region) => region.status === 'rejected')?.reason as unknown
    throw new Error(`none of the names that ${name} leads to has an address`, { cause })
  }
  return [regions[0] ?? [], regions[1] ?? []]
}

/**
 * Addresses given by the user instead: `host:port`, each resolved to one address, dealt to the two regions in turn. An
 * entry that does not resolve is left out, with a warning.
 *
 * @throws Error when an entry has no port, or none resolves
 */
export async function resolveStaticEdge(
  entries: readonly string[],
  resolver: EdgeResolver,
  log: Log,
): Promise<EdgeRegions> {
  const places = entries.map(parsePlace)
  const found = await Promise.allSettled(places.map(({ host, port }) => resolveOne(host, port, resolver)))
  const regions: [EdgeAddress[], EdgeAddress[]] = [[], []]
  const failures = new Map<string, unknown>()
  for (const [index, result] of found.entries()) {
    if (result.status === 'fulfilled') regions[index % 2 === 0 ? 0 : 1].push(result.value)
    else failures.set(entries[index]!, result.reason)
  }
  if (regions.every((region) => region.length === 0)) {
    const names = [...failures.keys()].join(', ')
    throw new Error(`none of the edge addresses given resolves (${names})`, { cause: [...failures.values()][0] })
  }
  for (const [entry, reason] of failures) {
    log.warn('an edge address given does not resolve, and is left out', { edge: entry, error: describeThrown(reason) })
  }
  return regions
}

/**
 * The order in which a client tries SRV records: by priority, and by chance in proportion to their weights within one.
 *
 * @see RFC 2782, "Usage rules"
 */
export function orderRecords(records: readonly ServiceRecord[], random: () => number): readonly ServiceRecord[] {
  const left = records.toSorted((a, b) => a.priority - b.priority || a.weight - b.weight)
  const ordered: ServiceRecord[] = []
  while (left.length > 0) {
    const peers = left.filter((record) => record.priority === left[0]!.priority)
    const total = peers.reduce((sum, record) => sum + record.weight, 0)
    // Records of weight 0 stand first and are chosen when the number drawn is 0, as the RFC has it.
    let drawn = Math.floor(random() * (total + 1))
    const chosen = peers.find((record) => (drawn -= record.weight) <= 0) ?? peers[0]!
    ordered.push(chosen)
    left.splice(left.indexOf(chosen), 1)
  }
  return ordered
}

/** An empty answer is a failure too, and if the second resolver has no better one the first failure is reported. */
async function querySrv(name: string, { resolver, srvOverTls }: DiscoveryOptions): Promise<readonly ServiceRecord[]> {
  let failure: unknown
  try {
    const records = await resolver.srv(name)
    if (records.length > 0) return records
    failure = 'the answer is empty'
  } catch (error) {
    failure = error
  }
  const records = await srvOverTls(name).catch(() => [])
  if (records.length === 0) throw new Error(`the edge was not found: no SRV record ${name}`, { cause: failure })
  return records
}

async function resolveRecord(record: ServiceRecord, resolver: EdgeResolver): Promise<readonly EdgeAddress[]> {
  return resolveName(record.name, record.port, resolver)
}

async function resolveName(host: string, port: number, resolver: EdgeResolver): Promise<readonly EdgeAddress[]> {
  const { addresses } = await resolver.lookup(host)
  return addresses.map(({ address, family }) => ({ host: address, port, family }))
}

async function resolveOne(host: string, port: number, resolver: EdgeResolver): Promise<EdgeAddress> {
  const [first] = await resolveName(host, port, resolver)
  if (first === undefined) throw new Error('the name has no address')
  return first
}

function parsePlace(entry: string): { host: string; port: number } {
  const parts = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/i.exec(entry)
  const port = Number(parts?.[3])
  if (parts === null || port < 1 || port > 65_535) throw new Error('an edge address is not of the form host:port')
  return { host: parts[1] ?? parts[2]!, port }
}
