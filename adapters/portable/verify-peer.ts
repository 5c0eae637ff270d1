/** Who a TLS backend must be. Gateway API BackendTLSPolicy `validation`: hostname, or any of the subject alternative names. */
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import type { TlsClientOptions } from '../../src/runtime.ts'
import { alternativeNames } from './alternative-names.ts'

/** @returns why the certificate is not the peer's that was asked for, or undefined. The chain has been verified before. */
export function verifyPeer(options: TlsClientOptions, certificate: PeerCertificate): Error | undefined {
  const { subjectAltNames = [], subjectAltNameUris = [] } = options
  const names = alternativeNames(certificate.raw)
  if (subjectAltNames.length === 0 && subjectAltNameUris.length === 0) {
    // Where the runtime does not quote a comma, its own check would take the rest of that name for another name.
    const misread = names.some(({ value }) => value.includes(',') && certificate.subjectaltname?.includes(value))
    return misread ? noSuchName() : checkServerIdentity(options.servername, certificate)
  }
  for (const { type, value } of names) {
    if (type === 'DNS' && subjectAltNames.some((name) => sameName(name, value))) return undefined
    if (type === 'URI' && subjectAltNameUris.includes(value)) return undefined
  }
  return noSuchName()
}

function noSuchName(): Error {
  return Object.assign(new Error('no subject alternative name of the certificate is among the expected ones'), {
    code: 'ERR_TLS_CERT_ALTNAME_INVALID',
  })
}

/** Both sides may have a wildcard as their whole first label; RFC 6125 section 6.4.3. */
function sameName(expected: string, presented: string): boolean {
  const a = expected.toLowerCase()
  const b = presented.toLowerCase()
  if (a === b) return true
  const wild = (pattern: string, name: string): boolean =>
    pattern.startsWith('*.') &&
    name.indexOf('.') > 0 &&
    !name.startsWith('*') &&
    name.slice(name.indexOf('.')) === pattern.slice(1)
  return wild(a, b) || wild(b, a)
}
