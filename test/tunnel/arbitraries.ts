import fc from 'fast-check'
import {
  type UpdateConfigurationParams,
  type UpdateConfigurationResponse,
} from '../../src/tunnel/configuration-manager.ts'
import { type ConnectionResponse, type RegisterConnectionParams } from '../../src/tunnel/registration.ts'
import { type MessageTarget } from '../../src/tunnel/rpc-messages.ts'
import {
  type RegisterUdpSessionParams,
  type RegisterUdpSessionResponse,
  type UnregisterUdpSessionParams,
} from '../../src/tunnel/session-manager.ts'
import { type ConnectRequest, type ConnectResponse, type Metadata } from '../../src/tunnel/stream-metadata.ts'

/** Values of everything that goes over the wire. */
const text = fc.string({ unit: 'grapheme', maxLength: 40 })
const data = fc.uint8Array({ maxLength: 40 })
const byte = fc.integer({ min: 0, max: 255 })
const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 })
const milliseconds = fc.integer({ min: 0, max: 2 ** 40 })

export const registerConnectionParams: fc.Arbitrary<RegisterConnectionParams> = fc.record({
  auth: fc.record({ accountTag: text, tunnelSecret: data }),
  tunnelId: data,
  connIndex: byte,
  options: fc.record({
    client: fc.record({ clientId: data, features: fc.array(text, { maxLength: 6 }), version: text, arch: text }),
    originLocalIp: data,
    replaceExisting: fc.boolean(),
    compressionQuality: byte,
    numPreviousAttempts: byte,
  }),
})

export const connectionResponse: fc.Arbitrary<ConnectionResponse> = fc.oneof(
  fc.record({
    kind: fc.constant('error' as const),
    error: fc.record({ cause: text, retryAfterMs: milliseconds, shouldRetry: fc.boolean() }),
  }),
  fc.record({
    kind: fc.constant('details' as const),
    details: fc.record({ uuid: data, locationName: text, tunnelIsRemotelyManaged: fc.boolean() }),
  }),
)

export const updateConfigurationParams: fc.Arbitrary<UpdateConfigurationParams> = fc.record({
  version: int32,
  config: data,
})

export const updateConfigurationResponse: fc.Arbitrary<UpdateConfigurationResponse> = fc.record({
  latestAppliedVersion: int32,
  error: text,
})

export const registerUdpSessionParams: fc.Arbitrary<RegisterUdpSessionParams> = fc.record({
  sessionId: data,
  dstIp: data,
  dstPort: fc.integer({ min: 0, max: 65_535 }),
  closeAfterIdleMs: milliseconds,
  traceContext: text,
})

export const registerUdpSessionResponse: fc.Arbitrary<RegisterUdpSessionResponse> = fc.record({
  error: text,
  spans: data,
})

export const unregisterUdpSessionParams: fc.Arbitrary<UnregisterUdpSessionParams> = fc.record({
  sessionId: data,
  message: text,
})

export const messageTarget: fc.Arbitrary<MessageTarget> = fc.oneof(
  fc.record({ kind: fc.constant('importedCap' as const), id: uint32 }),
  fc.record({
    kind: fc.constant('promisedAnswer' as const),
    questionId: uint32,
    path: fc.array(fc.integer({ min: 0, max: 65_535 }), { maxLength: 4 }),
  }),
)

/** Metadata are bytes; the C++ tool wants UTF-8, so that what goes through it is ASCII. */
const ascii = fc.string({ unit: 'grapheme-ascii', maxLength: 40 })
const metadata: fc.Arbitrary<Metadata[]> = fc.array(fc.tuple(ascii, ascii), { maxLength: 12 })

export const connectRequest: fc.Arbitrary<ConnectRequest> = fc.record({
  dest: text,
  type: fc.constantFrom('http', 'websocket', 'tcp'),
  metadata,
})

export const connectResponse: fc.Arbitrary<ConnectResponse> = fc.record({ error: text, metadata })

export const questionId: fc.Arbitrary<number> = uint32
