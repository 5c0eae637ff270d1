/** The tunnels that a local edge knows: who may register for them, and which hostnames lead into them. */
import { formatToken, type TunnelCredentials } from '../credentials.ts'
import { createUuid, formatUuid } from '../uuid.ts'

export interface TunnelOptions {
  /** Kept credentials; absent: new ones are made. */
  readonly credentials?: TunnelCredentials
  /** Exact, `*.example.com`, or `*` for every host that no other tunnel has. Default `*`. */
  readonly hostnames?: readonly string[]
  /** What registration answers. A tunnel that is not managed remotely is told its connector's own configuration. */
  readonly remotelyManaged?: boolean
}

export interface Tunnel {
  /** UUID as text. */
  readonly id: string
  readonly credentials: TunnelCredentials
  /** For a connector's TUNNEL_TOKEN. Secret. */
  readonly token: string
  readonly hostnames: readonly string[]
  readonly remotelyManaged: boolean
}

export interface Tunnels {
  add(options: TunnelOptions): Tunnel
  byId(id: Uint8Array): Tunnel | undefined
  /** @param host without port, any case */
  byHost(host: string): Tunnel | undefined
}

const secretBytes = 32

export function createCredentials(): TunnelCredentials {
  return {
    accountTag: formatUuid(createUuid()).replaceAll('-', ''),
    tunnelId: createUuid(),
    tunnelSecret: crypto.getRandomValues(new Uint8Array(secretBytes)),
    endpoint: undefined,
  }
}

export function createTunnels(): Tunnels {
  const tunnels = new Map<string, Tunnel>()
  const byPattern = new Map<string, Tunnel>()
  return {
    add({ credentials = createCredentials(), hostnames = ['*'], remotelyManaged = true }) {
      const id = formatUuid(credentials.tunnelId)
      const tunnel: Tunnel = {
        id,
        credentials,
        token: formatToken(credentials),
        hostnames: hostnames.map((name) => name.toLowerCase()),
        remotelyManaged,
      }
      tunnels.set(id, tunnel)
      for (const name of tunnel.hostnames) byPattern.set(name, tunnel)
      return tunnel
    },
    byId: (id) => tunnels.get(formatUuid(id)),
    byHost(host) {
      const name = host.toLowerCase()
      const exact = byPattern.get(name)
      if (exact) return exact
      for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1)) {
        const wide = byPattern.get(`*${name.slice(dot)}`)
        if (wide) return wide
      }
      return byPattern.get('*')
    },
  }
}
