/**
 * What we use of quiche's binding in the optional package `@matrixai/quic`: the QUIC state machine and its TLS, without
 * the package's own sockets and streams. It does no I/O: bytes go in and come out, and it is asked when to be called.
 *
 * @see https://docs.rs/quiche/0.18.0, which it wraps one to one
 */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { Address } from '../../../src/runtime.ts'

export interface Quiche {
  readonly Config: {
    /** PEM everywhere. Verifies the peer's chain against `ca` and its name against the server name of `connect`. */
    withBoringSslCtx(
      verifyPeer: boolean,
      verifyAllowFail: boolean,
      ca: Uint8Array | undefined,
      keys: readonly Uint8Array[] | undefined,
      certificates: readonly Uint8Array[] | undefined,
    ): NativeConfig
  }
  readonly Connection: {
    connect(
      serverName: string | null,
      sourceId: Uint8Array,
      local: Address,
      remote: Address,
      config: NativeConfig,
    ): NativeConnection
    accept(
      sourceId: Uint8Array,
      originalDestinationId: Uint8Array | null,
      local: Address,
      remote: Address,
      config: NativeConfig,
    ): NativeConnection
  }
  readonly Header: { fromSlice(packet: Uint8Array, idBytes: number): NativeHeader }
  versionIsSupported(version: number): boolean
  /** @returns the length of the packet in `out` */
  negotiateVersion(sourceId: Uint8Array, destinationId: Uint8Array, out: Uint8Array): number
}

export interface NativeHeader {
  readonly ty: number
  readonly version: number
  readonly dcid: Uint8Array
  readonly scid: Uint8Array
}

/** `Type::Initial`. */
export const initialPacket = 0

export interface NativeConfig {
  setApplicationProtos(names: readonly string[]): void
  setMaxIdleTimeout(ms: number): void
  setMaxSendUdpPayloadSize(bytes: number): void
  setInitialMaxData(bytes: number): void
  setInitialMaxStreamDataBidiLocal(bytes: number): void
  setInitialMaxStreamDataBidiRemote(bytes: number): void
  setInitialMaxStreamsBidi(count: number): void
  setMaxStreamWindow(bytes: number): void
  setDisableActiveMigration(disabled: boolean): void
  enablePacing(enabled: boolean): void
  enableDgram(enabled: boolean, receiveQueue: number, sendQueue: number): void
}

/** What throws does so with an Error whose message is quiche's name for it: `StreamReset(0)`. */
export interface NativeConnection {
  recv(datagram: Uint8Array, info: { readonly from: Address; readonly to: Address }): number
  /** @returns null when there is nothing to send */
  send(out: Uint8Array): readonly [bytes: number, info: unknown] | null
  /** @returns null when there is nothing to read */
  streamRecv(id: number, out: Uint8Array): readonly [bytes: number, fin: boolean] | null
  /** @returns how many bytes were taken, or null for none */
  streamSend(id: number, bytes: Uint8Array, fin: boolean): number | null
  streamShutdown(id: number, half: number, code: number): void
  streamCapacity(id: number): number
  /** The peer's half is known to its end, and read or reset; or the stream is gone. */
  streamFinished(id: number): boolean
  /** Whether `readable` would name any stream, at a fiftieth of its price. */
  isReadable(): boolean
  readable(): Iterable<number>
  streamReadable(id: number): boolean
  dgramRecvVec(): Uint8Array | null
  /** Milliseconds until `onTimeout` is due. */
  timeout(): number | null
  onTimeout(): void
  sendAckEliciting(): void
  close(application: boolean, code: number, reason: Uint8Array): void
  isEstablished(): boolean
  isDraining(): boolean
  isClosed(): boolean
  isTimedOut(): boolean
  applicationProto(): Uint8Array
  serverName(): string | null
  /** DER, the leaf first. */
  peerCertChain(): readonly Uint8Array[] | null
  peerError(): NativeError | null
  localError(): NativeError | null
}

export interface NativeError {
  readonly isApp: boolean
  readonly errorCode: number
  readonly reason: Uint8Array | readonly number[]
}

/** `Shutdown::Read` sends STOP_SENDING, `Shutdown::Write` RESET_STREAM. */
export const readHalf = 0
export const writeHalf = 1

/** The binding alone, since loading the whole package takes twenty times as long. Of version 1 and of version 2. */
const bindingFile = 'dist/native/quiche.js'

/**
 * @param from where it is looked for, a file's URL
 * @returns the binding; undefined where the package is not installed; or why it cannot be used
 */
export function loadQuiche(from: string): Quiche | { readonly reason: string } | undefined {
  const require = createRequire(from)
  let manifest: string
  try {
    manifest = require.resolve('@matrixai/quic/package.json')
  } catch {
    return undefined
  }
  try {
    const { default: quiche } = require(join(dirname(manifest), bindingFile)) as { default: Quiche }
    return isComplete(quiche) ? quiche : { reason: 'the binding of @matrixai/quic is not as we know it' }
  } catch (error) {
    // Installed, but there is no binary for this machine, or it does not load here.
    return { reason: error instanceof Error ? error.message : String(error) }
  }
}

const methods = [
  'recv',
  'send',
  'streamRecv',
  'streamSend',
  'streamShutdown',
  'streamCapacity',
  'streamFinished',
  'streamReadable',
  'sendAckEliciting',
]

function isComplete(quiche: Quiche): boolean {
  const { Config, Connection, Header } = quiche as Partial<Quiche>
  const { prototype } = (Connection ?? {}) as { prototype?: Record<string, unknown> }
  return (
    typeof Config?.withBoringSslCtx === 'function' &&
    typeof Connection?.connect === 'function' &&
    typeof Header?.fromSlice === 'function' &&
    prototype !== undefined &&
    methods.every((name) => typeof prototype[name] === 'function')
  )
}
