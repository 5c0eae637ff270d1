import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Segments } from '../../../src/tunnel/capnp-framing.ts'
import { readRoot, readStruct } from '../../../src/tunnel/capnp-reader.ts'
import { updateConfiguration } from '../../../src/tunnel/configuration-manager.ts'
import {
  type ConnectionResponse,
  registerConnection,
  type RegisterConnectionParams,
  updateLocalConfiguration,
} from '../../../src/tunnel/registration.ts'
import {
  exceptionTypes,
  type MessageTarget,
  writeAbort,
  writeBootstrap,
  writeCall,
  writeCanceledReturn,
  type WriteContent,
  writeExceptionReturn,
  writeFinish,
  writeReceiverLoopback,
  writeRelease,
  writeResults,
} from '../../../src/tunnel/rpc-messages.ts'
import { type RpcMethod } from '../../../src/tunnel/rpc-method.ts'
import { registerUdpSession, unregisterUdpSession } from '../../../src/tunnel/session-manager.ts'
import {
  readConnectRequest,
  readConnectResponse,
  writeConnectRequest,
  writeConnectResponse,
} from '../../../src/tunnel/stream-metadata.ts'
import * as arbitrary from '../arbitraries.ts'
import { concat, rpcMessagesOf, segmentsOf } from '../messages.ts'
import { toHex, vectors } from '../vectors.ts'
import { capnpVersion, openCapnpTool, plainly } from './capnp-tool.ts'

const bytes = (data: Uint8Array): number[] => [...data]
const nanoseconds = (ms: number): string => String(BigInt(ms) * 1_000_000n)
const sample = <T>(values: fc.Arbitrary<T>): T[] => fc.sample(values, { numRuns: 200, seed: 2026 })

/** A struct of a method, with what the C++ tool should see in it. */
interface Case<T> {
  readonly name: string
  readonly type: string
  readonly values: fc.Arbitrary<T>
  readonly write: (value: T) => WriteContent
  readonly read: (content: ReturnType<typeof readRoot>) => T
  readonly json: (value: T) => unknown
}

function params<T>(
  method: RpcMethod<T, never> | RpcMethod<T, unknown>,
  type: string,
  values: fc.Arbitrary<T>,
  json: Case<T>['json'],
): Case<T> {
  const { writeParams, readParams } = method
  return {
    name: `${method.name}, params`,
    type,
    values,
    write: (value) => (payload) => writeParams(payload, value),
    read: readParams,
    json,
  }
}

function results<P, T>(method: RpcMethod<P, T>, type: string, values: fc.Arbitrary<T>, json: Case<T>['json']): Case<T> {
  const { writeResults, readResults } = method
  return {
    name: `${method.name}, results`,
    type,
    values,
    write: (value) => (payload) => writeResults(payload, value),
    read: readResults,
    json,
  }
}

const registerParamsJson = ({ auth, tunnelId, connIndex, options }: RegisterConnectionParams) => ({
  auth: { accountTag: auth.accountTag, tunnelSecret: bytes(auth.tunnelSecret) },
  tunnelId: bytes(tunnelId),
  connIndex,
  options: {
    client: { ...options.client, clientId: bytes(options.client.clientId) },
    originLocalIp: bytes(options.originLocalIp),
    replaceExisting: options.replaceExisting,
    compressionQuality: options.compressionQuality,
    numPreviousAttempts: options.numPreviousAttempts,
  },
})

const registerResultsJson = (response: ConnectionResponse) => {
  if (response.kind === 'details') {
    return { result: { connectionDetails: { ...response.details, uuid: bytes(response.details.uuid) } } }
  }
  const { cause, retryAfterMs, shouldRetry } = response.error
  return { result: { error: { cause, retryAfter: nanoseconds(retryAfterMs), shouldRetry } } }
}

const targetJson = (target: MessageTarget) =>
  target.kind === 'importedCap'
    ? { importedCap: target.id }
    : {
        promisedAnswer: {
          questionId: target.questionId,
          transform: target.path.map((getPointerField) => ({ getPointerField })),
        },
      }

const version = capnpVersion()

describe.skipIf(version === undefined)(
  `judged by the C++ implementation (${version ?? 'capnp is not installed: skipped'})`,
  () => {
    const cases = [
      params(registerConnection, 'RegisterConnectionParams', arbitrary.registerConnectionParams, registerParamsJson),
      results(registerConnection, 'RegisterConnectionResults', arbitrary.connectionResponse, registerResultsJson),
      params(
        updateLocalConfiguration,
        'UpdateLocalConfigurationParams',
        fc.uint8Array({ maxLength: 40 }),
        (config) => ({ config: bytes(config) }),
      ),
      params(
        updateConfiguration,
        'UpdateConfigurationParams',
        arbitrary.updateConfigurationParams,
        ({ version, config }) => ({ version, config: bytes(config) }),
      ),
      results(
        updateConfiguration,
        'UpdateConfigurationResults',
        arbitrary.updateConfigurationResponse,
        ({ latestAppliedVersion, error }) => ({ result: { latestAppliedVersion, err: error } }),
      ),
      params(registerUdpSession, 'RegisterUdpSessionParams', arbitrary.registerUdpSessionParams, (session) => ({
        sessionId: bytes(session.sessionId),
        dstIp: bytes(session.dstIp),
        dstPort: session.dstPort,
        closeAfterIdleHint: nanoseconds(session.closeAfterIdleMs),
        traceContext: session.traceContext,
      })),
      results(
        registerUdpSession,
        'RegisterUdpSessionResults',
        arbitrary.registerUdpSessionResponse,
        ({ error, spans }) => ({ result: { err: error, spans: bytes(spans) } }),
      ),
      params(
        unregisterUdpSession,
        'UnregisterUdpSessionParams',
        arbitrary.unregisterUdpSessionParams,
        ({ sessionId, message }) => ({ sessionId: bytes(sessionId), message }),
      ),
    ] as unknown as readonly Case<unknown>[]

    test.each(cases)('$name', ({ type, values, write, read, json }) => {
      const tool = openCapnpTool(type)
      onTestFinished(() => tool.close())
      const samples = sample(values)
      const targets = sample(arbitrary.messageTarget)
      const ids = sample(arbitrary.questionId)
      const calls = samples.map((value, index) => {
        const call = {
          questionId: ids[index]!,
          interfaceId: 0xf71695ec7fe85497n,
          methodId: index,
          target: targets[index]!,
        }
        return writeCall(call, write(value))
      })
      const expectedCalls = samples.map((value, index) => ({
        call: {
          questionId: ids[index],
          target: targetJson(targets[index]!),
          interfaceId: '17804583019846587543',
          methodId: index,
          params: { content: json(value), capTable: [] },
          sendResultsTo: { caller: null },
          allowThirdPartyTailCall: false,
        },
      }))
      expect(fillIn(tool.toJson('Message', concat(...calls)))).toEqual(fillIn(expectedCalls))

      const returns = samples.map((value, index) => writeResults(ids[index]!, write(value)))
      const expectedReturns = samples.map((value, index) => ({
        return: { answerId: ids[index], releaseParamCaps: false, results: { content: json(value), capTable: [] } },
      }))
      expect(fillIn(tool.toJson('Message', concat(...returns)))).toEqual(fillIn(expectedReturns))

      for (const segmentWords of [undefined, 1, 2, 3, 8, 40]) {
        const messages = segmentsOf(tool.toBinary('Message', plainly(expectedCalls), segmentWords))
        expect(messages).toHaveLength(samples.length)
        expect(messages.map((segments) => read(contentOfCall(segments)))).toEqual(plainly(samples))
      }
    })

    test('the other RPC messages', () => {
      const tool = openCapnpTool('Nothing')
      onTestFinished(() => tool.close())
      const loopback = { kind: 'importedCap', id: 5 } as const
      const exceptions = exceptionTypes.map((type) => ({ type, reason: `it ${type}` }))
      const messages = [
        writeBootstrap(4_294_967_295),
        writeFinish(7, true),
        writeFinish(8, false),
        writeRelease(9, 10),
        writeCanceledReturn(11),
        writeReceiverLoopback(loopback, 12),
        ...exceptions.map((exception, index) => writeExceptionReturn(index, exception)),
        ...exceptions.map((exception) => writeAbort(exception)),
      ]
      const exceptionJson = exceptions.map(({ type, reason }) => ({
        reason,
        obsoleteIsCallersFault: false,
        obsoleteDurability: 0,
        type,
      }))
      expect(tool.toJson('Message', concat(...messages))).toEqual([
        { bootstrap: { questionId: 4_294_967_295 } },
        { finish: { questionId: 7, releaseResultCaps: true } },
        { finish: { questionId: 8, releaseResultCaps: false } },
        { release: { id: 9, referenceCount: 10 } },
        { return: { answerId: 11, releaseParamCaps: false, canceled: null } },
        { disembargo: { target: { importedCap: 5 }, context: { receiverLoopback: 12 } } },
        ...exceptionJson.map((exception, answerId) => ({ return: { answerId, releaseParamCaps: false, exception } })),
        ...exceptionJson.map((exception) => ({ abort: exception })),
      ])

      const theirs = [
        { bootstrap: { questionId: 3 } },
        { finish: { questionId: 7, releaseResultCaps: true } },
        { finish: { questionId: 8, releaseResultCaps: false } },
        { release: { id: 9, referenceCount: 10 } },
        { return: { answerId: 11, releaseParamCaps: true, canceled: null } },
        { disembargo: { target: { importedCap: 5 }, context: { senderLoopback: 12 } } },
        ...exceptionJson.map((exception) => ({ abort: exception })),
      ]
      for (const segmentWords of [undefined, 1, 4]) {
        expect(rpcMessagesOf(tool.toBinary('Message', theirs, segmentWords))).toEqual([
          { kind: 'bootstrap', questionId: 3 },
          { kind: 'finish', questionId: 7, releaseResultCaps: true },
          { kind: 'finish', questionId: 8, releaseResultCaps: false },
          { kind: 'release', id: 9, referenceCount: 10 },
          { kind: 'return', answerId: 11, result: { kind: 'canceled' } },
          { kind: 'disembargo', target: loopback, context: { kind: 'senderLoopback', id: 12 } },
          ...exceptions.map((exception) => ({ kind: 'abort', exception })),
        ])
      }
    })

    test('the heads of QUIC data streams', () => {
      const tool = openCapnpTool('Nothing')
      onTestFinished(() => tool.close())
      const toJson = (metadata: readonly (readonly [string, string])[]) => metadata.map(([key, val]) => ({ key, val }))
      const requests = sample(arbitrary.connectRequest)
      const responses = sample(arbitrary.connectResponse)
      const requestJson = requests.map(({ dest, type, metadata }) => ({ dest, type, metadata: toJson(metadata) }))
      const responseJson = responses.map(({ error, metadata }) => ({ error, metadata: toJson(metadata) }))
      const withoutPreface = (message: Uint8Array) => message.subarray(8)
      const ourRequests = concat(...requests.map((request) => withoutPreface(writeConnectRequest(request))))
      const ourResponses = concat(...responses.map((response) => withoutPreface(writeConnectResponse(response))))
      expect(fillIn(tool.toJson('ConnectRequest', ourRequests))).toEqual(fillIn(requestJson))
      expect(fillIn(tool.toJson('ConnectResponse', ourResponses))).toEqual(fillIn(responseJson))
      for (const segmentWords of [undefined, 1, 5]) {
        const theirRequests = segmentsOf(tool.toBinary('ConnectRequest', plainly(requestJson), segmentWords))
        const theirResponses = segmentsOf(tool.toBinary('ConnectResponse', plainly(responseJson), segmentWords))
        expect(theirRequests.map((segments) => readConnectRequest(segments))).toEqual(plainly(requests))
        expect(theirResponses.map((segments) => readConnectResponse(segments))).toEqual(plainly(responses))
      }
    })

    test('the reference encodings say to it what they say to us', () => {
      const tool = openCapnpTool('RegisterConnectionParams')
      onTestFinished(() => tool.close())
      const json = tool.toJson(
        'Message',
        concat(vectors.bootstrap, vectors.registerCall, vectors.finish, vectors.abort),
      )
      expect(json).toMatchObject([{ bootstrap: {} }, { call: { questionId: 1 } }, { finish: {} }, { abort: {} }])
      expect(toHex(tool.toBinary('Message', json.slice(1)))).toBe(
        toHex(concat(vectors.registerCall, vectors.finish, vectors.abort)),
      )
    })
  },
)

function contentOfCall(segments: Segments) {
  return readStruct(readStruct(readStruct(readRoot(segments), 0), 1), 0)
}

/** The tool leaves out lists and bytes that are null; for a reader they are empty. */
function fillIn(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.map(fillIn)
  if (typeof value !== 'object' || value === null) return value === '' ? undefined : value
  return Object.fromEntries(
    Object.entries(value)
      .map(([name, field]) => [name, fillIn(field)] as const)
      .filter(([, field]) => field !== undefined),
  )
}
