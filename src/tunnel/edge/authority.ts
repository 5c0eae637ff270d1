/**
 * The certificate authority of a local edge. It is made on the spot, lives for a year, and is constrained to the two
 * names that connectors ask for: whoever trusts it trusts it for nothing else.
 *
 * @see RFC 5280 section 4.2.1.10 (Name Constraints)
 */
import type * as Library from '@peculiar/x509'
import type { TlsServerOptions } from '../../runtime.ts'

/** What connectors verify the edge's certificate against. @see cloudflared, connection/protocol.go */
export const edgeNames = { http2: 'h2.cftunnel.com', quic: 'quic.cftunnel.com' } as const

export interface Authority {
  /** PEM, for a connector's `--edge-ca` (cloudflared: `--cacert`). */
  readonly certificate: string
  /** A certificate for these names, with a new key, valid for 90 days. Leaf alone: the authority is the root. */
  issue(names: readonly string[]): Promise<TlsServerOptions>
  /** PEM (PKCS #8). Whoever keeps it keeps it private: 0600. */
  exportKey(): Promise<string>
}

const dayMs = 86_400_000
const authorityDays = 365
const leafDays = 90
/** Clocks differ a little, and certificates count whole seconds. */
const slackMs = 3_600_000
const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const
const signature = { name: 'ECDSA', hash: 'SHA-256' } as const
const authorityName = 'CN=Headgate local edge'

/** @param wallNowMs milliseconds since 1970 */
export async function createAuthority(wallNowMs: number): Promise<Authority> {
  const x509 = await loadLibrary()
  const keys = await generateKeys()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: createSerial(),
    name: authorityName,
    keys,
    notBefore: new Date(wallNowMs - slackMs),
    notAfter: new Date(wallNowMs + authorityDays * dayMs),
    signingAlgorithm: signature,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      new x509.Extension(nameConstraintsOid, true, nameConstraints(Object.values(edgeNames))),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return authorityOf(certificate, keys.privateKey, wallNowMs)
}

/**
 * An authority that was kept.
 *
 * @throws when the two are not PEM of a certificate and its key, or the certificate has run out or soon will
 */
export async function loadAuthority(certificate: string, key: string, wallNowMs: number): Promise<Authority> {
  const x509 = await loadLibrary()
  const loaded = new x509.X509Certificate(certificate)
  const [der] = x509.PemConverter.decode(key)
  const privateKey = await crypto.subtle.importKey('pkcs8', der!, keyAlgorithm, true, ['sign'])
  if (!(await belongTogether(loaded, privateKey))) throw new Error("the key is not the authority's")
  if (loaded.notAfter.getTime() < wallNowMs + leafDays * dayMs) throw new Error('the authority runs out soon')
  return authorityOf(loaded, privateKey, wallNowMs)
}

function authorityOf(authority: Library.X509Certificate, key: CryptoKey, wallNowMs: number): Authority {
  return {
    certificate: `${authority.toString('pem')}\n`,
    async issue(names) {
      const x509 = await loadLibrary()
      const keys = await generateKeys()
      const extensions: Library.Extension[] = [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns' as const, value }))),
        await x509.AuthorityKeyIdentifierExtension.create(await publicKeyOf(authority)),
      ]
      const leaf = await x509.X509CertificateGenerator.create({
        serialNumber: createSerial(),
        subject: 'CN=Headgate local edge server',
        issuer: authority.subject,
        publicKey: keys.publicKey,
        signingKey: key,
        notBefore: new Date(wallNowMs - slackMs),
        notAfter: new Date(wallNowMs + leafDays * dayMs),
        signingAlgorithm: signature,
        extensions,
      })
      return { cert: `${leaf.toString('pem')}\n`, key: await exportPem(keys.privateKey) }
    },
    exportKey: () => exportPem(key),
  }
}

async function generateKeys(): Promise<CryptoKeyPair> {
  return (await crypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])) as CryptoKeyPair
}

async function exportPem(key: CryptoKey): Promise<string> {
  const { PemConverter } = await loadLibrary()
  return `${PemConverter.encode((await crypto.subtle.exportKey('pkcs8', key)) as ArrayBuffer, 'PRIVATE KEY')}\n`
}

function publicKeyOf(certificate: Library.X509Certificate): Promise<CryptoKey> {
  return certificate.publicKey.export(keyAlgorithm, ['verify'])
}

async function belongTogether(certificate: Library.X509Certificate, key: CryptoKey): Promise<boolean> {
  const sample = crypto.getRandomValues(new Uint8Array(32))
  const signed = await crypto.subtle.sign(signature, key, sample)
  return crypto.subtle.verify(signature, await publicKeyOf(certificate), signed, sample)
}

/** 16 bytes, positive. RFC 5280 section 4.1.2.2. */
function createSerial(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[0] = (bytes[0]! & 0x3f) | 0x40
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

const nameConstraintsOid = '2.5.29.30'

/**
 * The library has no such extension. DER of `SEQUENCE { [0] permitted, [1] excluded }`, each a sequence of subtrees: the
 * DNS names are all that is permitted of names, and every IP address is excluded, since a kind of name that is not
 * mentioned would be free.
 */
function nameConstraints(dnsNames: readonly string[]): Uint8Array<ArrayBuffer> {
  const subtrees = (generalNames: readonly (readonly number[])[]): number[] =>
    generalNames.flatMap((name) => der(0x30, name))
  const names = dnsNames.map((name) => der(0x82, [...new TextEncoder().encode(name)]))
  const addresses = [8, 32].map((size) =>
    der(
      0x87,
      Array.from({ length: size }, () => 0),
    ),
  )
  return Uint8Array.from(der(0x30, [...der(0xa0, subtrees(names)), ...der(0xa1, subtrees(addresses))]))
}

function der(tag: number, content: readonly number[]): number[] {
  if (content.length > 0x7f) throw new RangeError('a length of more than one byte')
  return [tag, content.length, ...content]
}

/** Not at the top: only who opens an edge should pay for it. The library wants `Reflect.getMetadata` to be there first. */
async function loadLibrary(): Promise<typeof Library> {
  await import('reflect-metadata')
  return import('@peculiar/x509')
}
