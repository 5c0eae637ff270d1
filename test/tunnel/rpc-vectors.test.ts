import { describe, expect, test } from 'vitest'
import { parseUuid } from '../../src/tunnel/uuid.ts'
import { updateConfiguration } from '../../src/tunnel/configuration-manager.ts'
import {
  type ConnectionResponse,
  registerConnection,
  type RegisterConnectionParams,
  unregisterConnection,
  updateLocalConfiguration,
} from '../../src/tunnel/registration.ts'
import { RpcError } from '../../src/tunnel/rpc-error.ts'
import { serveMethod } from '../../src/tunnel/rpc-method.ts'
import { registerUdpSession, unregisterUdpSession } from '../../src/tunnel/session-manager.ts'
import {
  readConnectRequest,
  readConnectResponse,
  writeConnectRequest,
  writeConnectResponse,
} from '../../src/tunnel/stream-metadata.ts'
import { createRecordedEnd } from './rpc-pair.ts'
import { segmentsOf } from './messages.ts'
import { fromHex, toHex, vectors } from './vectors.ts'

const registration: RegisterConnectionParams = {
  auth: {
    accountTag: '0123456789abcdef0123456789abcdef',
    tunnelSecret: Uint8Array.from({ length: 32 }, (_, index) => index),
  },
  tunnelId: parseUuid('f174e90a-fafe-4643-bbbc-4a0ed4fc8415')!,
  connIndex: 0,
  options: {
    client: {
      clientId: parseUuid('01020304-0506-4708-890a-0b0c0d0e0f10')!,
      features: ['allow_remote_config', 'serialized_headers'],
      version: '2026.8.2',
      arch: 'linux_amd64',
    },
    originLocalIp: fromHex('00000000000000000000ffffc0a80101'),
    replaceExisting: false,
    compressionQuality: 0,
    numPreviousAttempts: 1,
  },
}

const details: ConnectionResponse = {
  kind: 'details',
  details: {
    uuid: parseUuid('00112233-4455-6677-8899-aabbccddeeff')!,
    locationName: 'LIS',
    tunnelIsRemotelyManaged: false,
  },
}

const duplicate: ConnectionResponse = {
  kind: 'error',
  error: { cause: 'EDUPCONN', retryAfterMs: 0, shouldRetry: false },
}

const retryLater: ConnectionResponse = {
  kind: 'error',
  error: { cause: 'try later', retryAfterMs: 27_000, shouldRetry: true },
}

const nothing = new Uint8Array(0)
const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const hexOf = (messages: readonly Uint8Array[]): string[] => messages.map(toHex)

describe('the control stream, byte for byte as the reference client writes it', () => {
  test('Bootstrap, then registerConnection on its answer without waiting for it', () => {
    const client = createRecordedEnd()
    void client.rpc.call(registerConnection, registration, 5000)
    expect(hexOf(client.sent)).toEqual([toHex(vectors.bootstrap), toHex(vectors.registerCall)])
  })

  test('each Return is finished, then calls go to the capability, and the ids freed are used again', async () => {
    const client = createRecordedEnd()
    const registered = client.rpc.call(registerConnection, registration, 5000)
    client.sent.length = 0
    client.receive(vectors.bootstrapReturn)
    expect(hexOf(client.sent)).toEqual([toHex(vectors.finish)])
    client.receive(vectors.registerDetails)
    await expect(registered).resolves.toEqual(details)
    expect(client.sent).toHaveLength(2)

    client.sent.length = 0
    const updated = client.rpc.call(updateLocalConfiguration, text('{"ingress":[]}'), 5000)
    expect(hexOf(client.sent)).toEqual([toHex(vectors.updateLocalCall)])
    client.receive(vectors.emptyResults)
    await expect(updated).resolves.toBeUndefined()

    client.sent.length = 0
    const unregistered = client.rpc.call(unregisterConnection, undefined, 5000)
    expect(hexOf(client.sent)).toEqual([toHex(vectors.unregisterCall)])
    client.receive(vectors.emptyResults)
    await expect(unregistered).resolves.toBeUndefined()

    client.sent.length = 0
    client.rpc.close()
    expect(hexOf(client.sent)).toEqual([toHex(vectors.release), toHex(vectors.abort)])
    expect(client.ended).toBe(true)
  })

  test.each([
    ['a duplicate connection', vectors.registerDuplicate, duplicate],
    ['a retry after 27 s', vectors.registerRetryLater, retryLater],
  ])('the edge refuses: %s', async (_, bytes, expected) => {
    const client = createRecordedEnd()
    const registered = client.rpc.call(registerConnection, registration, 5000)
    client.receive(vectors.bootstrapReturn, bytes)
    await expect(registered).resolves.toEqual(expected)
  })

  test.each([
    ['details', vectors.registerDetails, details],
    ['a duplicate connection', vectors.registerDuplicate, duplicate],
    ['a retry after 27 s', vectors.registerRetryLater, retryLater],
  ])('the edge reads the registration and answers: %s', (_, bytes, answer) => {
    let received: RegisterConnectionParams | undefined
    const edge = createRecordedEnd({
      methods: [
        serveMethod(registerConnection, (params) => {
          received = params
          return answer
        }),
      ],
    })
    edge.receive(vectors.bootstrap, vectors.registerCall)
    expect(received).toEqual(registration)
    expect(hexOf(edge.sent)).toEqual([toHex(vectors.bootstrapReturn), toHex(bytes)])
  })

  test('the edge answers calls to the capability, and takes Finish, Release and Abort in silence', () => {
    const configurations: string[] = []
    let unregistered = 0
    const edge = createRecordedEnd({
      methods: [
        serveMethod(registerConnection, () => details),
        serveMethod(updateLocalConfiguration, (config) => {
          configurations.push(new TextDecoder().decode(config))
          return undefined
        }),
        serveMethod(unregisterConnection, () => {
          unregistered++
          return undefined
        }),
      ],
    })
    const finishOne = fromHex(toHex(vectors.finish).replace(/0000000001000000$/, '0100000001000000'))
    edge.receive(vectors.bootstrap, vectors.registerCall, vectors.finish, finishOne)
    edge.sent.length = 0
    edge.receive(vectors.updateLocalCall, finishOne, vectors.unregisterCall, finishOne)
    expect(hexOf(edge.sent)).toEqual([toHex(vectors.emptyResults), toHex(vectors.emptyResults)])
    expect(configurations).toEqual(['{"ingress":[]}'])
    expect(unregistered).toBe(1)
    edge.sent.length = 0
    edge.receive(vectors.release, vectors.abort)
    expect(edge.sent).toEqual([])
    expect(edge.closedBy).toEqual({ kind: 'aborted', reason: 'rpc: shutdown' })
  })

  test('an exception as answer to Bootstrap fails every call that stood on it', async () => {
    const client = createRecordedEnd()
    const first = client.rpc.call(registerConnection, registration, 5000)
    const second = client.rpc.call(unregisterConnection, undefined, 5000)
    client.receive(vectors.exceptionReturn)
    const failure = { kind: 'exception', exception: { type: 'failed', reason: 'bad config' } }
    await expect(first).rejects.toMatchObject({ failure })
    await expect(second).rejects.toMatchObject({ failure })
    await expect(client.rpc.call(unregisterConnection, undefined, 5000)).rejects.toMatchObject({ failure })
  })
})

describe('RPC streams of QUIC, byte for byte', () => {
  const updated = serveMethod(updateConfiguration, ({ version }) =>
    version === 7 ? { latestAppliedVersion: 7, error: '' } : { latestAppliedVersion: 8, error: 'bad' },
  )

  test('a configuration pushed and applied', async () => {
    const connector = createRecordedEnd({ methods: [updated] })
    connector.receive(vectors.bootstrap, vectors.updateConfigurationCall)
    expect(hexOf(connector.sent)).toEqual([toHex(vectors.bootstrapReturn), toHex(vectors.updateConfigurationApplied)])

    const edge = createRecordedEnd()
    const config = text('{"ingress":[{"service":"http_status:404"}]}')
    const push = edge.rpc.call(updateConfiguration, { version: 7, config }, 5000)
    expect(hexOf(edge.sent)).toEqual([toHex(vectors.bootstrap), toHex(vectors.updateConfigurationCall)])
    edge.receive(...connector.sent)
    await expect(push).resolves.toEqual({ latestAppliedVersion: 7, error: '' })
  })

  test('a configuration refused', async () => {
    const edge = createRecordedEnd()
    const push = edge.rpc.call(updateConfiguration, { version: 9, config: nothing }, 5000)
    edge.receive(vectors.bootstrapReturn, vectors.updateConfigurationRefused)
    await expect(push).resolves.toEqual({ latestAppliedVersion: 8, error: 'bad' })

    const connector = createRecordedEnd({ methods: [updated] })
    const call = fromHex(
      toHex(vectors.updateConfigurationCall).replace('0700000000000000010000005a', '0900000000000000010000005a'),
    )
    connector.receive(vectors.bootstrap, call)
    expect(toHex(connector.sent[1]!)).toBe(toHex(vectors.updateConfigurationRefused))
  })

  const session = {
    sessionId: parseUuid('00112233-4455-6677-8899-aabbccddeeff')!,
    dstIp: fromHex('0a000001'),
    dstPort: 53,
    closeAfterIdleMs: 210_000,
    traceContext: '',
  }

  test('a UDP session is refused in its result', () => {
    let received: unknown
    const connector = createRecordedEnd({
      methods: [
        serveMethod(registerUdpSession, (params) => {
          received = params
          return { error: 'datagram v3 does not support RegisterUdpSession RPC', spans: nothing }
        }),
      ],
    })
    connector.receive(vectors.bootstrap, vectors.registerUdpCall)
    expect(received).toEqual(session)
    expect(toHex(connector.sent[1]!)).toBe(toHex(vectors.registerUdpRefused))

    const edge = createRecordedEnd()
    void edge.rpc.call(unregisterUdpSession, { sessionId: session.sessionId, message: '' }, 5000)
    edge.receive(vectors.bootstrapReturn, vectors.emptyResults)
    edge.sent.length = 0
    void edge.rpc.call(registerUdpSession, session, 5000)
    expect(hexOf(edge.sent)).toEqual([toHex(vectors.registerUdpCall)])
  })

  test('the end of a UDP session is refused with an exception', () => {
    const connector = createRecordedEnd({
      methods: [
        serveMethod(unregisterUdpSession, () => {
          const exception = { type: 'failed', reason: 'datagram v3 does not support UnregisterUdpSession RPC' } as const
          throw new RpcError({ kind: 'exception', exception })
        }),
      ],
    })
    const edge = createRecordedEnd()
    void edge.rpc.call(unregisterUdpSession, { sessionId: session.sessionId, message: 'idle' }, 5000)
    connector.receive(...edge.sent)
    expect(toHex(connector.sent[1]!)).toBe(toHex(vectors.unregisterUdpException))
  })

  test('an unknown method is refused in the words of the reference server', () => {
    const edge = createRecordedEnd({ methods: [] })
    const call = fromHex(toHex(vectors.unregisterCall))
    edge.receive(vectors.bootstrap, call)
    const reason = '@0xf71695ec7fe85497.@1: capnp: method not implemented'
    expect(toHex(vectors.unknownMethodException)).toContain(toHex(text(reason)))
    expect(toHex(edge.sent[1]!)).toBe(toHex(vectors.unknownMethodException))
  })
})

describe('data streams of QUIC, byte for byte', () => {
  const request = {
    dest: 'https://example.com/a?b=c',
    type: 'http',
    metadata: [
      ['HttpMethod', 'GET'],
      ['HttpHost', 'example.com'],
      ['HttpHeader:Cf-Ray', '123'],
    ],
  } as const
  const response = {
    error: '',
    metadata: [
      ['HttpStatus', '200'],
      ['HttpHeader:Content-Type', 'text/plain'],
    ],
  } as const
  const failed = { error: 'boom', metadata: [] }
  const preface = '0a36cd12a13e3031'

  test('ConnectRequest', () => {
    expect(toHex(writeConnectRequest(request))).toBe(preface + toHex(vectors.connectRequest))
    expect(readConnectRequest(segmentsOf(vectors.connectRequest)[0]!)).toEqual(request)
  })

  test.each([
    ['an answer', vectors.connectResponse, response],
    ['an error', vectors.connectResponseError, failed],
  ])('ConnectResponse: %s', (_, bytes, expected) => {
    expect(toHex(writeConnectResponse(expected))).toBe(preface + toHex(bytes))
    expect(readConnectResponse(segmentsOf(bytes)[0]!)).toEqual(expected)
  })
})
