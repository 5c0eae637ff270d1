/** What is needed to connect to a tunnel, read and asked for once at start. */
import type { Options } from '../options.ts'
import type { Runtime } from '../runtime.ts'
import type { Log } from '../telemetry.ts'
import type { TunnelCredentials } from '../tunnel/credentials.ts'
import { parseQuickTunnel, quickTunnelTimeoutMs } from '../tunnel/quick-tunnel.ts'
import { loadCredentials, type CredentialOrigin } from '../tunnel/token.ts'
import { StartRefusal } from './start-refusal.ts'

export interface TunnelAccess {
  readonly credentials: TunnelCredentials
  readonly origin: CredentialOrigin
  readonly region: string | undefined
  /** PEM that replaces the roots that the edge is believed with. */
  readonly edgeCa: string | undefined
  /** Of a quick tunnel. */
  readonly publicUrl?: string
}

const maxAnswerBytes = 64 * 1024

/** @returns undefined where no tunnel is asked for; rejects with a {@link StartRefusal} before anything is dialled */
export async function readTunnelAccess(
  options: Options,
  { files, connectQuic }: Pick<Runtime, 'files' | 'connectQuic'>,
  version: string,
  log: Log,
): Promise<TunnelAccess | undefined> {
  const loaded = await loadCredentials(
    {
      token: options.tunnelToken,
      tokenFile: options.tunnelTokenFile,
      credentialsContents: options.tunnelCredentials,
      credentialsFile: options.tunnelCredentialsFile,
      region: options.region,
    },
    (path) => files.read(path),
  )
  if (loaded === undefined && !options.quick) return undefined
  if (options.protocol === 'quic' && !connectQuic) {
    throw new StartRefusal([
      '--protocol quic: this runtime has no QUIC. Take auto or http2; docs/tunnel.md says how to have it.',
    ])
  }
  if (loaded !== undefined && 'error' in loaded) throw new StartRefusal([`${loaded.error}.`])
  const edgeCa = options.edgeCa === undefined ? undefined : await readCa(files, options.edgeCa)
  if (loaded === undefined) return { ...(await askForQuickTunnel(options, version)), edgeCa }
  for (const warning of loaded.warnings) log.warn(warning)
  return { credentials: loaded.credentials, origin: loaded.origin, region: loaded.region, edgeCa }
}

async function readCa(files: Runtime['files'], path: string): Promise<string> {
  let pem: string
  try {
    pem = await files.read(path)
  } catch (error) {
    throw new StartRefusal([`--edge-ca cannot be read: ${(error as Error).message}.`])
  }
  if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem
  throw new StartRefusal([`--edge-ca: ${path} holds no certificate in PEM form.`])
}

/** @see cloudflared, cmd/cloudflared/tunnel/quick_tunnel.go */
async function askForQuickTunnel(
  { quickService, region }: Options,
  version: string,
): Promise<Omit<TunnelAccess, 'edgeCa'>> {
  const refuse = (why: string): StartRefusal =>
    new StartRefusal([
      `No quick tunnel from ${new URL(quickService).host}: ${why}. A tunnel of your own needs no such service.`,
    ])
  let status: number
  let text: string
  try {
    const response = await fetch(quickService, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'user-agent': `headgate/${version}` },
      redirect: 'error',
      signal: AbortSignal.timeout(quickTunnelTimeoutMs),
    })
    status = response.status
    text = await readLimited(response)
  } catch (error) {
    throw refuse(describeFetchError(error))
  }
  const answer = parseQuickTunnel(text)
  if ('error' in answer) throw refuse(status === 200 ? answer.error : `it answered ${status}; ${answer.error}`)
  return { credentials: answer.credentials, origin: 'token', region, publicUrl: answer.url }
}

/** Node says `fetch failed`, and why in the cause. */
function describeFetchError(error: unknown): string {
  if (!(error instanceof Error)) return 'no answer'
  if (error.name === 'TimeoutError') return `no answer within ${quickTunnelTimeoutMs / 1000} s`
  return error.cause instanceof Error ? error.cause.message : error.message
}

async function readLimited({ body }: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const piece of body ?? []) {
    text += decoder.decode(piece as Uint8Array, { stream: true })
    if (text.length > maxAnswerBytes) throw new Error('its answer is too long')
  }
  return text + decoder.decode()
}
