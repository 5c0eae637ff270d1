/** Whether a Secret holds a certificate and key that a listener could use. @see Kubernetes Secret type kubernetes.io/tls */

import type { Secret } from './manifests.ts'

/**
 * Looks at the shape only: that the key belongs to the certificate is found out by the TLS library that loads them.
 *
 * @returns what is wrong, without anything of the Secret's content; `undefined` if nothing is
 */
export function certificateProblem(secret: Secret): string | undefined {
  if (secret.type !== 'kubernetes.io/tls') return 'is not of type kubernetes.io/tls'
  if (!holdsPem(secret, 'tls.crt', /^CERTIFICATE$/)) return 'has no PEM certificate in tls.crt'
  if (!holdsPem(secret, 'tls.key', /^(?:RSA |EC )?PRIVATE KEY$/)) return 'has no PEM private key in tls.key'
  return undefined
}

function holdsPem({ data, stringData }: Secret, key: string, label: RegExp): boolean {
  const text = new Map(Object.entries(stringData)).get(key) ?? decode(new Map(Object.entries(data)).get(key) ?? '')
  if (text === undefined) return false
  const blocks = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----/g)]
  return blocks.some(([, name = '', body = '']) => label.test(name) && isDerSequence(decode(body)))
}

/** Certificates and keys of every format are an ASN.1 SEQUENCE. */
function isDerSequence(bytes: string | undefined): boolean {
  return bytes !== undefined && bytes.length > 2 && bytes.charCodeAt(0) === 0x30
}

function decode(base64: string): string | undefined {
  try {
    return atob(base64.replace(/\s/g, ''))
  } catch {
    return undefined
  }
}
