/** What is QUIC's own between edge and connector; what both transports do alike is in the tests beside this one. */
import { describe, expect, test, vi } from 'vitest'
import { emptyHead } from '../../../src/http/head.ts'
import { responseOf } from '../../../src/http/response.ts'
import { formatAddress } from '../../../src/options/address.ts'
import type { Address, Exchange, Runtime, SocketError } from '../../../src/runtime.ts'
import { createTimers } from '../../../src/timers.ts'
import { patternBody, pushBody, readPattern, requestFor } from '../../http2/rig.ts'
import { quicRuntime, quicTraits } from '../../support/quic.ts'
import { runtime } from '../../support/runtime.ts'
import { until } from '../../support/until.ts'
import { openUdpRelay, type UdpRelay } from '../../support/udp-relay.ts'
import { openScene, type Scene } from './scene.ts'

const timers = createTimers(runtime.clock)
const { connectQuic: _connect, listenQuic: _listen, quicReservation: _reservation, ...withoutQuic } = quicRuntime

async function textOf({ edge }: Scene): Promise<string> {
  const answer = await edge.fetch(requestFor('/', { authority: 'a.example' }))
  return `${answer.status} ${await answer.text()}`
}

const protocolsOf = ({ edge }: Scene): string[] => edge.connections.map(({ protocol }) => protocol)

describe('--protocol auto', () => {
  test('a runtime without QUIC: HTTP/2, and it is said once', async () => {
    await using scene = await openScene({
      protocol: 'quic',
      servers: 2,
      edge: { runtime: withoutQuic },
      connector: { protocol: 'auto', runtime: withoutQuic, connections: 2 },
    })
    await scene.registered(2)
    expect(protocolsOf(scene)).toEqual(['http2', 'http2'])
    const said = scene.log.fields.filter((fields) => fields?.['reason'] === 'this runtime has no QUIC')
    expect(said).toHaveLength(1)
  })

  test('a runtime whose QUIC has its faults: HTTP/2, with the reason', async () => {
    await using scene = await openScene({
      protocol: 'quic',
      edge: { runtime: withoutQuic },
      connector: {
        protocol: 'auto',
        runtime: {
          ...withoutQuic,
          connectQuic: () => Promise.reject(new Error('not to be dialled')),
          quicReservation: 'it leaks',
        },
      },
    })
    await scene.registered()
    expect(protocolsOf(scene)).toEqual(['http2'])
    expect(scene.log.fields).toContainEqual(expect.objectContaining({ reason: 'it leaks' }))
  })

  test('UDP that does not get through: HTTP/2 after the first dial', async () => {
    const dialled: Address[] = []
    const connectQuic: Runtime['connectQuic'] = (to) => {
      dialled.push(to)
      return Promise.reject({ code: 'timeout', message: 'nothing came back' } satisfies SocketError)
    }
    await using scene = await openScene({
      protocol: 'quic',
      edge: { runtime: withoutQuic },
      connector: { protocol: 'auto', runtime: { ...withoutQuic, connectQuic } },
    })
    await scene.registered()
    expect([protocolsOf(scene), dialled.length]).toEqual([['http2'], 1])
    expect(scene.log.lines).toContain('warn: trying another protocol')
    expect(await textOf(scene)).toBe('200 fine')
  })
})

test.runIf(quicRuntime.connectQuic === undefined)('an edge on a runtime without QUIC takes HTTP/2', async () => {
  expect(quicRuntime).not.toHaveProperty('listenQuic')
  await using scene = await openScene({ protocol: 'quic', connector: { protocol: 'auto' } })
  await scene.registered()
  expect(protocolsOf(scene)).toEqual(['http2'])
})

describe.runIf(quicRuntime.connectQuic !== undefined)('over QUIC', () => {
  /** As it would be without what is wrong with it. */
  const { quicReservation: _, ...unreserved } = quicRuntime
  const protocol = 'quic'

  test('auto takes QUIC, at the same port as HTTP/2', async () => {
    await using scene = await openScene({
      protocol,
      servers: 2,
      connector: { protocol: 'auto', runtime: unreserved, connections: 2 },
    })
    await scene.registered(2)
    expect(protocolsOf(scene)).toEqual(['quic', 'quic'])
    expect(await textOf(scene)).toBe('200 fine')
  })

  test('nobody at the UDP port: HTTP/2', async () => {
    await using scene = await openScene({
      protocol,
      edge: { runtime: withoutQuic },
      connector: { protocol: 'auto', runtime: unreserved, timers },
    })
    await vi.waitUntil(() => scene.connector.ready === 1, { timeout: 14_000 })
    expect(protocolsOf(scene)).toEqual(['http2'])
  })

  test('a network that falls silent is noticed at both ends, and the connector dials again', async () => {
    const relays: UdpRelay[] = []
    const edge: string[] = []
    await using scene = await openScene({
      protocol,
      async before({ servers }) {
        relays.push(await openUdpRelay(servers[0]!.address))
        edge.push(formatAddress(relays[0]!.address))
      },
      connector: { timers, edge },
    })
    await vi.waitUntil(() => scene.connector.ready === 1, { timeout: 5_000 })
    relays[0]!.mute()
    await vi.waitUntil(() => scene.edge.connections.length === 0 && scene.connector.ready === 0, { timeout: 9_000 })
    // Not ready is told at once, why when the connection is put away.
    await vi.waitUntil(() => scene.connector.reports[0]!.lastFailure !== undefined)
    expect(scene.connector.reports[0]!.lastFailure).toMatch(/timeout/)
    relays[0]!.unmute()
    await vi.waitUntil(() => scene.connector.ready === 1, { timeout: 14_000 })
    relays[0]!.close()
  })

  test.each([
    ['declared', true],
    ['not declared', false],
  ])('large bodies both ways, their length %s', async (_, declared) => {
    const size = 8_000_000
    await using scene = await openScene({
      protocol,
      async handler(request) {
        const got = await readPattern(request.body!)
        return responseOf(got === size ? 200 : 400, '', emptyHead, patternBody(size, declared))
      },
    })
    await scene.registered()
    const sent = requestFor('/', { authority: 'a.example', body: patternBody(size, declared) })
    const answer = await scene.edge.fetch(sent)
    expect([answer.status, await readPattern(answer.body!)]).toEqual([200, size])
  })

  test('garbage on a stream of its own is refused, and harms nothing', async () => {
    await using scene = await openScene({ protocol })
    await scene.registered()
    scene.connection.babble()
    for (let i = 0; i < 3; i++) expect(await textOf(scene)).toBe('200 fine')
    expect(scene.attempts).toEqual([0])
  })

  test('an edge that leaves waits for what runs, and closes; the connector comes back', async () => {
    const body = pushBody()
    await using scene = await openScene({ protocol, handler: () => responseOf(200, '', emptyHead, body) })
    await scene.registered()
    const answer = await scene.edge.fetch(requestFor('/', { authority: 'a.example' }))
    scene.connection.goAway()
    body.push('all ')
    body.push('of it')
    body.finish()
    expect(await answer.text()).toBe('all of it')
    await scene.eventually(() => scene.attempts.length === 2)
    await scene.registered()
  })

  test('a connector that leaves has its last answers arrive', async () => {
    const size = 3_000_000
    await using scene = await openScene({
      protocol,
      handler: () => responseOf(200, '', emptyHead, patternBody(size)),
    })
    await scene.registered()
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => scene.edge.fetch(requestFor('/', { authority: 'a.example' }))),
    )
    const stopped = scene.connector.stop(10_000)
    const bodies = await Promise.all(answers.map((answer) => answer.arrayBuffer()))
    expect(bodies.map(({ byteLength }) => byteLength)).toEqual([size, size, size, size])
    await scene.eventually(() => scene.edge.connections.length === 0)
    expect(await stopped).toBe(true)
  })

  test('an eyeball that leaves is noticed by the next write at the latest', async () => {
    const body = pushBody()
    let exchange: Exchange | undefined
    await using scene = await openScene({
      protocol,
      handler(_request, its) {
        exchange = its
        return responseOf(200, '', emptyHead, body)
      },
    })
    await scene.registered()
    const leave = new AbortController()
    const answer = await scene.edge.fetch(new Request('http://a.example/', { signal: leave.signal }))
    body.push('half')
    leave.abort()
    await expect(answer.text()).rejects.toThrow()
    await until(() => {
      if (!quicTraits.hearsStop && !exchange!.gone) body.push('more')
      return exchange!.gone
    })
  })

  test('an answer that breaks off never looks whole', async () => {
    const body = pushBody()
    await using scene = await openScene({ protocol, handler: () => responseOf(200, '', emptyHead, body) })
    await scene.registered()
    const answer = await scene.edge.fetch(requestFor('/', { authority: 'a.example' }))
    let seen = 'nothing yet'
    answer.text().then(
      () => (seen = 'whole'),
      () => (seen = 'broken'),
    )
    body.push('half')
    body.break({ kind: 'upstream', phase: 'body', cause: 'closed', reason: 'gone' })
    if (quicTraits.resets) await until(() => seen !== 'nothing yet')
    else for (let i = 0; i < 10; i++) await scene.edge.fetch(new Request('http://a.example/', { method: 'HEAD' }))
    expect(seen).not.toBe('whole')
    scene.connection.close()
    await until(() => seen === 'broken')
  })
})
