/** Why a QUIC connection ended, in our words. */
import type { SocketError } from '../../../src/runtime.ts'
import type { NativeConnection, NativeError } from './binding.ts'

/** CRYPTO_ERROR: 0x0100 and a TLS alert. RFC 9001 section 4.8. */
const cryptoErrors = [0x100, 0x1ff] as const
const connectionRefused = 0x2
/** RFC 8446 section 6, as far as handshakes end with them. */
const alerts: Readonly<Record<number, string>> = {
  40: 'handshake failure',
  42: 'the certificate is bad, or not for this name',
  43: 'unsupported certificate',
  44: 'certificate revoked',
  45: 'certificate expired, or not yet valid',
  46: 'certificate unknown',
  48: 'unknown certificate authority',
  51: 'decryption failed',
  70: 'protocol version',
  80: 'internal error',
  116: 'certificate required',
  120: 'no protocol (ALPN) in common',
}
const maxReasonLength = 100

/** @returns undefined when the connection was closed in order, by either side */
export function endOf(connection: NativeConnection): SocketError | undefined {
  if (connection.isTimedOut()) return { code: 'timeout', message: 'nothing was heard for as long as the idle timeout' }
  const theirs = connection.peerError()
  if (theirs) return describe(theirs, 'the peer closed the connection')
  const ours = connection.localError()
  return ours ? describe(ours, 'the connection was given up') : undefined
}

function describe({ isApp, errorCode, reason }: NativeError, what: string): SocketError | undefined {
  if (errorCode === 0) return undefined
  const [first, last] = cryptoErrors
  const isTls = !isApp && errorCode >= first && errorCode <= last
  const text = printable(reason) || (isTls && alerts[errorCode - first])
  const number = `${isApp ? 'application ' : ''}error 0x${errorCode.toString(16)}`
  const message = `${what}: ${text ? `${text} (${number})` : number}`
  if (isTls) return { code: 'tls', message }
  return { code: !isApp && errorCode === connectionRefused ? 'refused' : 'reset', message }
}

/** The peer's words, for a log. */
function printable(reason: Uint8Array | readonly number[]): string {
  return Buffer.from(reason)
    .toString('latin1')
    .replace(/[^ -~]/g, '?')
    .slice(0, maxReasonLength)
}

/** A {@link SocketError} to throw. */
export function failure(code: SocketError['code'], message: string): Error & SocketError {
  return Object.assign(new Error(message), { code })
}
