import { type CredentialsResult, parseCredentialsFile, parseToken } from './credentials.ts'

/**
 * Where a tunnel's credentials may come from. A token is never taken from the command line, where every user of the
 * machine could read it.
 */
export interface CredentialSources {
  /** TUNNEL_TOKEN */
  readonly token?: string | undefined
  /** TUNNEL_TOKEN_FILE, a path */
  readonly tokenFile?: string | undefined
  /** TUNNEL_CRED_CONTENTS, the text of a credentials file */
  readonly credentialsContents?: string | undefined
  /** TUNNEL_CRED_FILE, a path */
  readonly credentialsFile?: string | undefined
  /** The tunnel's UUID, for credentials files so old that they have none. */
  readonly tunnelId?: string | undefined
  /** TUNNEL_REGION */
  readonly region?: string | undefined
}

/** The one thing asked of the host. Rejects when the file can't be read. */
export type ReadFile = (path: string) => Promise<string>

/** What a protocol selector wants to know: only a token given directly skips the remote percentages. */
export type CredentialOrigin = 'token' | 'token-file' | 'credentials'

export type LoadedCredentials =
  | (Exclude<CredentialsResult, { error: string }> & {
      readonly origin: CredentialOrigin
      readonly region: string | undefined
    })
  | { readonly error: string }
  /** No source is set: there is no tunnel to connect. */
  | undefined

/** Reads the first source that is set: token, token file, inline credentials, credentials file. */
export async function loadCredentials(sources: CredentialSources, readFile: ReadFile): Promise<LoadedCredentials> {
  const source = await readSource(sources, readFile)
  if (source === undefined) return undefined
  const { name, origin, result } = source
  if ('error' in result) return { error: `${name}: ${result.error}` }
  const { endpoint } = result.credentials
  const region = sources.region || undefined
  if (endpoint !== undefined && region !== undefined) {
    return { error: `${name}: the tunnel is bound to a region of its own; remove TUNNEL_REGION` }
  }
  return { ...result, origin, region: region ?? endpoint }
}

interface Source {
  readonly name: string
  readonly origin: CredentialOrigin
  readonly result: CredentialsResult
}

async function readSource(sources: CredentialSources, readFile: ReadFile): Promise<Source | undefined> {
  const { token, tokenFile, credentialsContents, credentialsFile, tunnelId } = sources
  if (token !== undefined) return { name: 'TUNNEL_TOKEN', origin: 'token', result: parseToken(token) }
  if (tokenFile !== undefined) {
    const result = await readAndParse(tokenFile, readFile, (text) => parseToken(text.trim()))
    return { name: `TUNNEL_TOKEN_FILE (${tokenFile})`, origin: 'token-file', result }
  }
  if (credentialsContents !== undefined) {
    const result = parseCredentialsFile(credentialsContents, tunnelId)
    return { name: 'TUNNEL_CRED_CONTENTS', origin: 'credentials', result }
  }
  if (credentialsFile !== undefined) {
    const result = await readAndParse(credentialsFile, readFile, (text) => parseCredentialsFile(text, tunnelId))
    return { name: `TUNNEL_CRED_FILE (${credentialsFile})`, origin: 'credentials', result }
  }
  return undefined
}

async function readAndParse(
  path: string,
  readFile: ReadFile,
  parse: (text: string) => CredentialsResult,
): Promise<CredentialsResult> {
  let text: string
  try {
    text = await readFile(path)
  } catch {
    return { error: 'the file cannot be read' }
  }
  return parse(text)
}
