/** What we tell quiche of TLS and of the limits that our end sets. */
import { getCACertificates } from 'node:tls'
import type { QuicOptions, TlsServerOptions } from '../../../src/runtime.ts'
import type { Quiche, NativeConfig } from './binding.ts'
import { failure } from './quic-error.ts'

/** Fits into 1280 bytes, the least that any path of IPv6 carries, with either IP header: quiche 0.18 probes no path. */
export const maxPacketBytes = 1_232
/** Of a stream nobody reads, this much arrives. Those of the reference connector. */
const streamWindowBytes = 524_288
/** How far the window of a stream that is read quickly may grow. */
const maxStreamWindowBytes = 6_291_456
/**
 * As good as none: bytes of a stream that was reset are never given back to quiche 0.18's window for the whole
 * connection, which so would close for good. Windows and number of streams limit what is held.
 */
const connectionWindowBytes = 2 ** 60
/** Who verified the other as the edge trusts it: it opens a stream for each request. */
const streamsOfServer = 1_048_576
/** Connectors open one, and a few more in their lives. */
const streamsOfClient = 256

/** @throws a `SocketError` when what is to be trusted or shown is no PEM, or no protocol is named */
export function clientConfig(quiche: Quiche, tls: QuicOptions['tls'], idleTimeoutMs: number): NativeConfig {
  // quiche would take no authority at all for one that signed nothing, and say so only in the handshake.
  if (tls.ca !== undefined && !tls.ca.includes('-----BEGIN ')) throw tlsError('there is no authority to trust')
  const roots = tls.ca ?? [...getCACertificates('default'), tls.extraCa ?? ''].join('\n')
  const config = orTlsError(() => quiche.Config.withBoringSslCtx(true, false, pem(roots), undefined, undefined))
  return configure(config, tls.alpn, idleTimeoutMs, streamsOfServer)
}

/** @throws a `SocketError` when certificate and key are no PEM, or no protocol is named */
export function serverConfig(quiche: Quiche, tls: TlsServerOptions, idleTimeoutMs: number): NativeConfig {
  const config = orTlsError(() =>
    quiche.Config.withBoringSslCtx(false, false, undefined, [pem(tls.key)], [pem(tls.cert)]),
  )
  return configure(config, tls.alpn, idleTimeoutMs, streamsOfClient)
}

function configure(
  config: NativeConfig,
  alpn: readonly string[] | undefined,
  idleTimeoutMs: number,
  peersStreams: number,
): NativeConfig {
  if (alpn === undefined || alpn.length === 0) throw tlsError('QUIC needs a protocol to agree on')
  config.setApplicationProtos(alpn)
  config.setMaxIdleTimeout(idleTimeoutMs)
  config.setMaxSendUdpPayloadSize(maxPacketBytes)
  config.setInitialMaxData(connectionWindowBytes)
  config.setInitialMaxStreamDataBidiLocal(streamWindowBytes)
  config.setInitialMaxStreamDataBidiRemote(streamWindowBytes)
  config.setMaxStreamWindow(maxStreamWindowBytes)
  config.setInitialMaxStreamsBidi(peersStreams)
  config.setDisableActiveMigration(true)
  // Packets leave when they are made: nobody here waits for the times that pacing asks for.
  config.enablePacing(false)
  // Nobody here wants datagrams, but an edge offers them. One waits, and is then dropped.
  config.enableDgram(true, 1, 1)
  return config
}

function pem(text: string): Uint8Array {
  return Buffer.from(text)
}

function orTlsError<T>(make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw tlsError(error instanceof Error ? error.message : String(error))
  }
}

function tlsError(message: string): Error {
  return failure('tls', message)
}
