/** The local edge is strict: it notices what the reference client never does, and our connector does none of it. */
import { describe, expect, test } from 'vitest'
import { bodyOfText } from '../../../src/http/body.ts'
import { emptyHead } from '../../../src/http/head.ts'
import { asEngineResponse, responseOf } from '../../../src/http/response.ts'
import type { Field, Socket, TlsClientOptions } from '../../../src/runtime.ts'
import { silentLog } from '../../../src/telemetry.ts'
import { createTimers } from '../../../src/timers.ts'
import { type Edge, type EdgeOptions, startEdge } from '../../../src/tunnel/edge/edge.ts'
import { createRegistrar, type Registered } from '../../../src/tunnel/edge/registrar.ts'
import { readStreamAnswer } from '../../../src/tunnel/edge/stream-answer.ts'
import { createCredentials, createTunnels } from '../../../src/tunnel/edge/tunnels.ts'
import { type ConnectionResponse, type RegisterConnectionParams } from '../../../src/tunnel/registration.ts'
import { serializeFields } from '../../../src/tunnel/response-headers.ts'
import { createUuid, formatUuid } from '../../../src/tunnel/uuid.ts'
import { runtime } from '../../support/runtime.ts'
import { until } from '../../support/until.ts'
import { wireOf } from '../../support/wire.ts'
import { createManualTimers } from '../manual-timers.ts'
import { loopback, openScene, transports } from './scene.ts'

describe.each(transports)('our connector over %s', (protocol) => {
  test('registers as the reference client does', async () => {
    await using scene = await openScene({ protocol, servers: 4, connector: { connections: 4 } })
    await scene.registered(4)
    const registrations = scene.edge.connections.map(({ registration }) => registration!)
    expect(registrations.map(({ connIndex }) => connIndex)).toEqual([0, 1, 2, 3])
    for (const { tunnelId, options } of registrations) {
      expect(formatUuid(tunnelId)).toBe(scene.connector.id)
      expect(formatUuid(options.client.clientId)).toBe(scene.connector.connectorId)
      expect(options.client.features).toContain('serialized_headers')
      expect(options.client.arch).toMatch(/^[a-z]+_[a-z0-9]+$/)
      expect([options.replaceExisting, options.compressionQuality, options.numPreviousAttempts]).toEqual([false, 0, 0])
      expect(options.originLocalIp).toHaveLength(16)
    }
    expect(new Set(scene.attempts).size).toBe(4)
  })

  test.each([
    ['managed here: over connection 0 alone', false, [true, false]],
    ['managed remotely: over none', true, [false, false]],
  ])('reports the configuration of a tunnel that is %s', async (_, remotelyManaged, reported) => {
    const credentials = createCredentials()
    await using scene = await openScene({
      protocol,
      servers: 2,
      connector: { connections: 2, credentials },
      before: (edge) => edge.mint({ credentials, remotelyManaged }),
    })
    await scene.registered(2)
    const { edge } = scene
    await until(() => edge.connections[0]!.localConfiguration !== undefined || remotelyManaged)
    expect(edge.connections.map(({ localConfiguration }) => localConfiguration !== undefined)).toEqual(reported)
  })
})

describe('a connection of somebody else', () => {
  const timers = createTimers(runtime.clock)

  async function openEdge(options: Partial<EdgeOptions> = {}): Promise<Edge & AsyncDisposable> {
    const edge = await startEdge({ runtime, timers, log: silentLog, servers: [loopback], ...options })
    return Object.assign(edge, { [Symbol.asyncDispose]: () => edge.close() })
  }

  function dial({ servers, certificate }: Edge, tls: Partial<TlsClientOptions> = {}): Promise<Socket> {
    const whole = { servername: 'h2.cftunnel.com', ca: certificate, ...tls }
    return runtime.connect(servers[0]!.address, { timeoutMs: 5_000, tls: whole })
  }

  test('that offers a protocol (ALPN) is hung up on', async () => {
    await using edge = await openEdge()
    const wire = wireOf(await dial(edge, { alpn: ['h2'] }))
    await wire.ended
    expect(edge.violations).toEqual(['tls: ALPN h2 was offered'])
  })

  test('that asks for another name', async () => {
    await using edge = await openEdge()
    const names = { servername: 'edge.example', subjectAltNames: ['h2.cftunnel.com'] }
    const wire = wireOf(await dial(edge, names))
    await until(() => edge.violations.length > 0)
    expect(edge.violations).toEqual(['tls: the name asked for is edge.example'])
    wire.destroy()
  })

  test('that does not register in time is closed', async () => {
    await using edge = await openEdge({ registrationTimeoutMs: 50 })
    const wire = wireOf(await dial(edge))
    await wire.ended
    await until(() => edge.connections.length === 0)
    expect(wire.received).toMatch(/^PRI \* HTTP\/2\.0/)
  })

  test('that breaks the rules of HTTP/2', async () => {
    await using edge = await openEdge()
    const wire = wireOf(await dial(edge))
    await wire.until('control-stream')
    const settings = [0, 0, 0, 4, 0, 0, 0, 0, 0]
    const data = [0, 0, 1, 0, 0, 0, 0, 0, 1, 0x78]
    wire.send(Uint8Array.from([...settings, ...data]))
    await until(() => edge.violations.length > 0)
    expect(edge.violations).toEqual(['http2: DATA before the head'])
    wire.destroy()
  })

  test('that allows few streams', async () => {
    await expect(async () => {
      await using scene = await openScene({ protocol: 'http2', connector: { http2: { maxConcurrentStreams: 10 } } })
      await scene.registered()
    }).rejects.toThrow('settings: 10 streams at a time')
  })
})

describe('a registration', () => {
  const tunnels = createTunnels()
  const { credentials } = tunnels.add({})

  const good: RegisterConnectionParams = {
    auth: { accountTag: credentials.accountTag, tunnelSecret: credentials.tunnelSecret },
    tunnelId: credentials.tunnelId,
    connIndex: 0,
    options: {
      client: { clientId: createUuid(), features: ['serialized_headers'], version: '1', arch: 'linux_amd64' },
      originLocalIp: new Uint8Array(16),
      replaceExisting: false,
      compressionQuality: 0,
      numPreviousAttempts: 0,
    },
  }
  const client = formatUuid(good.options.client.clientId)
  const withClient = (
    more: Partial<RegisterConnectionParams['options']['client']>,
  ): Partial<RegisterConnectionParams> => ({
    options: { ...good.options, client: { ...good.options.client, ...more } },
  })

  function register(
    more: Partial<RegisterConnectionParams>,
    others: readonly Registered[] = [],
  ): { readonly response: ConnectionResponse; readonly violations: readonly string[] } {
    const violations: string[] = []
    const { register } = createRegistrar({
      tunnels,
      timers: createManualTimers(),
      equal: (a, b) => runtime.equalInConstantTime(a, b),
      location: 'LIS',
      refuseDuplicates: true,
      registrationsPerMinute: Infinity,
      report: (violation) => violations.push(violation),
    })
    return { response: register({ ...good, ...more }, 0, others).response, violations }
  }

  test('as the reference client makes it is answered with a name and a place', () => {
    const { response, violations } = register({})
    expect(response).toMatchObject({
      kind: 'details',
      details: { locationName: 'LIS', tunnelIsRemotelyManaged: true, uuid: { length: 16 } },
    })
    expect(violations).toEqual([])
  })

  test.each<[string, Partial<RegisterConnectionParams>]>([
    ['another account', { auth: { ...good.auth, accountTag: 'x' } }],
    ['another secret', { auth: { ...good.auth, tunnelSecret: new Uint8Array(32) } }],
    ['a tunnel that is not known', { tunnelId: createUuid() }],
  ])('with %s is not authorized', (_, more) => {
    const { response } = register(more)
    expect(response).toMatchObject({
      kind: 'error',
      error: { cause: expect.stringMatching(/^Unauthorized/), shouldRetry: false, retryAfterMs: 0 },
    })
  })

  test('of a second connection to one server is a duplicate', () => {
    const { response } = register({ connIndex: 0 }, [{ server: 0, clientId: client, connIndex: 1 }])
    expect(response).toMatchObject({ kind: 'error', error: { cause: 'EDUPCONN' } })
  })

  test.each<[string, Partial<RegisterConnectionParams>, readonly Registered[], string]>([
    ['an id that is none', { tunnelId: new Uint8Array(4) }, [], 'the tunnel id has not 16 bytes'],
    ['a connector without id', withClient({ clientId: new Uint8Array(15) }), [], 'the connector id has not 16 bytes'],
    ['answers that are not serialised', withClient({ features: [] }), [], 'no serialized_headers'],
    ['replacing', { options: { ...good.options, replaceExisting: true } }, [], 'replaceExisting is set'],
    [
      'an index that is taken',
      {},
      [{ server: 1, clientId: client, connIndex: 0 }],
      'connection 0 is registered already',
    ],
    ['an index that is early', { connIndex: 1 }, [], 'connection 1 before connection 0'],
  ])('with %s is noticed', (_, more, others, violation) => {
    expect(register(more, others).violations).toEqual([`registration: ${violation}`])
  })
})

describe('an answer over HTTP/2', () => {
  const meta: Field = ['cf-cloudflared-response-meta', '{"src":"origin"}']
  const failed: Field = ['cf-cloudflared-response-meta', '{"src":"cloudflared"}']
  const packed = (...fields: Field[]): Field => ['cf-cloudflared-response-headers', serializeFields(fields)]

  function read(status: number, fields: readonly Field[], isWebSocket = false) {
    const violations: string[] = []
    const response = responseOf(status, '', emptyHead.edit({ removed: [], added: fields }), bodyOfText('ok'))
    const answer = readStreamAnswer(asEngineResponse(response), isWebSocket, (violation) => violations.push(violation))
    return { answer, violations }
  }

  test('has its serialised fields and no others', () => {
    const { answer, violations } = read(404, [meta, packed(['X-Own', '1']), ['date', 'now'], ['content-type', 'x']])
    expect(answer).toMatchObject({ source: 'origin', status: 404, fields: [['X-Own', '1']] })
    expect(violations).toEqual([])
  })

  test.each<[string, boolean, number]>([
    ['is 101 to a WebSocket', true, 101],
    ['stays 200 to everybody else', false, 200],
  ])('of 200 with Upgrade %s', (_, isWebSocket, status) => {
    expect(read(200, [meta, packed(['Upgrade', 'websocket'])], isWebSocket).answer!.status).toBe(status)
  })

  test.each<[string, number, Field[], string]>([
    ['nobody signed', 200, [packed()], 'no cf-cloudflared-response-meta'],
    ['has no fields', 200, [meta], 'fields that cannot be read'],
    ['has fields in no order', 200, [meta, ['cf-cloudflared-response-headers', '::']], 'fields that cannot be read'],
    [
      'has two lengths',
      200,
      [meta, packed(['Content-Length', '2']), ['content-length', '3']],
      'content-length differs between the frame and the serialised fields',
    ],
    ['is a failure and no 502', 500, [failed], "the connector's own failure has status 500"],
    ['is a failure with fields', 502, [failed, packed()], "the connector's own failure has serialised fields"],
  ])('that %s is noticed', (_, status, fields, violation) => {
    expect(read(status, fields).violations).toEqual([`answer: ${violation}`])
  })
})
