/** One address that connectors dial, with a certificate that is right, or wrong on purpose. */
import type {
  Address,
  Listener,
  QuicConnection,
  QuicListener,
  Runtime,
  Socket,
  SocketError,
  TlsServerOptions,
} from '../../runtime.ts'
import type { Transport } from '../protocol.ts'
import { type Authority, createAuthority, edgeNames } from './authority.ts'
import { type ReportViolation } from './link.ts'

export type PresentedCertificate = 'right' | 'wrong-name' | 'unknown-authority'

/** An edge server: TCP, and where the runtime has QUIC, UDP of the same port. A connector has one connection to each. */
export interface EdgeServer {
  readonly index: number
  readonly address: Address
  readonly protocols: readonly Transport[]
  /** Connections are refused from now on; those that are there stay. */
  refuse(): Promise<void>
  /** Takes connections (again), at the same port. */
  accept(): Promise<void>
  /** From the next connection on. */
  present(certificate: PresentedCertificate): Promise<void>
  /** For good. Connections over TCP stay. */
  close(): Promise<void>
}

export interface ServerCertificates {
  readonly http2: TlsServerOptions
  readonly quic: TlsServerOptions
}

export interface ServerOptions {
  readonly index: number
  /** Port 0 lets the system choose. */
  readonly at: Address
  readonly runtime: Runtime
  readonly authority: Authority
  /** The right ones. */
  readonly certificates: ServerCertificates
  readonly report: ReportViolation
  readonly onConnection: (socket: Socket) => void
  readonly onQuicConnection: (connection: QuicConnection) => void
}

/**
 * Never offered by the reference client, and said to be held against those who do. We offer them only to find out who
 * would take one.
 */
const neverNegotiated = ['h2', 'http/1.1']
const quicProtocols = ['argotunnel']
const quicTimes = { idleTimeoutMs: 5_000, keepAliveMs: 1_000 }
/** Ports that the system chose for TCP, until one is free for UDP as well. */
const maxPortAttempts = 10

/** @returns rejects with a SocketError when the address cannot be had */
export async function startServer(options: ServerOptions): Promise<EdgeServer> {
  const { index, runtime, authority, report } = options
  let { certificates } = options
  let address = options.at
  let listener: Listener | undefined
  let quic: QuicListener | undefined

  function accepted(socket: Socket): void {
    const { alpn, servername } = socket.tls ?? {}
    if (alpn) {
      report(`tls: ALPN ${alpn} was offered`)
      socket.destroy()
      return
    }
    checkName(servername, edgeNames.http2)
    options.onConnection(socket)
  }

  function acceptedQuic(connection: QuicConnection): void {
    checkName(connection.tls?.servername, edgeNames.quic)
    options.onQuicConnection(connection)
  }

  /** Not every runtime says which name was asked for. */
  function checkName(asked: string | undefined, right: string): void {
    if (asked && asked !== right) report(`tls: the name asked for is ${asked}`)
  }

  async function listenTcp(at: Address): Promise<Listener> {
    return runtime.listen(at, { tls: { ...certificates.http2, alpn: neverNegotiated } }, accepted)
  }

  /** UDP is listened at to the end, since a port that connections still use can't be had again; it refuses, rather. */
  async function listenBoth(): Promise<void> {
    const { host } = options.at
    for (let attempt = 1; ; attempt++) {
      const tcp = await listenTcp(options.at)
      const at = { host, port: tcp.address.port }
      try {
        quic = await runtime.listenQuic?.(at, { tls: presented(), ...quicTimes }, acceptedQuic)
        listener = tcp
        address = at
        return
      } catch (error) {
        await tcp.close()
        const mayDiffer = options.at.port === 0 && (error as SocketError).code === 'busy'
        if (!mayDiffer || attempt === maxPortAttempts) throw error
      }
    }
  }

  function presented(): TlsServerOptions {
    return { ...certificates.quic, alpn: quicProtocols }
  }

  async function accept(): Promise<void> {
    if (listener) return
    listener = await listenTcp(address)
    await quic?.present(presented())
  }

  async function refuse(): Promise<void> {
    const closing = listener
    listener = undefined
    // Closing waits for the connections that are there; the port itself is free at once.
    void closing?.close()
    await quic?.present(undefined)
  }

  async function issueWrong(which: 'wrong-name' | 'unknown-authority'): Promise<ServerCertificates> {
    const isNamed = which === 'unknown-authority'
    const issuer = isNamed ? await createAuthority(runtime.clock.wallNow()) : authority
    return {
      http2: await issuer.issue([isNamed ? edgeNames.http2 : edgeNames.quic]),
      quic: await issuer.issue([isNamed ? edgeNames.quic : edgeNames.http2]),
    }
  }

  await listenBoth()
  return {
    index,
    get address() {
      return address
    },
    protocols: quic ? ['quic', 'http2'] : ['http2'],
    refuse,
    accept,
    async present(which) {
      certificates = which === 'right' ? options.certificates : await issueWrong(which)
      const wasOpen = listener !== undefined
      await refuse()
      if (wasOpen) await accept()
    },
    async close() {
      await refuse()
      await quic?.close()
    },
  }
}
