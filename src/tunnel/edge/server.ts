/** One address that connectors dial, with a certificate that is right, or wrong on purpose. */
import type { Address, Listener, Runtime, Socket, TlsServerOptions } from '../../runtime.ts'
import { type Authority, createAuthority, edgeNames } from './authority.ts'
import { type ReportViolation } from './link.ts'

export type PresentedCertificate = 'right' | 'wrong-name' | 'unknown-authority'

/** An edge server. Several of them make an edge: a connector has one connection to each. */
export interface EdgeServer {
  readonly index: number
  readonly address: Address
  /** Connections are refused from now on; those that are there stay. */
  refuse(): Promise<void>
  /** Takes connections (again), at the same port. */
  accept(): Promise<void>
  /** From the next connection on. */
  present(certificate: PresentedCertificate): Promise<void>
}

export interface ServerOptions {
  readonly index: number
  /** Port 0 lets the system choose. */
  readonly at: Address
  readonly runtime: Runtime
  readonly authority: Authority
  /** The right one. */
  readonly certificate: TlsServerOptions
  readonly report: ReportViolation
  readonly onConnection: (socket: Socket) => void
}

/**
 * Never offered by the reference client, and said to be held against those who do. We offer them only to find out who
 * would take one.
 */
const neverNegotiated = ['h2', 'http/1.1']

/** @returns rejects with a SocketError when the address cannot be had */
export async function startServer(options: ServerOptions): Promise<EdgeServer> {
  const { index, runtime, authority, report } = options
  let { certificate } = options
  let address = options.at
  let listener: Listener | undefined

  function accepted(socket: Socket): void {
    const { alpn, servername } = socket.tls ?? {}
    if (alpn) {
      report(`tls: ALPN ${alpn} was offered`)
      socket.destroy()
      return
    }
    // Not every runtime says which name was asked for.
    if (servername && servername !== edgeNames.http2) report(`tls: the name asked for is ${servername}`)
    options.onConnection(socket)
  }

  async function accept(): Promise<void> {
    if (listener) return
    listener = await runtime.listen(address, { tls: { ...certificate, alpn: neverNegotiated } }, accepted)
    address = { host: options.at.host, port: listener.address.port }
  }

  async function refuse(): Promise<void> {
    const closing = listener
    listener = undefined
    // Closing waits for the connections that are there; the port itself is free at once.
    void closing?.close()
    await Promise.resolve()
  }

  async function issueWrong(which: 'wrong-name' | 'unknown-authority'): Promise<TlsServerOptions> {
    if (which === 'wrong-name') return authority.issue([edgeNames.quic])
    const stranger = await createAuthority(runtime.clock.wallNow())
    return stranger.issue([edgeNames.http2])
  }

  await accept()
  return {
    index,
    get address() {
      return address
    },
    refuse,
    accept,
    async present(which) {
      certificate = which === 'right' ? options.certificate : await issueWrong(which)
      const wasOpen = listener !== undefined
      await refuse()
      if (wasOpen) await accept()
    },
  }
}
