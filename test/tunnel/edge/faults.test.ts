/** Everything that an edge, or the network to it, can do wrong, and what our connector does about it. */
import { describe, expect, test } from 'vitest'
import type { Body } from '../../../src/http/body.ts'
import { emptyHead, headOf } from '../../../src/http/head.ts'
import { createResponse, responseOf } from '../../../src/http/response.ts'
import { engineRequest } from '../../../src/http/request.ts'
import type { Exchange, Handler } from '../../../src/runtime.ts'
import { updateConfiguration } from '../../../src/tunnel/configuration-manager.ts'
import {
  rateLimited,
  registrationErrors,
  type ConnectionFaults,
  type RegistrationFault,
} from '../../../src/tunnel/edge/faults.ts'
import { createCredentials } from '../../../src/tunnel/edge/tunnels.ts'
import { registerUdpSession, unregisterUdpSession } from '../../../src/tunnel/session-manager.ts'
import { patternBody, pushBody, readPattern, requestFor } from '../../http2/rig.ts'
import { until } from '../../support/until.ts'
import { breaksOff, holdsBack, openScene, transports, type Scene } from './scene.ts'

const once =
  (faults: ConnectionFaults) =>
  (attempt: number): ConnectionFaults | undefined =>
    attempt === 0 ? faults : undefined

async function textOf({ edge }: Scene, path = '/'): Promise<string> {
  const answer = await edge.fetch(requestFor(path, { authority: 'a.example' }))
  return `${answer.status} ${await answer.text()}`
}

/** Calls of the edge's, as the connector has counted them. */
function served({ connector }: Scene): Record<string, number> {
  const family = connector.families().find(({ name }) => name === 'cloudflared_rpc_server_operations')!
  return Object.fromEntries(
    Array.from(family.samples(), ({ labels, value }) => [`${labels['handler']} ${labels['method']}`, value]),
  )
}

/** The path of a request, whose answer the test gives later; every other path is answered at once. */
function holding(path: string): {
  handler: Handler
  exchange(): Exchange | undefined
  body: ReturnType<typeof pushBody>
} {
  const body = pushBody()
  let seen: Exchange | undefined
  return {
    body,
    exchange: () => seen,
    handler(request, exchange) {
      if (engineRequest(request)!.target !== path) return createResponse(200, [], 'fine')
      seen = exchange
      return responseOf(200, '', emptyHead, body)
    },
  }
}

describe.each(transports)('over %s', (protocol) => {
  describe('no connection is to be had', () => {
    test('one server refuses connections: another one is dialled', async () => {
      await using scene = await openScene({ protocol, servers: 2, before: (edge) => edge.servers[0]!.refuse() })
      await scene.registered()
      expect(scene.attempts).toEqual([1])
    })

    test('all servers refuse connections: they are dialled until one takes them', async () => {
      await using scene = await openScene({ protocol, before: (edge) => edge.servers[0]!.refuse() })
      await scene.eventually(() => scene.connector.reports[0]?.failures === 3)
      expect(scene.connector.ready).toBe(0)
      await scene.edge.servers[0]!.accept()
      await scene.registered()
      expect(await textOf(scene)).toBe('200 fine')
    })

    test.each(['wrong-name', 'unknown-authority'] as const)(
      'a certificate with %s is never registered with',
      async (which) => {
        await using scene = await openScene({ protocol, before: (edge) => edge.servers[0]!.present(which) })
        await scene.eventually(() => scene.connector.reports[0]?.failures === 3)
        expect(scene.connector.reports[0]!.lastFailure).toMatch(/\(tls\)/)
        expect(scene.edge.connections.some(({ registration }) => registration)).toBe(false)
        await scene.edge.servers[0]!.present('right')
        await scene.registered()
      },
    )

    test('the edge says nothing but garbage: dialled again', async () => {
      await using scene = await openScene({ protocol, faults: once({ babble: true }) })
      await scene.registered()
      expect(scene.attempts).toEqual([0, 0])
    })
  })

  describe('the registration', () => {
    test('answers that come a second late are taken', async () => {
      await using scene = await openScene({ protocol, faults: once({ rpcDelayMs: 1_000 }) })
      await until(() => scene.connection?.registration !== undefined)
      await scene.registered()
      expect(scene.attempts).toEqual([0])
    })

    test('RPC in several segments, behind far pointers', async () => {
      await using scene = await openScene({ protocol, faults: once({ segmented: true }) })
      await scene.registered()
      expect(scene.attempts).toEqual([0])
      expect(await scene.connector.stop(5_000)).toBe(true)
    })

    test('no answer: given up after 5 s, and tried again', async () => {
      await using scene = await openScene({ protocol, faults: once({ registration: { kind: 'never-answered' } }) })
      await until(() => scene.connector.reports[0]?.state === 'registering')
      await scene.pass(4_900)
      expect(scene.connector.reports[0]!.state).toBe('registering')
      await scene.pass(1_000)
      await scene.registered()
      expect(scene.connection.registration!.options.numPreviousAttempts).toBe(1)
    })

    test.each<[string, RegistrationFault, RegExp]>([
      ['an exception', { kind: 'exception', reason: 'internal error' }, /internal error/],
      ['an abort', { kind: 'abort' }, /./],
      ['garbage', { kind: 'garbage' }, /./],
      ['a refusal for good', { kind: 'error', error: { cause: 'no', retryAfterMs: 0, shouldRetry: false } }, /no/],
    ])('%s: tried again, and counted', async (_, registration, reason) => {
      await using scene = await openScene({ protocol, servers: 2, faults: once({ registration }) })
      await scene.registered()
      expect(scene.attempts).toEqual([0, 0])
      expect(scene.connector.reports[0]!.lastFailure).toMatch(reason)
      expect(scene.connection.registration!.options.numPreviousAttempts).toBe(1)
    })

    test('a refusal that says when to come back: not before', async () => {
      const registration = { kind: 'error', error: rateLimited(27_000) } as const
      await using scene = await openScene({ protocol, faults: once({ registration }) })
      await scene.eventually(() => scene.connector.reports[0]?.lastFailure !== undefined)
      await scene.pass(25_000)
      expect(scene.attempts).toEqual([0])
      await scene.pass(2_000)
      await scene.registered()
      expect(scene.attempts).toEqual([0, 0])
    })

    test('an edge that limits registrations is obeyed', async () => {
      await using scene = await openScene({ protocol, edge: { registrationsPerMinute: 1 } })
      await scene.registered()
      scene.connection.close()
      await scene.eventually(() => scene.connector.reports[0]!.lastFailure?.includes('too many registrations') === true)
      await scene.pass(20_000)
      expect(scene.attempts).toEqual([0, 0])
    })

    test('a duplicate connection: another address', async () => {
      const registration = { kind: 'error', error: registrationErrors.duplicate } as const
      await using scene = await openScene({ protocol, servers: 2, faults: once({ registration }) })
      await scene.registered()
      expect(scene.attempts).toEqual([0, 1])
    })

    test('a tunnel that is not known yet is asked for until it is', async () => {
      const credentials = createCredentials()
      await using scene = await openScene({ protocol, connector: { credentials } })
      await scene.eventually(() => scene.attempts.length >= 3)
      expect(scene.connector.reports[0]!.lastFailure).toMatch(/Unauthorized/)
      scene.edge.mint({ credentials })
      await scene.registered()
      expect(await textOf(scene)).toBe('200 fine')
    })

    test('closed as soon as it has succeeded: tried again, and counted from the start', async () => {
      await using scene = await openScene({
        protocol,
        faults: (attempt) => (attempt < 3 ? { registration: { kind: 'close-after' } } : undefined),
      })
      await scene.eventually(() => scene.attempts.length === 4)
      await scene.registered()
      expect(scene.connection.registration!.options.numPreviousAttempts).toBe(1)
    })
  })

  describe('the report of our own configuration', () => {
    test.each(['exception', 'never-answered'] as const)('%s: of no consequence', async (localConfiguration) => {
      const credentials = createCredentials()
      await using scene = await openScene({
        protocol,
        connector: { credentials },
        before: (edge) => edge.mint({ credentials, remotelyManaged: false }),
        faults: once({ localConfiguration }),
      })
      await scene.registered()
      await until(() => scene.connection.localConfiguration !== undefined)
      await scene.pass(6_000)
      expect(await textOf(scene)).toBe('200 fine')
      expect(scene.connector.ready).toBe(1)
      expect(scene.attempts).toEqual([0])
      expect(await scene.connector.stop(5_000)).toBe(true)
    })
  })

  describe('a connection that is lost', () => {
    const losses = [
      ['closed', (scene: Scene) => scene.connection.close()],
      ['reset', (scene: Scene) => scene.connection.close('reset')],
      ['full of garbage', (scene: Scene) => scene.connection.babble()],
      ['without control stream: ended', (scene: Scene) => scene.connection.loseControl('end')],
      ['without control stream: reset', (scene: Scene) => scene.connection.loseControl('reset')],
      ['without control stream: aborted', (scene: Scene) => scene.connection.loseControl('abort')],
      ['with garbage on its control stream', (scene: Scene) => scene.connection.loseControl('garbage')],
    ] as const
    const happens = (name: string): boolean =>
      // Over QUIC garbage has a stream of its own, which harms nothing else.
      name === 'full of garbage' ? protocol === 'http2' : breaksOff(protocol) || !name.endsWith('control stream: reset')

    test.each(losses.filter(([name]) => happens(name)))(
      '%s: its requests are cancelled, and another one made',
      async (_, lose) => {
        const held = holding('/held')
        await using scene = await openScene({ protocol, handler: held.handler })
        await scene.registered()
        const answer = await scene.edge.fetch(requestFor('/held', { authority: 'a.example' }))
        held.body.push('half')
        const text = answer.text().then(
          () => 'whole',
          () => 'broken',
        )
        const { connection } = scene
        lose(scene)
        await scene.eventually(() => held.exchange()!.gone)
        expect(await text).toBe('broken')
        await scene.eventually(() => connection.phase === 'closed')
        await scene.registered()
        expect(scene.attempts).toEqual([0, 0])
        expect(await textOf(scene)).toBe('200 fine')
      },
    )

    // Over QUIC the runtime itself goes on acknowledging; what is silence there is in `quic.test.ts`.
    test.runIf(protocol === 'http2').each([
      ['says nothing and hears nothing', 'both'],
      ['hears, and says nothing', 'writing'],
      ['hears nothing, and would speak', 'reading'],
    ] as const)('an edge that %s is given up after 30 s, and another one dialled', async (_, half) => {
      await using scene = await openScene({ protocol, servers: 2 })
      await scene.registered()
      const { connection } = scene
      connection.freeze(half)
      await scene.pass(31_000)
      await scene.eventually(() => scene.attempts.length > 1)
      await scene.eventually(() => scene.connector.ready === 1)
      expect(scene.attempts).toEqual([0, 1])
      expect(scene.log.lines).toContain('error: edge connection lost, and there is no other')
      connection.close()
    })

    test('the others go on', async () => {
      await using scene = await openScene({ protocol, servers: 2, connector: { connections: 2 } })
      await scene.registered(2)
      scene.edge.connections[0]!.close('reset')
      await scene.eventually(() => scene.connector.ready === 1)
      expect(await textOf(scene)).toBe('200 fine')
      await scene.registered(2)
      expect(scene.connector.reports.map(({ index, state }) => [index, state])).toEqual([
        [0, 'registered'],
        [1, 'registered'],
      ])
    })
  })

  describe('a stream', () => {
    test.runIf(breaksOff(protocol))('reset while it is answered: that request is cancelled, and no other', async () => {
      const held = holding('/held')
      await using scene = await openScene({ protocol, handler: held.handler })
      await scene.registered()
      const leave = new AbortController()
      const answer = await scene.edge.fetch(new Request('http://a.example/held', { signal: leave.signal }))
      held.body.push('half')
      leave.abort()
      await until(() => held.exchange()!.gone)
      await expect(answer.text()).rejects.toThrow()
      expect(await held.body.cancelled).toMatchObject({ kind: 'downstream-gone' })
      expect(await textOf(scene)).toBe('200 fine')
      expect(scene.attempts).toEqual([0])
    })

    test.runIf(breaksOff(protocol))('reset while its body is sent: the handler hears of it', async () => {
      let read: Promise<string> | undefined
      await using scene = await openScene({
        protocol,
        handler(request) {
          if (request.method === 'GET') return createResponse(200, [], 'fine')
          read = request.text().then(
            () => 'whole',
            () => 'broken',
          )
          return new Promise<never>(() => {})
        },
      })
      await scene.registered()
      const body = pushBody()
      void scene.edge.fetch(requestFor('/', { authority: 'a.example', body }))
      body.push('half')
      await until(() => read !== undefined)
      body.break({ kind: 'downstream-gone' })
      expect(await read).toBe('broken')
      expect(await textOf(scene)).toBe('200 fine')
    })

    test.runIf(holdsBack(protocol))(
      'that is given no room: its answer is not gathered up, and others flow',
      async () => {
        let made = 0
        const endless: Body = {
          ...patternBody(1 << 30),
          start(sink) {
            const piece = new Uint8Array(65_536)
            const flow = (): void => {
              do made += piece.length
              while (sink.data(piece, 0, piece.length))
            }
            this.resume = flow
            flow()
          },
        }
        await using scene = await openScene({
          protocol,
          handler: (request) =>
            engineRequest(request)!.target === '/endless'
              ? responseOf(200, '', emptyHead, endless)
              : responseOf(200, '', emptyHead, patternBody(3_000_000)),
        })
        await scene.registered()
        const leave = new AbortController()
        const unread = await scene.edge.fetch(new Request('http://a.example/endless', { signal: leave.signal }))
        for (let times = 0; times < 3; times++) {
          const answer = await scene.edge.fetch(requestFor('/', { authority: 'a.example' }))
          expect(await readPattern(answer.body!)).toBe(3_000_000)
        }
        expect(unread.status).toBe(200)
        expect(made).toBeLessThan(16 << 20)
        leave.abort()
      },
    )
  })

  describe('a network that is slow, or cuts where it likes', () => {
    const echo: Handler = async (request) =>
      responseOf(
        200,
        '',
        headOf([['X-Sent', request.headers.get('x-send') ?? '']]),
        engineRequest(request)!.holder.take(),
      )

    test.each([
      ['one byte at a time', { pieceBytes: 1, delayMs: 0 }],
      ['in pieces of 7 bytes', { pieceBytes: 7, delayMs: 0 }],
      ['a little at a time', { pieceBytes: 256, delayMs: 25 }],
    ])('%s: registered and served', async (_, pace) => {
      await using scene = await openScene({ protocol, handler: echo, faults: once({ pace }) })
      await until(() => scene.connection?.registration !== undefined)
      await scene.registered()
      const body = new TextEncoder().encode('body '.repeat(200))
      const answer = await scene.edge.fetch(
        requestFor('/', { authority: 'a.example', body, fields: [['X-Send', 'sent '.repeat(100).trim()]] }),
      )
      expect(answer.headers.get('x-sent')).toBe('sent '.repeat(100).trim())
      expect(await answer.text()).toBe('body '.repeat(200))
      expect(scene.attempts).toEqual([0])
    })
  })

  describe('pushed configurations', () => {
    test('versions that go up, stay, and go back are answered with the highest; what is none harms nothing', async () => {
      await using scene = await openScene({ protocol })
      await scene.registered()
      const { connection } = scene
      const answers: number[] = []
      for (const version of [0, 5, 5, 3, 6]) {
        answers.push((await connection.configure(version, { ingress: [] })).latestAppliedVersion)
      }
      expect(answers).toEqual([0, 5, 5, 5, 6])
      await expect(connection.configureWith('sesame')).rejects.toThrow()
      expect(scene.log.lines).toContain('warn: configuration push not understood')
      expect(JSON.stringify(scene.log.fields)).not.toContain('sesame')
      expect((await connection.configure(7, {})).latestAppliedVersion).toBe(7)
      expect(await textOf(scene)).toBe('200 fine')
    })
  })

  describe('leaving', () => {
    test('an edge that never answers the unregistration is left after 5 s', async () => {
      await using scene = await openScene({ protocol, faults: once({ unregistration: 'never-answered' }) })
      await scene.registered()
      const { connection } = scene
      const stopped = scene.connector.stop(30_000)
      await until(() => connection.unregistered)
      await scene.pass(4_000)
      expect(connection.phase).not.toBe('closed')
      await scene.pass(2_000)
      expect(await stopped).toBe(true)
      await until(() => connection.phase === 'closed')
    })

    test('an edge that answers it with an exception is left all the same', async () => {
      await using scene = await openScene({ protocol, faults: once({ unregistration: 'exception' }) })
      await scene.registered()
      expect(await scene.connector.stop(30_000)).toBe(true)
      await until(() => scene.edge.connections.length === 0)
    })

    test('an edge that hangs up in between cuts off what was in flight, and the connector has left', async () => {
      const held = holding('/held')
      await using scene = await openScene({
        protocol,
        handler: held.handler,
        faults: once({ unregistration: 'close' }),
      })
      await scene.registered()
      await scene.edge.fetch(requestFor('/held', { authority: 'a.example' }))
      await Promise.all([scene.connector.stop(30_000), until(() => held.exchange()!.gone)])
      expect(scene.connector.ready).toBe(0)
      expect(scene.attempts).toEqual([0])
    })

    test('an edge that has fallen silent does not keep the connector beyond its grace period', async () => {
      const held = holding('/held')
      await using scene = await openScene({ protocol, handler: held.handler })
      await scene.registered()
      await scene.edge.fetch(requestFor('/held', { authority: 'a.example' }))
      const { connection } = scene
      connection.freeze()
      const stopped = scene.connector.stop(10_000)
      await scene.pass(11_000)
      expect(await stopped).toBe(false)
      connection.close()
    })
  })
})

describe('over http2', () => {
  test('an edge that goes away (GOAWAY) is left as soon as it says so: what runs finishes', async () => {
    const held = holding('/held')
    await using scene = await openScene({ protocol: 'http2', servers: 2, handler: held.handler })
    await scene.registered()
    const { connection } = scene
    await scene.pass(11_000)
    const answer = await scene.edge.fetch(requestFor('/held', { authority: 'a.example' }))
    held.body.push('half')
    connection.goAway()
    await scene.registered()
    expect(scene.attempts).toEqual([0, 1])
    expect(connection.phase).toBe('draining')
    expect(await textOf(scene)).toBe('200 fine')
    held.body.push(', whole')
    held.body.finish()
    expect(await answer.text()).toBe('half, whole')
    await until(() => connection.phase === 'closed')
    expect(connection.unregistered).toBe(true)
    expect(scene.edge.connections).toHaveLength(1)
  })

  test('an edge whose servers go away one after the other, under load, loses nothing', async () => {
    await using scene = await openScene({ protocol: 'http2', servers: 3, connector: { connections: 3 } })
    await scene.registered(3)
    await scene.pass(11_000)
    const { edge } = scene
    let over = false
    const statuses: number[] = []
    const eyeball = async (): Promise<void> => {
      while (!over) {
        const answer = await edge.fetch(requestFor('/', { authority: 'a.example' }))
        await answer.text()
        statuses.push(answer.status)
      }
    }
    const eyeballs = Promise.all(Array.from({ length: 8 }, eyeball))
    for (const connection of edge.connections) {
      const answered = statuses.length
      connection.goAway()
      await scene.eventually(() => connection.phase === 'closed')
      await scene.registered(3)
      await until(() => statuses.length >= answered + 20)
    }
    over = true
    await eyeballs
    expect(statuses.filter((status) => status !== 200)).toEqual([])
    expect(scene.attempts).toHaveLength(6)
  })

  test('an edge that goes on talking and hears nothing is borne with for a while, and then given up', async () => {
    await using scene = await openScene({
      protocol: 'http2',
      servers: 2,
      connector: { http2: { pingIntervalMs: 1_000, pingTimeoutMs: 1_000 } },
    })
    await scene.registered()
    const { connection } = scene
    connection.freeze('reading')
    const talkFor = async (ms: number): Promise<void> => {
      for (let left = ms; left > 0; left -= 200) {
        connection.configure(1, {}).catch(() => {})
        await scene.pass(200)
      }
    }
    await talkFor(5_000)
    expect(scene.connector.ready).toBe(1)
    await talkFor(3_000)
    await scene.eventually(() => scene.attempts.length > 1)
    await scene.eventually(() => scene.connector.ready === 1)
    expect(scene.attempts).toEqual([0, 1])
    connection.close()
  })

  test('an edge that never opens the control stream is given up after 10 s, and another one dialled', async () => {
    await using scene = await openScene({ protocol: 'http2', servers: 2, faults: once({ withholdControl: true }) })
    await until(() => scene.attempts.length === 1 && scene.connector.reports[0]?.state === 'connecting')
    await scene.pass(9_000)
    expect(scene.attempts).toEqual([0])
    await scene.pass(2_000)
    await scene.registered()
    expect(scene.attempts).toEqual([0, 1])
    expect(scene.connector.reports[0]!.lastFailure).toMatch(/no control stream within 10000 ms/)
  })
})

describe.runIf(transports.includes('quic'))('over quic', () => {
  test('calls of what we do not have are refused, each on its stream; a request that runs meanwhile goes on', async () => {
    const held = holding('/held')
    await using scene = await openScene({ protocol: 'quic', handler: held.handler })
    await scene.registered()
    const answer = await scene.edge.fetch(requestFor('/held', { authority: 'a.example' }))
    held.body.push('half')
    const { connection } = scene
    const sessionId = new Uint8Array(16).fill(7)
    const session = { sessionId, dstIp: Uint8Array.of(10, 0, 0, 1), dstPort: 53, closeAfterIdleMs: 0, traceContext: '' }
    const push = { version: 1, config: new TextEncoder().encode('{}') }
    const calls = await Promise.allSettled([
      connection.call(registerUdpSession, session),
      connection.call(unregisterUdpSession, { sessionId, message: 'gone' }),
      connection.call({ ...registerUdpSession, methodId: 9 }, session),
      connection.call({ ...updateConfiguration, interfaceId: 0xf00dn }, push),
      connection.call(updateConfiguration, push),
    ])
    const refused = (reason: RegExp) => ({
      status: 'rejected',
      reason: { failure: { kind: 'exception', exception: { reason: expect.stringMatching(reason) } } },
    })
    expect(calls).toMatchObject([
      { status: 'fulfilled', value: { error: 'this connector carries no UDP' } },
      refused(/^this connector carries no UDP$/),
      refused(/method not implemented$/),
      refused(/method not implemented$/),
      { status: 'fulfilled', value: { latestAppliedVersion: 1, error: '' } },
    ])
    expect(served(scene)).toEqual({
      'config update_configuration': 1,
      'session register_udp_session': 1,
      'session unregister_udp_session': 1,
    })
    held.body.push(', whole')
    held.body.finish()
    expect(await answer.text()).toBe('half, whole')
    expect(await textOf(scene)).toBe('200 fine')
    expect(scene.attempts).toEqual([0])
  })
})

test('over http2 the edge has no way to call', async () => {
  await using scene = await openScene({ protocol: 'http2' })
  await scene.registered()
  await expect(
    scene.connection.call(unregisterUdpSession, { sessionId: new Uint8Array(16), message: '' }),
  ).rejects.toThrow(/HTTP\/2/)
  expect(await textOf(scene)).toBe('200 fine')
})
