/** Certificates made on the spot, by whoever a test wants to be trusted. */
import 'reflect-metadata'
import type { webcrypto } from 'node:crypto'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
  type JsonGeneralNames,
} from '@peculiar/x509'
import type { TlsServerOptions } from '../../src/runtime.ts'

export interface TestAuthority {
  /** PEM. */
  readonly certificate: string
  issue(names: JsonGeneralNames, options?: { readonly expired?: boolean }): Promise<TlsServerOptions>
}

const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' } as const
const dayMs = 86_400_000

let serial = 1

export async function createTestAuthority(name = 'Test authority'): Promise<TestAuthority> {
  const keys = await generateKeys()
  const subject = `CN=${name} ${serial}`
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: nextSerial(),
    name: subject,
    keys,
    notBefore: new Date(Date.now() - dayMs),
    notAfter: new Date(Date.now() + dayMs),
    signingAlgorithm,
    extensions: [new BasicConstraintsExtension(true, undefined, true)],
  })
  return {
    certificate: certificate.toString('pem'),
    async issue(names, { expired = false } = {}) {
      const own = await generateKeys()
      const leaf = await X509CertificateGenerator.create({
        serialNumber: nextSerial(),
        subject: 'CN=leaf',
        issuer: subject,
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        notBefore: new Date(Date.now() - 2 * dayMs),
        notAfter: new Date(Date.now() + (expired ? -dayMs : dayMs)),
        signingAlgorithm,
        extensions: [
          new BasicConstraintsExtension(false, undefined, true),
          new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
          new SubjectAlternativeNameExtension(names),
        ],
      })
      const key = await crypto.subtle.exportKey('pkcs8', own.privateKey)
      return { cert: leaf.toString('pem'), key: PemConverter.encode(key, 'PRIVATE KEY') }
    },
  }
}

function nextSerial(): string {
  return String(serial++).padStart(4, '0')
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return crypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])
}
