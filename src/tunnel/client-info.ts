import { type ClientInfo } from './registration.ts'

/** What a connector tells about itself when it registers. */
export interface ConnectorIdentity {
  /** 16 bytes, chosen once per process and shared by its connections. */
  readonly connectorId: Uint8Array
  readonly version: string
  /** The host's operating system and processor, in Node's words or in Go's. */
  readonly os: string
  readonly architecture: string
}

/**
 * What we promise the edge: to take configuration pushes, to return headers serialised over HTTP/2, and to treat FIN on
 * QUIC streams as the end of data of its direction. We promise no datagrams and no management host, since we carry HTTP
 * alone and live logs would reach the routes.
 *
 * @see cloudflared, features/features.go
 */
const features: readonly string[] = ['allow_remote_config', 'serialized_headers', 'support_quic_eof']

export function clientInfo({ connectorId, version, os, architecture }: ConnectorIdentity): ClientInfo {
  return { clientId: connectorId, features, version, arch: `${goOs(os)}_${goArchitecture(architecture)}` }
}

function goOs(os: string): string {
  return os === 'win32' ? 'windows' : os === 'sunos' ? 'solaris' : os
}

function goArchitecture(architecture: string): string {
  switch (architecture) {
    case 'x64':
    case 'x86_64':
      return 'amd64'
    case 'ia32':
      return '386'
    case 'aarch64':
      return 'arm64'
    default:
      return architecture
  }
}
