import { describe, expect, test } from 'vitest'
import { createConnector, type Connector, type ConnectorOptions } from '../../src/tunnel/connector.ts'
import { type EdgeRegions } from '../../src/tunnel/discovery.ts'
import { type ProtocolChoice } from '../../src/tunnel/protocol.ts'
import { createUuid } from '../../src/tunnel/uuid.ts'
import { silentLog } from '../../src/telemetry.ts'
import { createRecordedLog } from '../support/recorded-log.ts'
import { createManualTimers, type ManualTimers } from './manual-timers.ts'
import { createScriptedEdge, type ScriptedEdge } from './scripted-transport.ts'

const credentials = {
  accountTag: '0123456789abcdef0123456789abcdef',
  tunnelId: createUuid(),
  tunnelSecret: new Uint8Array(32).fill(7),
  endpoint: undefined,
}

function regionsOf(count: number): EdgeRegions {
  const place = (region: number, at: number) =>
    ({ host: `198.51.100.${region * 100 + at}`, port: 7844, family: 4 }) as const
  return [
    Array.from({ length: count }, (_, at) => place(0, at)),
    Array.from({ length: count }, (_, at) => place(1, at)),
  ]
}

interface Scene {
  readonly timers: ManualTimers
  readonly edge: ScriptedEdge
  readonly connector: Connector
  /** Lets promises settle, then moves the clock in steps, letting them settle after each. */
  pass(ms: number): Promise<void>
  settle(): Promise<void>
}

/** @param random the largest waits by default, so that bounds can be counted on */
function createScene(options: Partial<ConnectorOptions> = {}): Scene {
  const timers = createManualTimers()
  const edge = createScriptedEdge(timers)
  const connector = createConnector({
    credentials,
    identity: { connectorId: createUuid(), version: '0.1.0', os: 'linux', architecture: 'x64' },
    connections: 4,
    ipVersion: 'auto',
    discover: () => Promise.resolve(regionsOf(5)),
    chooseProtocol: () => Promise.resolve({ first: 'http2', fallback: undefined }),
    transports: edge.transport,
    timers,
    random: () => 0.999_999,
    log: silentLog,
    ...options,
  })
  const settle = async () => {
    for (let turn = 0; turn < 60; turn++) await Promise.resolve()
  }
  return {
    timers,
    edge,
    connector,
    settle,
    async pass(ms) {
      await settle()
      for (let left = ms; left > 0; left -= 100) {
        timers.advance(Math.min(left, 100))
        await settle()
      }
    },
  }
}

describe('starting', () => {
  test('connection 0 is started alone; the others a second apart once it has registered', async () => {
    const { connector, edge, pass, settle } = createScene()
    edge.script = (_, number) => (number === 0 ? { does: 'refuse-dial' } : { does: 'accept' })
    connector.start()
    await settle()
    expect(edge.connections.map(({ connIndex }) => connIndex)).toEqual([0])
    await pass(1_900)
    expect(edge.connections).toHaveLength(1)
    await pass(200)
    expect(edge.connections.map(({ connIndex }) => connIndex)).toEqual([0, 0, 1])
    await pass(1_100)
    expect(edge.connections.map(({ connIndex }) => connIndex)).toEqual([0, 0, 1, 2])
    await pass(1_100)
    expect(edge.connections.map(({ connIndex }) => connIndex)).toEqual([0, 0, 1, 2, 3])
    expect(connector.ready).toBe(4)
  })

  test('a registration says who we are: one connector, its own index, no replacing', async () => {
    const { connector, edge, pass } = createScene()
    connector.start()
    await pass(4_000)
    const registrations = edge.connections.map(({ registration }) => registration!)
    expect(registrations.map(({ connIndex }) => connIndex)).toEqual([0, 1, 2, 3])
    for (const { auth, tunnelId, options } of registrations) {
      expect(auth.accountTag).toBe(credentials.accountTag)
      expect([...auth.tunnelSecret]).toEqual([...credentials.tunnelSecret])
      expect([...tunnelId]).toEqual([...credentials.tunnelId])
      expect(options.client.clientId).toEqual(registrations[0]!.options.client.clientId)
      expect(options.client.features).toContain('serialized_headers')
      expect(options.client.arch).toBe('linux_amd64')
      expect(options.replaceExisting).toBe(false)
      expect(Array.from(options.originLocalIp).slice(-4)).toEqual([192, 168, 1, 1])
    }
  })

  test('connections have an address each, spread over both regions', async () => {
    const { connector, edge, pass } = createScene()
    connector.start()
    await pass(4_000)
    const hosts = edge.connections.map(({ address }) => address.host)
    expect(new Set(hosts).size).toBe(4)
    expect(hosts.filter((host) => /\.1\d\d$/.test(host.replace('198.51.100', '')))).toHaveLength(2)
  })

  test('there are no more connections than addresses', async () => {
    const { connector, edge, pass } = createScene({ discover: () => Promise.resolve(regionsOf(1)) })
    connector.start()
    await pass(10_000)
    expect(edge.connections.map(({ connIndex }) => connIndex)).toEqual([0, 1])
  })

  test('the edge is looked for until it is found', async () => {
    let asked = 0
    const discover = () => (++asked < 4 ? Promise.reject(new Error('no such name')) : Promise.resolve(regionsOf(2)))
    const { connector, pass } = createScene({ discover })
    connector.start()
    await pass(30_000)
    expect(asked).toBe(4)
    expect(connector.ready).toBe(4)
  })

  test.each([
    ['a tunnel that is managed here: from connection 0 alone', false, [true, false, false, false]],
    ['a tunnel that is managed remotely: never', true, [false, false, false, false]],
  ])('the local configuration is reported for %s', async (_, remotelyManaged, reported) => {
    const { connector, edge, pass } = createScene()
    edge.script = () => ({ does: 'accept', remotelyManaged })
    connector.start()
    await pass(4_000)
    expect(edge.connections.map(({ localConfiguration }) => localConfiguration !== undefined)).toEqual(reported)
  })
})

describe('failures', () => {
  test.each([
    ['a dial that fails', { does: 'refuse-dial' }, 2_000, true],
    [
      'a duplicate connection',
      { does: 'answer-error', error: { cause: 'EDUPCONN', retryAfterMs: 0, shouldRetry: false } },
      2_000,
      true,
    ],
    [
      'a refusal for now',
      { does: 'answer-error', error: { cause: 'try later', retryAfterMs: 0, shouldRetry: true } },
      2_000,
      false,
    ],
    [
      'a refusal for now that says when',
      { does: 'answer-error', error: { cause: 'try later', retryAfterMs: 27_000, shouldRetry: true } },
      27_000,
      false,
    ],
    [
      'credentials not known yet',
      { does: 'answer-error', error: { cause: 'Unauthorized: Tunnel not found', retryAfterMs: 0, shouldRetry: false } },
      2_000,
      false,
    ],
    [
      'a refusal for good',
      { does: 'answer-error', error: { cause: 'no', retryAfterMs: 0, shouldRetry: false } },
      2_000,
      false,
    ],
    ['an exception', { does: 'throw-exception' }, 2_000, false],
    ['an abort', { does: 'abort' }, 2_000, false],
  ] as const)('%s is tried again', async (_, script, waitMs, elsewhere) => {
    const { connector, edge, pass } = createScene()
    edge.script = (_, number) => (number === 0 ? script : { does: 'accept' })
    connector.start()
    await pass(waitMs - 100)
    expect(edge.connections).toHaveLength(1)
    await pass(200)
    expect(edge.connections.length).toBeGreaterThan(1)
    const [first, second] = edge.connections
    expect(second!.connIndex).toBe(0)
    expect(second!.address.host !== first!.address.host).toBe(elsewhere)
    expect(second!.registration?.options.numPreviousAttempts).toBe(1)
    expect(connector.ready).toBeGreaterThan(0)
  })

  test('an edge that never answers the registration is given up after 5 s', async () => {
    const { connector, edge, pass } = createScene()
    edge.script = (_, number) => (number === 0 ? { does: 'never-answer' } : { does: 'accept' })
    connector.start()
    await pass(4_900)
    expect(edge.connections[0]!.destroyed).toBe(false)
    await pass(200)
    expect(edge.connections[0]!.destroyed).toBe(true)
    await pass(2_100)
    expect(connector.ready).toBeGreaterThan(0)
  })

  test('an edge that never opens the control stream is given up, and another address tried', async () => {
    const { connector, edge, pass } = createScene()
    edge.script = (_, number) => (number === 0 ? { does: 'stay-silent' } : { does: 'accept' })
    connector.start()
    await pass(10_100)
    expect(edge.connections[0]!.destroyed).toBe(true)
    await pass(2_000)
    expect(edge.connections[1]!.address.host).not.toBe(edge.connections[0]!.address.host)
    expect(connector.ready).toBeGreaterThan(0)
  })

  test('waits double with each failure up to 32 s, and end with a registration', async () => {
    const { connector, edge, pass } = createScene({ connections: 1 })
    edge.script = (_, number) => (number < 7 ? { does: 'throw-exception' } : { does: 'accept' })
    connector.start()
    await pass(140_000)
    const times = edge.connections.map(({ atMs }) => Math.round(atMs / 1000))
    expect(times).toEqual([0, 2, 6, 14, 30, 62, 94, 126])
    edge.connections[7]!.close()
    await pass(2_100)
    expect(edge.connections).toHaveLength(9)
    expect(edge.connections[8]!.registration?.options.numPreviousAttempts).toBe(1)
  })

  test('the loss of a connection leaves the others, and it comes back to the same address', async () => {
    const { connector, edge, pass } = createScene()
    connector.start()
    await pass(4_000)
    edge.connections[2]!.close()
    await pass(0)
    expect(connector.ready).toBe(3)
    await pass(2_100)
    expect(connector.ready).toBe(4)
    expect(edge.connections[4]!.connIndex).toBe(2)
    expect(edge.connections[4]!.address).toBe(edge.connections[2]!.address)
  })

  test('a connection that has fallen silent moves to another address', async () => {
    const { connector, edge, pass } = createScene()
    connector.start()
    await pass(4_000)
    edge.connections[2]!.close(true)
    await pass(2_100)
    expect(edge.connections[4]!.address.host).not.toBe(edge.connections[2]!.address.host)
  })

  test('a connection whose control stream is lost is given up', async () => {
    const { connector, edge, pass } = createScene()
    connector.start()
    await pass(4_000)
    edge.connections[1]!.loseControl()
    expect(connector.ready).toBe(3)
    await pass(100)
    expect(edge.connections[1]!.destroyed).toBe(true)
    await pass(2_100)
    expect(connector.ready).toBe(4)
  })

  test('an edge that goes away is replaced at once, elsewhere; what runs on the old connection finishes', async () => {
    const { connector, edge, pass } = createScene()
    connector.start()
    await pass(30_000)
    const old = edge.connections[2]!
    old.active = 1
    old.goAway()
    await pass(100)
    const replacement = edge.connections[4]!
    expect(replacement.connIndex).toBe(2)
    expect(replacement.address.host).not.toBe(old.address.host)
    expect(old.unregistered).toBe(true)
    expect(connector.ready).toBe(4)
    await pass(3_600_000)
    expect(old.destroyed).toBe(false)
    expect(old.finished).toBe('keep')
    old.finishRequests()
    await pass(100)
    expect(connector.ready).toBe(4)
    expect(edge.connections).toHaveLength(5)
  })

  test('an edge that goes away as soon as it has registered us is waited for like one that is lost', async () => {
    const { connector, edge, pass } = createScene({ connections: 1 })
    connector.start()
    await pass(1_000)
    for (let times = 1; times < 5; times++) {
      edge.connections.at(-1)!.goAway()
      await pass(1_900)
      expect(edge.connections).toHaveLength(times)
      await pass(200)
      expect(edge.connections).toHaveLength(times + 1)
    }
  })

  test('an edge that goes away while it registers us is left once it has', async () => {
    const { connector, edge, settle, pass } = createScene({ connections: 1 })
    edge.script = (connection, number) => {
      if (number === 0) queueMicrotask(() => connection.goAway())
      return { does: 'accept' }
    }
    connector.start()
    await settle()
    expect(connector.ready).toBe(0)
    expect(edge.connections[0]!.unregistered).toBe(true)
    await pass(2_100)
    expect(connector.ready).toBe(1)
  })

  test('edges that go away for ever do not leave connections without number', async () => {
    const { connector, edge, pass } = createScene({ connections: 1 })
    connector.start()
    for (let times = 0; times < 40; times++) {
      await pass(15_000)
      const last = edge.connections.at(-1)!
      last.active = 1
      last.goAway()
    }
    await pass(40_000)
    expect(edge.connections.filter(({ destroyed }) => !destroyed).length).toBeLessThanOrEqual(34)
    expect(edge.connections[0]!.destroyed).toBe(true)
    expect(connector.ready).toBe(1)
  })

  test('all connections lost: not ready; they all come back', async () => {
    const { connector, edge, pass } = createScene()
    connector.start()
    await pass(4_000)
    for (const connection of edge.connections.slice()) connection.close()
    await pass(0)
    expect(connector.ready).toBe(0)
    await pass(2_200)
    expect(connector.ready).toBe(4)
  })

  test('a registered connection that nothing was heard of does not count as ready', async () => {
    const { connector, edge, pass } = createScene()
    connector.start()
    await pass(4_000)
    const [first, ...others] = edge.connections
    await pass(40_000)
    first!.heardAtMs = 0
    for (const connection of others) connection.heardAtMs = 44_000
    await pass(2_000)
    expect(first!.destroyed).toBe(false)
    expect(connector.ready).toBe(3)
  })

  test('an edge whose addresses have all gone is looked for again', async () => {
    let asked = 0
    const { connector, edge, pass } = createScene({
      discover: () => {
        asked++
        return Promise.resolve(regionsOf(2))
      },
    })
    edge.script = () => (asked === 1 ? { does: 'refuse-dial' } : { does: 'accept' })
    connector.start()
    await pass(280_000)
    expect(asked).toBe(1)
    await pass(120_000)
    expect(asked).toBe(2)
    expect(connector.ready).toBe(4)
  })

  test('an outage that takes DNS with it: looked for once in five minutes, and dialled where it was all along', async () => {
    let asked = 0
    const log = createRecordedLog()
    const { connector, edge, pass } = createScene({
      discover: () => (asked++ === 0 ? Promise.resolve(regionsOf(3)) : Promise.reject(new Error('no such name'))),
      log,
    })
    connector.start()
    await pass(4_000)
    edge.script = () => ({ does: 'refuse-dial' })
    for (const connection of edge.connections.slice()) connection.close()
    await pass(500_000)
    expect(asked).toBe(2)
    const dials = edge.connections.length
    await pass(200_000)
    expect(asked).toBe(3)
    expect(edge.connections.length).toBeGreaterThanOrEqual(dials + 4 * 6)
    const said = log.lines.filter((line) => line.includes('not found'))
    expect(said).toEqual(
      Array.from({ length: 2 }, () => 'warn: the edge was not found again; dialling its old addresses'),
    )
    edge.script = () => ({ does: 'accept' })
    await pass(33_000)
    expect(connector.ready).toBe(4)
  })

  test.each<[string, () => Promise<EdgeRegions>]>([
    ['never answered', () => new Promise<never>(() => {})],
    ['answered by nothing of our IP version', () => Promise.resolve([[], []])],
  ])('looking for the edge again, %s, leaves the old addresses', async (_, again) => {
    let asked = 0
    const { connector, edge, pass } = createScene({
      discover: () => (asked++ === 0 ? Promise.resolve(regionsOf(1)) : again()),
      connections: 1,
    })
    edge.script = () => ({ does: 'refuse-dial' })
    connector.start()
    await pass(400_000)
    expect(asked).toBe(2)
    edge.script = () => ({ does: 'accept' })
    await pass(33_000)
    expect(connector.ready).toBe(1)
  })

  test('one connection that never comes back, while others live, is no reason to look for the edge again', async () => {
    let asked = 0
    const { connector, edge, pass } = createScene({
      discover: () => {
        asked++
        return Promise.resolve(regionsOf(3))
      },
    })
    connector.start()
    await pass(4_000)
    const [lost, ...live] = edge.connections.slice()
    edge.script = () => ({ does: 'refuse-dial' })
    lost!.close()
    await pass(1_200_000)
    expect(connector.ready).toBe(3)
    expect(asked).toBe(1)
    const dialled = new Set(edge.connections.slice(4).map(({ address }) => address.host))
    for (const { address } of live) expect(dialled).not.toContain(address.host)
  })

  test('what comes up while the edge is looked for again keeps its address to itself', async () => {
    let asked = 0
    let found = (_: EdgeRegions) => {}
    const { connector, edge, pass } = createScene({
      discover: () =>
        asked++ === 0 ? Promise.resolve(regionsOf(2)) : new Promise<EdgeRegions>((resolve) => (found = resolve)),
    })
    connector.start()
    await pass(4_000)
    edge.script = () => ({ does: 'refuse-dial' })
    for (const connection of edge.connections.slice()) connection.close()
    await pass(1_200_000)
    expect(asked).toBe(2)
    edge.script = ({ connIndex }) => (connIndex < 2 ? { does: 'accept' } : { does: 'refuse-dial' })
    await pass(33_000)
    expect(connector.ready).toBe(2)
    found(regionsOf(2))
    edge.script = () => ({ does: 'accept' })
    await pass(33_000)
    expect(connector.ready).toBe(4)
    expect(new Set(connector.reports.map((report) => report.edge)).size).toBe(4)
  })
})

describe('protocols', () => {
  const auto: ProtocolChoice = { first: 'quic', fallback: 'http2' }

  test('QUIC that is blocked gives way to HTTP/2 after the first dial', async () => {
    const { connector, edge, pass } = createScene({ chooseProtocol: () => Promise.resolve(auto) })
    edge.script = ({ protocol }) =>
      protocol === 'quic' ? { does: 'refuse-dial', as: 'quic-blocked' } : { does: 'accept' }
    connector.start()
    await pass(8_000)
    expect(edge.connections.map(({ protocol }) => protocol)).toEqual(['quic', 'http2', 'http2', 'http2', 'http2'])
    expect(connector.ready).toBe(4)
  })

  test('QUIC that has worked is not given up for HTTP/2', async () => {
    const { connector, edge, pass } = createScene({ chooseProtocol: () => Promise.resolve(auto) })
    edge.script = (_, number) => (number < 4 ? { does: 'accept' } : { does: 'refuse-dial' })
    connector.start()
    await pass(4_000)
    edge.connections[0]!.close()
    await pass(120_000)
    expect(new Set(edge.connections.map(({ protocol }) => protocol))).toEqual(new Set(['quic']))
  })

  test('when the first gRPC route arrives, live connections move to HTTP/2 one at a time, what runs on them finishes', async () => {
    let choice = auto
    const { connector, edge, pass } = createScene({ chooseProtocol: () => Promise.resolve(choice) })
    connector.start()
    await pass(4_000)
    const old = edge.connections.slice()
    expect(old.map(({ protocol }) => protocol)).toEqual(['quic', 'quic', 'quic', 'quic'])
    old[1]!.active = 1
    choice = { first: 'http2', fallback: undefined }
    connector.reconsiderProtocol()
    let fewest = 4
    for (let step = 0; step < 20; step++) {
      await pass(100)
      fewest = Math.min(fewest, connector.ready)
    }
    expect(fewest).toBeGreaterThanOrEqual(3)
    expect(connector.ready).toBe(4)
    expect(edge.connections.slice(4).map(({ protocol }) => protocol)).toEqual(['http2', 'http2', 'http2', 'http2'])
    expect(old.every(({ unregistered }) => unregistered)).toBe(true)
    expect(old[1]!.destroyed).toBe(false)
    old[1]!.finishRequests()
    await pass(100)
    expect(old.map(({ finished }) => finished)).toEqual(['end', 'end', 'end', 'end'])
  })
})

describe('stopping', () => {
  test('unregisters every connection, lets requests finish, and closes', async () => {
    const { connector, edge, pass, settle } = createScene()
    connector.start()
    await pass(4_000)
    edge.connections[3]!.active = 2
    const stopped = connector.stop(30_000)
    await settle()
    expect(connector.ready).toBe(0)
    expect(edge.connections.map(({ unregistered }) => unregistered)).toEqual([true, true, true, true])
    expect(edge.connections.map(({ finished }) => finished)).toEqual(['end', 'end', 'end', 'end'])
    await pass(10_000)
    expect(edge.connections[3]!.destroyed).toBe(false)
    edge.connections[3]!.finishRequests()
    expect(await stopped).toBe(true)
    await pass(60_000)
    expect(edge.connections).toHaveLength(4)
  })

  test('what has not finished when the grace period is over is cut off', async () => {
    const { connector, edge, pass } = createScene()
    connector.start()
    await pass(4_000)
    edge.connections[0]!.active = 1
    const stopped = connector.stop(5_000)
    await pass(4_900)
    expect(edge.connections[0]!.destroyed).toBe(false)
    await pass(200)
    expect(edge.connections[0]!.destroyed).toBe(true)
    expect(await stopped).toBe(false)
  })

  test('what runs on a connection whose edge has gone away has the grace period too', async () => {
    const { connector, edge, pass } = createScene({ connections: 1 })
    connector.start()
    await pass(20_000)
    const [old] = edge.connections
    old!.active = 1
    old!.goAway()
    await pass(100)
    const stopped = connector.stop(5_000)
    await pass(4_900)
    expect(old!.finished).toBe('end')
    expect(old!.destroyed).toBe(false)
    await pass(200)
    expect(old!.destroyed).toBe(true)
    expect(await stopped).toBe(false)
  })

  test('a grace period of 0 ends everything at once', async () => {
    const { connector, edge, pass } = createScene()
    connector.start()
    await pass(4_000)
    expect(await connector.stop(0)).toBe(true)
    expect(edge.connections.every(({ destroyed }) => destroyed)).toBe(true)
  })

  test('a stop before the first connection is up ends the start quietly', async () => {
    const { connector, edge, pass } = createScene()
    edge.script = () => ({ does: 'refuse-dial' })
    connector.start()
    await pass(500)
    expect(await connector.stop(30_000)).toBe(true)
    await pass(60_000)
    expect(edge.connections).toHaveLength(1)
  })
})
