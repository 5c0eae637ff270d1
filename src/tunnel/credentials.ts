import { decodeBase64, encodeBase64 } from './base64.ts'
import { formatUuid, parseUuid } from './uuid.ts'

/**
 * What a tunnel is proven with. The secret and the token never go into a log or an error; so that nothing prints them
 * by accident, the secret is bytes.
 */
export interface TunnelCredentials {
  readonly accountTag: string
  /** 16 bytes. */
  readonly tunnelId: Uint8Array
  readonly tunnelSecret: Uint8Array
  /** The edge region that the tunnel is bound to, for instance `fed`. */
  readonly endpoint: string | undefined
}

/** What was read, or what is wrong with it: a sentence that names the field and never quotes the content. */
export type CredentialsResult =
  | { readonly credentials: TunnelCredentials; readonly warnings: readonly string[] }
  | { readonly error: string }

/** Field names, in lower case: the reference client's JSON decoder takes any case. */
interface FieldNames {
  readonly accountTag: string
  readonly tunnelId: string
  readonly tunnelSecret: string
  readonly endpoint: string
}

const tokenFields: FieldNames = { accountTag: 'a', tunnelId: 't', tunnelSecret: 's', endpoint: 'e' }
const fileFields: FieldNames = {
  accountTag: 'accounttag',
  tunnelId: 'tunnelid',
  tunnelSecret: 'tunnelsecret',
  endpoint: 'endpoint',
}

/** Tunnels are created with at least this many bytes of secret. */
const usualSecretBytes = 32
const maxCredentialsLength = 64 * 1024

/**
 * Reads a tunnel token: Base64 of a JSON object with account tag `a`, tunnel UUID `t`, secret `s` and, for some
 * tunnels, region `e`. Line breaks inside the Base64 are ignored.
 *
 * @see cloudflared, connection/connection.go (TunnelToken)
 */
export function parseToken(token: string): CredentialsResult {
  if (token.trim() === '') return { error: 'the token is empty' }
  if (token.length > maxCredentialsLength) return { error: 'the token is too long to be one' }
  const json = decodeBase64(token)
  if (json === undefined) return { error: 'the token is not valid Base64' }
  const fields = readFields(new TextDecoder().decode(json))
  if (fields === undefined) return { error: 'the token is not valid JSON' }
  return checkFields('the token', fields, tokenFields, undefined)
}

/**
 * Reads a named tunnel's credentials file: a JSON object with `AccountTag`, `TunnelSecret`, `TunnelID` and `Endpoint`.
 *
 * @param tunnelId for very old files, which have no `TunnelID`: the ID as the user wrote it
 * @see cloudflared, connection/connection.go (Credentials)
 */
export function parseCredentialsFile(text: string, tunnelId?: string): CredentialsResult {
  if (text.length > maxCredentialsLength) return { error: 'the credentials file is too long to be one' }
  if (text.includes('-----BEGIN')) {
    return { error: 'the credentials file is a certificate; the file to give is <tunnel ID>.json' }
  }
  const fields = readFields(text)
  if (fields === undefined) return { error: 'the credentials file is not valid JSON' }
  return checkFields('the credentials file', fields, fileFields, tunnelId)
}

/** The token for a tunnel, as `parseToken` reads it: for the local edge, which makes its own. */
export function formatToken({ accountTag, tunnelId, tunnelSecret, endpoint }: TunnelCredentials): string {
  const fields = { a: accountTag, s: encodeBase64(tunnelSecret), t: formatUuid(tunnelId), e: endpoint }
  return encodeBase64(new TextEncoder().encode(JSON.stringify(fields)))
}

function checkFields(
  what: string,
  fields: ReadonlyMap<string, unknown>,
  names: FieldNames,
  givenTunnelId: string | undefined,
): CredentialsResult {
  const accountTag = fields.get(names.accountTag)
  if (typeof accountTag !== 'string' || accountTag === '') return { error: `${what} has no account tag` }

  const tunnelIdText = givenTunnelId ?? fields.get(names.tunnelId)
  const tunnelId = typeof tunnelIdText === 'string' ? parseUuid(tunnelIdText) : undefined
  if (tunnelId === undefined || tunnelId.every((byte) => byte === 0)) return { error: `${what} has no valid tunnel ID` }

  const secretText = fields.get(names.tunnelSecret)
  const tunnelSecret = typeof secretText === 'string' ? decodeBase64(secretText) : undefined
  if (tunnelSecret === undefined || tunnelSecret.length === 0) return { error: `${what} has no tunnel secret` }

  const endpoint = fields.get(names.endpoint) ?? ''
  if (typeof endpoint !== 'string') return { error: `${what} has an endpoint that is no text` }

  const warnings = []
  if (tunnelSecret.length < usualSecretBytes) {
    warnings.push(`${what} has a tunnel secret of fewer than ${usualSecretBytes} bytes`)
  }
  return { credentials: { accountTag, tunnelId, tunnelSecret, endpoint: endpoint || undefined }, warnings }
}

/** A JSON object's fields by lower-case name; of names that differ in case alone, the last one written counts. */
function readFields(json: string): ReadonlyMap<string, unknown> | undefined {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return new Map(Object.entries(value).map(([name, field]) => [name.toLowerCase(), field]))
}
