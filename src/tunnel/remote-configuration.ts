import { type UpdateConfigurationParams, type UpdateConfigurationResponse } from './configuration-manager.ts'

/**
 * Configurations that the edge pushes. We serve our own routes, so nothing of a push is applied; it is acknowledged,
 * since one that is not shows as an error on the tunnel's dashboard. The same version comes over every connection.
 *
 * @see cloudflared, orchestration/orchestrator.go (UpdateConfig)
 */
export interface RemoteConfiguration {
  /** The highest version seen; -1 before the first. */
  readonly version: number
  /** Throws when the configuration is no JSON object, which the caller answers as undecodable. */
  update(this: void, params: UpdateConfigurationParams): UpdateConfigurationResponse
}

/** @param onNewVersion is told once of each version that is higher than those before */
export function createRemoteConfiguration(onNewVersion: (version: number) => void): RemoteConfiguration {
  // Version 0 is a real one: a tunnel that moves from local to remote management begins with it.
  let version = -1
  return {
    get version() {
      return version
    },
    update(params) {
      parseObject(new TextDecoder().decode(params.config))
      if (params.version > version) {
        version = params.version
        onNewVersion(version)
      }
      return { latestAppliedVersion: version, error: '' }
    },
  }
}

/** The body of a push over HTTP/2: `version` and `config`. Throws when it is anything else. */
export function parseConfigurationPush(body: string): UpdateConfigurationParams {
  const { version, config } = parseObject(body)
  if (typeof version !== 'number' || (version | 0) !== version)
    throw new Error('the pushed configuration has no version')
  return { version, config: new TextEncoder().encode(JSON.stringify(config ?? {})) }
}

export function formatConfigurationPush(version: number, config: unknown): string {
  return JSON.stringify({ version, config })
}

/** The answer over HTTP/2. Its name for the version is not the one that Cap'n Proto has. */
export function formatConfigurationAnswer({ latestAppliedVersion, error }: UpdateConfigurationResponse): string {
  return JSON.stringify({ lastAppliedVersion: latestAppliedVersion, err: error === '' ? null : error })
}

/** The edge's half. An error may be a text or, from the reference client, an object. */
export function parseConfigurationAnswer(body: string): UpdateConfigurationResponse {
  const { lastAppliedVersion, err } = parseObject(body)
  if (typeof lastAppliedVersion !== 'number') throw new Error('the answer to the configuration has no version')
  const error = err === null || err === undefined ? '' : typeof err === 'string' ? err : 'the configuration was refused'
  return { latestAppliedVersion: lastAppliedVersion, error }
}

/** What it throws is logged, so nothing of the text is in it; a runtime's own message would quote it. */
function parseObject(text: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Error('not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('not a JSON object')
  return value as Record<string, unknown>
}
