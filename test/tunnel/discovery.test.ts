import { describe, expect, test } from 'vitest'
import { type ResolvedAddress, type ServiceRecord } from '../../src/runtime.ts'
import { silentLog } from '../../src/telemetry.ts'
import { createAddressPool, type IpVersion } from '../../src/tunnel/addresses.ts'
import {
  discoverEdge,
  type EdgeAddress,
  type EdgeRegions,
  edgeServiceName,
  orderRecords,
  resolveStaticEdge,
} from '../../src/tunnel/discovery.ts'
import { createRecordedLog } from '../support/recorded-log.ts'

const record = (name: string, priority = 1, weight = 1, port = 7844): ServiceRecord => ({
  name,
  port,
  priority,
  weight,
})
const records = [record('region1.v2.argotunnel.com'), record('region2.v2.argotunnel.com', 2)]

const zone: Record<string, readonly ResolvedAddress[]> = {
  'region1.v2.argotunnel.com': [
    { address: '198.51.100.1', family: 4 },
    { address: '2001:db8::1', family: 6 },
  ],
  'region2.v2.argotunnel.com': [{ address: '198.51.100.2', family: 4 }],
  'edge.test': [
    { address: '192.0.2.1', family: 4 },
    { address: '192.0.2.2', family: 4 },
  ],
  'empty.test': [],
}

function resolver(srv: (name: string) => Promise<readonly ServiceRecord[]>) {
  const lookup = (hostname: string) => {
    const addresses = zone[hostname]
    return addresses === undefined ? Promise.reject(new Error(`no ${hostname}`)) : Promise.resolve({ addresses })
  }
  return { srv, lookup }
}

const noTls = () => Promise.reject(new Error('not asked'))
const half = () => 0.5

describe('where the edge is', () => {
  test.each([
    [undefined, '_v2-origintunneld._tcp.argotunnel.com'],
    ['', '_v2-origintunneld._tcp.argotunnel.com'],
    ['us', '_us-v2-origintunneld._tcp.argotunnel.com'],
    ['fed', '_fed-v2-origintunneld._tcp.argotunnel.com'],
  ])('region %j asks for %s', (region, name) => {
    expect(edgeServiceName(region)).toBe(name)
  })

  test("the first two records are the two regions; ports are the records'", async () => {
    const asked: string[] = []
    const srv = (name: string) => {
      asked.push(name)
      return Promise.resolve([...records, record('edge.test', 3)])
    }
    expect(await discoverEdge({ resolver: resolver(srv), srvOverTls: noTls, region: 'us', random: half })).toEqual([
      [
        { host: '198.51.100.1', port: 7844, family: 4 },
        { host: '2001:db8::1', port: 7844, family: 6 },
      ],
      [{ host: '198.51.100.2', port: 7844, family: 4 }],
    ])
    expect(asked).toEqual(['_us-v2-origintunneld._tcp.argotunnel.com'])
  })

  test.each([
    ['fails', () => Promise.reject(new Error('SERVFAIL'))],
    ['answers nothing', () => Promise.resolve([])],
  ])('when the system resolver %s, DNS over TLS is asked', async (_, srv) => {
    const regions = await discoverEdge({
      resolver: resolver(srv),
      srvOverTls: () => Promise.resolve(records),
      random: half,
    })
    expect(regions[1]).toHaveLength(1)
  })

  test('when both fail, the first failure is the one reported', async () => {
    const failure = new Error('SERVFAIL')
    const srv = () => Promise.reject(failure)
    await expect(discoverEdge({ resolver: resolver(srv), srvOverTls: noTls, random: half })).rejects.toMatchObject({
      message: 'the edge was not found: no SRV record _v2-origintunneld._tcp.argotunnel.com',
      cause: failure,
    })
  })

  test('a region without address is left out while the other one stands', async () => {
    const srv = () => Promise.resolve([record('nowhere.test'), record('region2.v2.argotunnel.com', 2)])
    const regions = await discoverEdge({ resolver: resolver(srv), srvOverTls: noTls, random: half })
    expect(regions.map((region) => region.length)).toEqual([0, 1])
    const none = () => Promise.resolve([record('nowhere.test')])
    await expect(discoverEdge({ resolver: resolver(none), srvOverTls: noTls, random: half })).rejects.toThrow(
      /has an address/,
    )
  })
})

describe('the order of SRV records (RFC 2782)', () => {
  test('by priority, whatever the order of the answer', () => {
    const shuffled = [record('c', 30), record('a', 10), record('b', 20)]
    expect(orderRecords(shuffled, half).map(({ name }) => name)).toEqual(['a', 'b', 'c'])
  })

  test('by chance within a priority, in proportion to the weights', () => {
    const counts = { heavy: 0, light: 0 }
    for (let step = 0; step < 1000; step++) {
      const [first] = orderRecords([record('light', 1, 1), record('heavy', 1, 99)], () => step / 1000)
      counts[first!.name as keyof typeof counts]++
    }
    expect(counts.heavy / 1000).toBeGreaterThan(0.97)
    expect(counts.light).toBeGreaterThan(0)
  })

  test('weights of 0 lose nobody', () => {
    const zeroes = [record('a', 1, 0), record('b', 1, 0), record('c', 1, 0)]
    expect(
      orderRecords(zeroes, () => 0.99)
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(['a', 'b', 'c'])
  })
})

describe('static edge addresses', () => {
  const none = resolver(() => Promise.reject(new Error('not asked')))

  test('each is one address, and they are dealt to the regions in turn; what does not resolve is left out', async () => {
    const entries = ['edge.test:1', 'nowhere.test:2', 'edge.test:3', 'edge.test:4']
    expect(await resolveStaticEdge(entries, none, silentLog)).toEqual([
      [
        { host: '192.0.2.1', port: 1, family: 4 },
        { host: '192.0.2.1', port: 3, family: 4 },
      ],
      [{ host: '192.0.2.1', port: 4, family: 4 }],
    ])
  })

  test('what is left out is named in a warning', async () => {
    const log = createRecordedLog()
    await resolveStaticEdge(['nowhere.test:2', 'edge.test:1', 'empty.test:3'], none, log)
    expect(log.lines).toEqual([
      'warn: an edge address given does not resolve, and is left out',
      'warn: an edge address given does not resolve, and is left out',
    ])
    expect(log.fields).toEqual([
      { edge: 'nowhere.test:2', error: 'no nowhere.test' },
      { edge: 'empty.test:3', error: 'the name has no address' },
    ])
  })

  test('none resolves: one error that names them, and no warnings besides', async () => {
    const log = createRecordedLog()
    await expect(resolveStaticEdge(['nowhere.test:2', 'empty.test:3'], none, log)).rejects.toMatchObject({
      message: 'none of the edge addresses given resolves (nowhere.test:2, empty.test:3)',
      cause: { message: 'no nowhere.test' },
    })
    expect(log.lines).toEqual([])
  })

  test.each(['edge.test', 'edge.test:', 'edge.test:0', 'edge.test:70000', ':7844', '::1:7844', 'a b:1', '[::1]'])(
    '%j is none',
    async (entry) => {
      await expect(resolveStaticEdge([entry], none, silentLog)).rejects.toThrow('not of the form host:port')
    },
  )

  test('IPv6 stands in brackets', async () => {
    const asked: string[] = []
    const lookup = (hostname: string) => {
      asked.push(hostname)
      return Promise.resolve({ addresses: [{ address: hostname, family: 6 as const }] })
    }
    expect(await resolveStaticEdge(['[::1]:7844'], { ...none, lookup }, silentLog)).toEqual([
      [{ host: '::1', port: 7844, family: 6 }],
      [],
    ])
    expect(asked).toEqual(['::1'])
  })
})

const v4 = (last: number): EdgeAddress => ({ host: `192.0.2.${last}`, port: 7844, family: 4 })
const v6 = (last: number): EdgeAddress => ({ host: `2001:db8::${last}`, port: 7844, family: 6 })

function pool(regions: EdgeRegions, ipVersion: IpVersion = 'auto', random = () => 0) {
  let nowMs = 0
  const created = createAddressPool(regions, { ipVersion, now: () => nowMs, random })
  return { ...created, capacity: () => created.capacity, wait: (ms: number) => (nowMs += ms) }
}

describe('which connection has which address', () => {
  const two: EdgeRegions = [
    [v4(1), v4(2), v4(3)],
    [v4(11), v4(12), v4(13)],
  ]
  const regionOf = (address: EdgeAddress | undefined) => (two[0].includes(address!) ? 1 : 2)

  test('four connections spread evenly over both regions, each with an address of its own', () => {
    const addresses = pool(two)
    const taken = [0, 1, 2, 3].map((index) => addresses.take(index))
    expect(new Set(taken).size).toBe(4)
    expect(taken.map(regionOf).toSorted((a, b) => a - b)).toEqual([1, 1, 2, 2])
    expect(addresses.capacity()).toBe(6)
  })

  test('a connection keeps its address across reconnects', () => {
    const addresses = pool(two)
    const first = addresses.take(0)
    addresses.take(1)
    expect(addresses.take(0)).toBe(first)
  })

  test('another address is never the old one, and the old one is free again', () => {
    const addresses = pool([[v4(1), v4(2)], []])
    const first = addresses.take(0)
    const second = addresses.rotate(0, true)
    expect(second).not.toBe(first)
    expect(addresses.take(1)).toBe(first)
  })

  test('where there is no other, rotating fails once, and then the old one may be taken again', () => {
    const addresses = pool([[v4(1)], []])
    const only = addresses.take(0)
    expect(addresses.rotate(0, true)).toBeUndefined()
    expect(addresses.take(0)).toBe(only)
  })

  test('more connections than addresses get none', () => {
    const addresses = pool([[v4(1)], [v4(11)]])
    expect([0, 1, 2].map((index) => addresses.take(index)?.host)).toEqual(['192.0.2.1', '192.0.2.11', undefined])
    addresses.release(1)
    expect(addresses.take(2)).toEqual(v4(11))
  })

  test('an address that a connection has from another pool is its own here too', () => {
    const addresses = pool(two)
    addresses.claim(3, { ...v4(12) })
    addresses.claim(2, v4(99))
    expect(addresses.take(3)).toEqual(v4(12))
    const others = [0, 1, 2, 4, 5].map((index) => addresses.take(index)?.host)
    expect(new Set(others).size).toBe(5)
    expect(others).not.toContain(v4(12).host)
  })

  test('a region that is used up is made up for by the other one', () => {
    const addresses = pool([[v4(1)], [v4(11), v4(12), v4(13)]])
    expect([0, 1, 2, 3].map((index) => addresses.take(index)).every((address) => address !== undefined)).toBe(true)
  })
})

describe('IPv4 and IPv6', () => {
  test.each<[IpVersion, EdgeRegions, readonly (4 | 6)[]]>([
    [
      4,
      [
        [v6(1), v4(1)],
        [v4(11), v6(11)],
      ],
      [4, 4],
    ],
    [
      6,
      [
        [v6(1), v4(1)],
        [v4(11), v6(11)],
      ],
      [6, 6],
    ],
    [
      'auto',
      [
        [v6(1), v4(1)],
        [v4(11), v6(11)],
      ],
      [4, 6],
    ],
    [6, [[v4(1)], [v4(11)]], []],
  ])("%s uses what it says; auto each region's first family", (ipVersion, regions, families) => {
    const addresses = pool(regions, ipVersion)
    expect(addresses.capacity()).toBe(families.length)
    const taken = [0, 1].map((index) => addresses.take(index)?.family).filter((family) => family !== undefined)
    expect(taken.toSorted((a, b) => a - b)).toEqual(families)
  })

  const mixed: EdgeRegions = [[v6(1), v6(2), v4(1), v4(2)], []]

  test('an IPv6 address that does not answer moves its region to IPv4, for ten minutes', () => {
    const addresses = pool(mixed)
    expect(addresses.take(0)?.family).toBe(6)
    expect(addresses.rotate(0, true)?.family).toBe(4)
    expect(addresses.take(1)?.family).toBe(4)
  })

  test('an IPv4 address that does not answer either moves it back at once', () => {
    const addresses = pool(mixed)
    addresses.take(0)
    addresses.rotate(0, true)
    expect(addresses.rotate(0, true)?.family).toBe(6)
  })

  test('IPv6 addresses that come back late return the region only after ten minutes', () => {
    const addresses = pool(mixed)
    addresses.take(0)
    addresses.take(1)
    expect(addresses.rotate(0, true)?.family).toBe(4)
    addresses.wait(9 * 60_000)
    expect(addresses.rotate(1, true)?.family).toBe(4)
    const later = pool(mixed)
    later.take(0)
    later.take(1)
    later.rotate(0, true)
    later.wait(10 * 60_000)
    expect(later.rotate(1, true)?.family).toBe(6)
  })

  test.each([
    ['a rotation for another reason', mixed, false, 6],
    ['no IPv4 to go to', [[v6(1), v6(2)], []] as const, true, 6],
    ['IPv4 first', [[v4(1), v4(2), v6(1)], []] as const, true, 4],
  ])('%s changes nothing', (_, regions, unreachable, family) => {
    const addresses = pool(regions)
    addresses.take(0)
    expect(addresses.rotate(0, unreachable)?.family).toBe(family)
  })
})
