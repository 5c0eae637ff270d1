import { readRoot, readStructs, readText, readTextBytes, readUint16, type StructReader } from './capnp-reader.ts'
import {
  createMessage,
  finishMessage,
  type StructWriter,
  writeRoot,
  writeStructs,
  writeText,
  writeByteString,
  writeUint16,
} from './capnp-writer.ts'
import { type CapnpLimits, defaultCapnpLimits, MalformedMessageError } from './capnp.ts'
import { createMessageFramer, type Segments } from './capnp-framing.ts'

/**
 * How streams of a QUIC connection begin. The control stream, the first that the connector opens, has no signature;
 * every other bidirectional stream does.
 *
 * ```
 * data stream   0a 36 cd 12 a1 3e  "01"  ConnectRequest or ConnectResponse, one message  raw bytes to FIN
 * RPC stream    52 bb 82 5c db 65  Cap'n Proto RPC; the answering half has no signature
 * ```
 *
 * @see cloudflared, tunnelrpc/quic/protocol.go and tunnelrpc/proto/quic_metadata_protocol.capnp
 */
export interface ConnectRequest {
  /** A URL, absolute or only path and query; `ip:port` when the type is `tcp`. */
  readonly dest: string
  readonly type: ConnectionType
  readonly metadata: readonly Metadata[]
}

/** `undefined` stands for a type from a newer schema. */
export type ConnectionType = 'http' | 'websocket' | 'tcp' | undefined

export interface ConnectResponse {
  /** Empty on success. */
  readonly error: string
  readonly metadata: readonly Metadata[]
}

/** Values are strings of bytes (code units up to 0xFF), as header fields are. */
export type Metadata = readonly [key: string, value: string]

const connectionTypes = ['http', 'websocket', 'tcp'] as const
const dataSignature = [0x0a, 0x36, 0xcd, 0x12, 0xa1, 0x3e]
const rpcSignature = [0x52, 0xbb, 0x82, 0x5c, 0xdb, 0x65]
const signatureBytes = 6
/** The signature, and version `01` in ASCII, which readers don't look at. */
const dataPreface = Uint8Array.from([...dataSignature, 0x30, 0x31])

/** What our half of an RPC stream begins with, if it is we who open it. */
export const rpcPreface: Uint8Array = Uint8Array.from(rpcSignature)

/** ConnectRequest, 1+2: dest text #0, type u16@0, metadata #1, a list of Metadata, 0+2: key text #0, val text #1. */
export function writeConnectRequest({ dest, type, metadata }: ConnectRequest): Uint8Array {
  const message = createMessage()
  const root = writeRoot(message, 1, 2)
  writeUint16(root, 0, type === undefined ? connectionTypes.length : connectionTypes.indexOf(type))
  writeText(root, 0, dest)
  writeMetadata(root, metadata)
  return finishMessage(message, dataPreface)
}

export function readConnectRequest(segments: Segments, limits: CapnpLimits = defaultCapnpLimits): ConnectRequest {
  const root = readRoot(segments, limits)
  return { dest: readText(root, 0), type: connectionTypes[readUint16(root, 0)], metadata: readMetadata(root) }
}

/** ConnectResponse, 0+2: error text #0, metadata #1. */
export function writeConnectResponse({ error, metadata }: ConnectResponse): Uint8Array {
  const message = createMessage()
  const root = writeRoot(message, 0, 2)
  writeText(root, 0, error)
  if (metadata.length > 0) writeMetadata(root, metadata)
  return finishMessage(message, dataPreface)
}

export function readConnectResponse(segments: Segments, limits: CapnpLimits = defaultCapnpLimits): ConnectResponse {
  const root = readRoot(segments, limits)
  return { error: readText(root, 0), metadata: readMetadata(root) }
}

/** Any stream may cost this much before anybody has asked for anything; header fields take a tenth of it at most. */
const openingLimits: CapnpLimits = { ...defaultCapnpLimits, maxMessageBytes: 2 * 1024 * 1024 }

/** What a stream turned out to be. What follows in the pieces is the body, or RPC. */
export type StreamOpening = { readonly kind: 'data'; readonly message: Segments } | { readonly kind: 'rpc' }

/** Reads a stream up to where its body or its RPC begins. */
export interface OpeningReader {
  /**
   * @returns how many bytes were taken: all of them, unless `opening` is there now
   * @throws MalformedMessageError when the stream has another signature or an unreadable message
   */
  push(bytes: Uint8Array, start: number, end: number): number
  readonly opening: StreamOpening | undefined
}

export function createOpeningReader(limits: CapnpLimits = openingLimits): OpeningReader {
  const framer = createMessageFramer(limits)
  const possible = new Map([
    ['data', dataSignature],
    ['rpc', rpcSignature],
  ])
  let seen = 0
  let opening: StreamOpening | undefined

  function takeSignature(byte: number): void {
    for (const [kind, signature] of possible) if (signature[seen] !== byte) possible.delete(kind)
    if (possible.size === 0) throw new MalformedMessageError('a stream with an unknown signature')
    seen++
    if (seen === signatureBytes && possible.has('rpc')) opening = { kind: 'rpc' }
  }

  return {
    push(bytes, start, end) {
      let at = start
      while (at < end && seen < dataPreface.length && opening === undefined) {
        if (seen < signatureBytes) takeSignature(bytes[at]!)
        else seen++
        at++
      }
      if (opening !== undefined || seen < dataPreface.length) return at - start
      at += framer.push(bytes, at, end)
      const message = framer.take()
      if (message !== undefined) opening = { kind: 'data', message }
      return at - start
    },
    get opening() {
      return opening
    },
  }
}

function writeMetadata(root: StructWriter, metadata: readonly Metadata[]): void {
  const entries = writeStructs(root, 1, metadata.length, 0, 2)
  for (const [index, entry] of entries.entries()) {
    const [key, value] = metadata[index]!
    writeByteString(entry, 0, key)
    writeByteString(entry, 1, value)
  }
}

function readMetadata(root: StructReader): Metadata[] {
  return readStructs(root, 1).map((entry) => [
    toByteString(readTextBytes(entry, 0)),
    toByteString(readTextBytes(entry, 1)),
  ])
}

/** `apply` on the bytes themselves: a spread takes seven times as long, and a loop that joins letters twice. */
function toByteString(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += maxArguments) {
    // The types want an array; every array-like will do.
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + maxArguments) as unknown as number[])
  }
  return text
}

const maxArguments = 4096
