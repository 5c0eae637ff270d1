import { readData, readInt64, readStruct, readText, readUint16 } from './capnp-reader.ts'
import { writeData, writeInt64, writeStruct, writeText, writeUint16 } from './capnp-writer.ts'
import { fromNanoseconds, toNanoseconds } from './nanoseconds.ts'
import { RpcError } from './rpc-error.ts'
import { type RpcMethod, type ServedMethod, serveMethod } from './rpc-method.ts'

/** A UDP session of private-network traffic that the edge wants to open. */
export interface RegisterUdpSessionParams {
  /** 16 bytes. */
  readonly sessionId: Uint8Array
  /** 4 or 16 bytes. */
  readonly dstIp: Uint8Array
  readonly dstPort: number
  readonly closeAfterIdleMs: number
  readonly traceContext: string
}

export interface RegisterUdpSessionResponse {
  /** Empty on success. */
  readonly error: string
  readonly spans: Uint8Array
}

export interface UnregisterUdpSessionParams {
  readonly sessionId: Uint8Array
  readonly message: string
}

const sessionManager = 0x839445a59fb01686n

/**
 * Params, 2+3: sessionId data #0, dstIp data #1, dstPort u16@0, closeAfterIdleHint i64@8 in nanoseconds,
 * traceContext text #2. Results, 0+1: RegisterUdpSessionResponse #0, 0+2: err text #0, spans data #1.
 *
 * @see cloudflared, tunnelrpc/proto/tunnelrpc.capnp (SessionManager)
 */
export const registerUdpSession: RpcMethod<RegisterUdpSessionParams, RegisterUdpSessionResponse> = {
  name: 'register_udp_session',
  interfaceId: sessionManager,
  methodId: 0,
  writeParams(payload, { sessionId, dstIp, dstPort, closeAfterIdleMs, traceContext }) {
    const params = writeStruct(payload, 0, 2, 3)
    writeUint16(params, 0, dstPort)
    writeInt64(params, 8, toNanoseconds(closeAfterIdleMs))
    writeData(params, 0, sessionId)
    writeData(params, 1, dstIp)
    writeText(params, 2, traceContext)
  },
  readParams(params) {
    return {
      sessionId: readData(params, 0),
      dstIp: readData(params, 1),
      dstPort: readUint16(params, 0),
      closeAfterIdleMs: fromNanoseconds(readInt64(params, 8)),
      traceContext: readText(params, 2),
    }
  },
  writeResults(payload, { error, spans }) {
    const response = writeStruct(writeStruct(payload, 0, 0, 1), 0, 0, 2)
    writeText(response, 0, error)
    writeData(response, 1, spans)
  },
  readResults(results) {
    const response = readStruct(results, 0)
    return { error: readText(response, 0), spans: readData(response, 1) }
  },
}

/** Params, 0+2: sessionId data #0, message text #1. No results. */
export const unregisterUdpSession: RpcMethod<UnregisterUdpSessionParams, undefined> = {
  name: 'unregister_udp_session',
  interfaceId: sessionManager,
  methodId: 1,
  writeParams(payload, { sessionId, message }) {
    const params = writeStruct(payload, 0, 0, 2)
    writeData(params, 0, sessionId)
    writeText(params, 1, message)
  },
  readParams(params) {
    return { sessionId: readData(params, 0), message: readText(params, 1) }
  },
  writeResults(payload) {
    writeStruct(payload, 0, 0, 0)
  },
  readResults() {
    return undefined
  },
}

/**
 * We carry HTTP, not private networks. The edge must hear so in the form that it expects: a result with an error for
 * the one method, an exception for the other, as cloudflared answers when its sessions work another way.
 */
export const refusedUdpSessions: readonly ServedMethod[] = [
  serveMethod(registerUdpSession, () => ({ error: 'this connector carries no UDP', spans: new Uint8Array(0) })),
  serveMethod(unregisterUdpSession, () => {
    const exception = { type: 'failed', reason: 'this connector carries no UDP' } as const
    throw new RpcError({ kind: 'exception', exception })
  }),
]
