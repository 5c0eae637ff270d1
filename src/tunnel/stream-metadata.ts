import { readRoot, readStructs, readText, readTextBytes, readUint16, type StructReader } from './capnp-reader.ts'
import {
  createMessage,
  finishMessage,
  type StructWriter,
  writeRoot,
  writeStructs,
  writeText,
  writeTextBytes,
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
/** ASCII `01`. Readers don't look at it. */
const version = [0x30, 0x31]
const prefaceBytes = signatureBytes + version.length

/** What our half of an RPC stream begins with, if it is we who open it. */
export const rpcPreface: Uint8Array = Uint8Array.from(rpcSignature)

/** ConnectRequest, 1+2: dest text #0, type u16@0, metadata #1, a list of Metadata, 0+2: key text #0, val text #1. */
export function writeConnectRequest({ dest, type, metadata }: ConnectRequest): Uint8Array {
  const message = createMessage()
  const root = writeRoot(message, 1, 2)
  writeUint16(root, 0, type === undefined ? connectionTypes.length : connectionTypes.indexOf(type))
  writeText(root, 0, dest)
  writeMetadata(root, metadata)
  return withPreface(finishMessage(message))
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
  return withPreface(finishMessage(message))
}

export function readConnectResponse(segments: Segments, limits: CapnpLimits = defaultCapnpLimits): ConnectResponse {
  const root = readRoot(segments, limits)
  return { error: readText(root, 0), metadata: readMetadata(root) }
}

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

export function createOpeningReader(limits: CapnpLimits = defaultCapnpLimits): OpeningReader {
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
      while (at < end && seen < prefaceBytes && opening === undefined) {
        if (seen < signatureBytes) takeSignature(bytes[at]!)
        else seen++
        at++
      }
      if (opening !== undefined || seen < prefaceBytes) return at - start
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

function withPreface(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(prefaceBytes + message.length)
  bytes.set(dataSignature)
  bytes.set(version, signatureBytes)
  bytes.set(message, prefaceBytes)
  return bytes
}

function writeMetadata(root: StructWriter, metadata: readonly Metadata[]): void {
  const entries = writeStructs(root, 1, metadata.length, 0, 2)
  for (const [index, entry] of entries.entries()) {
    const [key, value] = metadata[index]!
    writeTextBytes(entry, 0, toBytes(key))
    writeTextBytes(entry, 1, toBytes(value))
  }
}

function readMetadata(root: StructReader): Metadata[] {
  return readStructs(root, 1).map((entry) => [
    toByteString(readTextBytes(entry, 0)),
    toByteString(readTextBytes(entry, 1)),
  ])
}

function toBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    // Cutting a unit short could make a line break out of a letter.
    if (unit > 0xff) throw new MalformedMessageError('metadata with a code unit above 0xFF')
    bytes[index] = unit
  }
  return bytes
}

function toByteString(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096))
  return text
}
