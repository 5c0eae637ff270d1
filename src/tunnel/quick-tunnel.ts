import { type CredentialsResult, parseCredentialsFile, type TunnelCredentials } from './credentials.ts'
import { encodeBase64 } from './base64.ts'
import { printable } from './printable.ts'
import { formatUuid } from './uuid.ts'

/**
 * Quick tunnels: anonymous ones, for trying things out. `POST` with an empty body to the service, and it answers with
 * credentials and a public hostname.
 *
 * @see cloudflared, cmd/cloudflared/tunnel/quick_tunnel.go
 */
export const quickTunnelUrl = 'https://api.trycloudflare.com/tunnel'
export const quickTunnelTimeoutMs = 15_000

export type QuickTunnel =
  | { readonly credentials: TunnelCredentials; readonly hostname: string; readonly url: string }
  | { readonly error: string }

/**
 * Reads the service's answer: `success`, `errors[]`, and `result` with id, name, hostname, account_tag, secret. A local
 * edge adds `url`, since nobody serves its hostnames on the usual port.
 */
export function parseQuickTunnel(text: string): QuickTunnel {
  let answer: unknown
  try {
    answer = JSON.parse(text)
  } catch {
    return { error: 'the quick-tunnel service did not answer with JSON' }
  }
  const { success, errors, result } = asRecord(answer)
  if (success !== true) return { error: `the quick-tunnel service refused: ${describeErrors(errors)}` }
  const { id, hostname, url, account_tag: accountTag, secret } = asRecord(result)
  if (typeof hostname !== 'string' || !/^[a-z0-9.-]{1,253}$/i.test(hostname)) {
    return { error: 'the quick-tunnel service answered without a hostname' }
  }
  const fields = { AccountTag: accountTag, TunnelID: id, TunnelSecret: secret }
  const parsed: CredentialsResult = parseCredentialsFile(JSON.stringify(fields))
  if ('error' in parsed) return { error: 'the quick-tunnel service answered without complete credentials' }
  const local = `http://${hostname}:`
  const isLocal = typeof url === 'string' && url.startsWith(local) && /^\d{1,5}$/.test(url.slice(local.length))
  return { credentials: parsed.credentials, hostname, url: isLocal ? url : `https://${hostname}` }
}

/**
 * The service's answer, for the local edge.
 *
 * @param port where eyeballs come in
 */
export function formatQuickTunnel(
  { accountTag, tunnelId, tunnelSecret }: TunnelCredentials,
  hostname: string,
  port?: number,
): string {
  const id = formatUuid(tunnelId)
  const result = {
    id,
    name: `qt-${id}`,
    hostname,
    account_tag: accountTag,
    secret: encodeBase64(tunnelSecret),
    ...(port === undefined ? {} : { url: `http://${hostname}:${port}` }),
  }
  return JSON.stringify({ success: true, result, errors: [] })
}

function describeErrors(errors: unknown): string {
  if (!Array.isArray(errors) || errors.length === 0) return 'no reason given'
  return errors
    .slice(0, 3)
    .map((error: unknown) => {
      const { code, message } = asRecord(error)
      return `${typeof message === 'string' ? printable(message) : 'unknown error'} (${Number(code)})`
    })
    .join('; ')
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}
