/** The runtimes' error codes in our words, once. */
import type { SocketError } from '../../src/runtime.ts'

const codes: Readonly<Record<string, SocketError['code']>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  ECONNABORTED: 'reset',
  ETIMEDOUT: 'timeout',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  ENOTFOUND: 'not-found',
  EAI_AGAIN: 'not-found',
  ENODATA: 'not-found',
  ESERVFAIL: 'not-found',
  EADDRINUSE: 'busy',
  EACCES: 'denied',
  EPERM: 'denied',
}

export function socketError(error: unknown): SocketError {
  const { code = '', message = String(error) } = error as { code?: string; message?: string }
  const known = codes[code]
  if (known) return { code: known, message }
  return {
    code: /^(?:ERR_TLS|ERR_SSL|CERT_|UNABLE_TO|DEPTH_ZERO|SELF_SIGNED|HOSTNAME_MISMATCH|EPROTO)/.test(code)
      ? 'tls'
      : 'other',
    message,
  }
}
