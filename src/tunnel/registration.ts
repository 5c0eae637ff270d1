import {
  readBool,
  readData,
  readInt64,
  readStruct,
  readText,
  readTexts,
  readUint16,
  readUint8,
  type StructReader,
} from './capnp-reader.ts'
import {
  type StructWriter,
  writeBool,
  writeData,
  writeInt64,
  writeStruct,
  writeText,
  writeTexts,
  writeUint16,
  writeUint8,
} from './capnp-writer.ts'
import { MalformedMessageError } from './capnp.ts'
import { fromNanoseconds, toNanoseconds } from './nanoseconds.ts'
import { type RpcMethod } from './rpc-method.ts'

/**
 * The interface that the edge serves on a connection's control stream: register, report a local configuration,
 * unregister. Layouts are written as `data words + pointer words`, `@n` is byte n of the data section, `#n` pointer n.
 *
 * @see cloudflared, tunnelrpc/proto/tunnelrpc.capnp (RegistrationServer)
 */
export interface RegisterConnectionParams {
  readonly auth: TunnelAuth
  /** 16 bytes, in the order of the UUID's text. */
  readonly tunnelId: Uint8Array
  /** Which of the connector's connections this is, from 0. */
  readonly connIndex: number
  readonly options: ConnectionOptions
}

export interface TunnelAuth {
  readonly accountTag: string
  readonly tunnelSecret: Uint8Array
}

export interface ConnectionOptions {
  readonly client: ClientInfo
  /** IPv4 in its 16-byte IPv4-mapped form, or IPv6; may be empty. */
  readonly originLocalIp: Uint8Array
  readonly replaceExisting: boolean
  readonly compressionQuality: number
  readonly numPreviousAttempts: number
}

export interface ClientInfo {
  /** 16 bytes: the connector's UUID, the same for all its connections. */
  readonly clientId: Uint8Array
  readonly features: readonly string[]
  readonly version: string
  /** `<os>_<arch>` in Go's words, for instance `linux_amd64`. */
  readonly arch: string
}

export type ConnectionResponse =
  | { readonly kind: 'error'; readonly error: ConnectionError }
  | { readonly kind: 'details'; readonly details: ConnectionDetails }

export interface ConnectionError {
  readonly cause: string
  /** Milliseconds, with a fraction; the wire has nanoseconds. 0 where the edge asks for no particular wait. */
  readonly retryAfterMs: number
  readonly shouldRetry: boolean
}

export interface ConnectionDetails {
  /** 16 bytes: this connection's name at the edge. */
  readonly uuid: Uint8Array
  /** The data centre, for instance `LIS`. */
  readonly locationName: string
  readonly tunnelIsRemotelyManaged: boolean
}

/** Both results and parameters of methods that have none. */
export type Nothing = undefined

const registrationServer = 0xf71695ec7fe85497n

/**
 * Params, 1+3: auth #0, tunnelId data #1, connIndex u8@0, options #2. Results, 0+1: ConnectionResponse #0.
 */
export const registerConnection: RpcMethod<RegisterConnectionParams, ConnectionResponse> = {
  name: 'register_connection',
  interfaceId: registrationServer,
  methodId: 0,
  writeParams(payload, { auth, tunnelId, connIndex, options }) {
    const params = writeStruct(payload, 0, 1, 3)
    writeUint8(params, 0, connIndex)
    writeAuth(params, 0, auth)
    writeData(params, 1, tunnelId)
    writeOptions(params, 2, options)
  },
  readParams(params) {
    return {
      auth: readAuth(readStruct(params, 0)),
      tunnelId: readData(params, 1),
      connIndex: readUint8(params, 0),
      options: readOptions(readStruct(params, 2)),
    }
  },
  writeResults(payload, response) {
    writeResponse(writeStruct(payload, 0, 0, 1), 0, response)
  },
  readResults(results) {
    return readResponse(readStruct(results, 0))
  },
}

/** No parameters, no results: both are structs of no size. */
export const unregisterConnection: RpcMethod<Nothing, Nothing> = {
  name: 'unregister_connection',
  interfaceId: registrationServer,
  methodId: 1,
  writeParams: writeNothing,
  readParams: readNothing,
  writeResults: writeNothing,
  readResults: readNothing,
}

/** Params, 0+1: config data #0, JSON. No results. */
export const updateLocalConfiguration: RpcMethod<Uint8Array, Nothing> = {
  name: 'update_local_configuration',
  interfaceId: registrationServer,
  methodId: 2,
  writeParams(payload, config) {
    writeData(writeStruct(payload, 0, 0, 1), 0, config)
  },
  readParams(params) {
    return readData(params, 0)
  },
  writeResults: writeNothing,
  readResults: readNothing,
}

/** TunnelAuth, 0+2: accountTag text #0, tunnelSecret data #1. */
function writeAuth(struct: StructWriter, index: number, { accountTag, tunnelSecret }: TunnelAuth): void {
  const auth = writeStruct(struct, index, 0, 2)
  writeText(auth, 0, accountTag)
  writeData(auth, 1, tunnelSecret)
}

function readAuth(auth: StructReader): TunnelAuth {
  return { accountTag: readText(auth, 0), tunnelSecret: readData(auth, 1) }
}

/**
 * ConnectionOptions, 1+2: client #0, originLocalIp data #1, replaceExisting bit 0, compressionQuality u8@1,
 * numPreviousAttempts u8@2.
 */
function writeOptions(struct: StructWriter, index: number, options: ConnectionOptions): void {
  const writer = writeStruct(struct, index, 1, 2)
  writeBool(writer, 0, options.replaceExisting)
  writeUint8(writer, 1, options.compressionQuality)
  writeUint8(writer, 2, options.numPreviousAttempts)
  writeClient(writer, 0, options.client)
  writeData(writer, 1, options.originLocalIp)
}

function readOptions(options: StructReader): ConnectionOptions {
  return {
    client: readClient(readStruct(options, 0)),
    originLocalIp: readData(options, 1),
    replaceExisting: readBool(options, 0),
    compressionQuality: readUint8(options, 1),
    numPreviousAttempts: readUint8(options, 2),
  }
}

/** ClientInfo, 0+4: clientId data #0, features list of text #1, version text #2, arch text #3. */
function writeClient(struct: StructWriter, index: number, client: ClientInfo): void {
  const writer = writeStruct(struct, index, 0, 4)
  writeData(writer, 0, client.clientId)
  writeTexts(writer, 1, client.features)
  writeText(writer, 2, client.version)
  writeText(writer, 3, client.arch)
}

function readClient(client: StructReader): ClientInfo {
  return {
    clientId: readData(client, 0),
    features: readTexts(client, 1),
    version: readText(client, 2),
    arch: readText(client, 3),
  }
}

/** ConnectionResponse, 1+1: tag u16@0 (0 error #0, 1 connectionDetails #0). */
function writeResponse(struct: StructWriter, index: number, response: ConnectionResponse): void {
  const writer = writeStruct(struct, index, 1, 1)
  if (response.kind === 'error') {
    writeError(writer, 0, response.error)
    return
  }
  writeUint16(writer, 0, 1)
  writeDetails(writer, 0, response.details)
}

function readResponse(response: StructReader): ConnectionResponse {
  const tag = readUint16(response, 0)
  switch (tag) {
    case 0:
      return { kind: 'error', error: readError(readStruct(response, 0)) }
    case 1:
      return { kind: 'details', details: readDetails(readStruct(response, 0)) }
    default:
      throw new MalformedMessageError(`an answer to registerConnection of unknown kind ${tag}`)
  }
}

/** ConnectionError, 2+1: cause text #0, retryAfter i64@0 in nanoseconds, shouldRetry bit 64. */
function writeError(struct: StructWriter, index: number, error: ConnectionError): void {
  const writer = writeStruct(struct, index, 2, 1)
  writeInt64(writer, 0, toNanoseconds(error.retryAfterMs))
  writeBool(writer, 64, error.shouldRetry)
  writeText(writer, 0, error.cause)
}

function readError(error: StructReader): ConnectionError {
  return {
    cause: readText(error, 0),
    retryAfterMs: Math.max(0, fromNanoseconds(readInt64(error, 0))),
    shouldRetry: readBool(error, 64),
  }
}

/** ConnectionDetails, 1+2: uuid data #0, locationName text #1, tunnelIsRemotelyManaged bit 0. */
function writeDetails(struct: StructWriter, index: number, details: ConnectionDetails): void {
  const writer = writeStruct(struct, index, 1, 2)
  writeBool(writer, 0, details.tunnelIsRemotelyManaged)
  writeData(writer, 0, details.uuid)
  writeText(writer, 1, details.locationName)
}

function readDetails(details: StructReader): ConnectionDetails {
  return {
    uuid: readData(details, 0),
    locationName: readText(details, 1),
    tunnelIsRemotelyManaged: readBool(details, 0),
  }
}

function writeNothing(payload: StructWriter): void {
  writeStruct(payload, 0, 0, 0)
}

function readNothing(): Nothing {
  return undefined
}
