/** Dialling and listening over `node:net` and `node:tls`. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { connect as netConnect, createServer, isIP, type Server, type Socket as NodeSocket } from 'node:net'
import {
  connect as tlsConnect,
  createSecureContext,
  createServer as createTlsServer,
  getCACertificates,
  type SecureContext,
} from 'node:tls'
import type {
  Address,
  ConnectOptions,
  Listener,
  ListenOptions,
  Socket,
  SocketError,
  TlsClientOptions,
  TlsServerOptions,
} from '../../src/runtime.ts'
import { NetSocket, type OwnBuffer } from './net-socket.ts'
import { socketError } from './socket-error.ts'
import { verifyPeer } from './verify-peer.ts'

const keepAliveMs = 30_000
/** A client that leaves inside the handshake is not heard of otherwise: its FIN is no end of ours. */
const handshakeTimeoutMs = 10_000

export interface DialOptions {
  /** Makes the buffer that a dialled socket reads into; absent: the runtime makes one for each read. */
  readonly ownBuffer?: (() => OwnBuffer) | undefined
  /** Frees the memory of a read that nobody keeps; absent: the garbage collector's. */
  readonly reclaim?: ((read: Uint8Array) => void) | undefined
  /** Wraps a plain socket, or says with `undefined` that it cannot; absent: {@link NetSocket}. */
  readonly wrap?: ((socket: NodeSocket, side: 'accepted' | 'dialled') => Socket | undefined) | undefined
}

/** A context takes a while to make of a hundred roots, so each set is made once. */
const contexts = new Map<string, SecureContext>()

/** Only for roots that come from us, of which there are few; a config's are handed on as they are. */
function trustOf({ ca, extraCa }: TlsClientOptions): { ca?: string; secureContext?: SecureContext } {
  if (ca !== undefined) return { ca }
  if (extraCa === undefined) return {}
  let context = contexts.get(extraCa)
  if (!context) {
    context = createSecureContext({ ca: [...getCACertificates('default'), extraCa], minVersion: 'TLSv1.2' })
    contexts.set(extraCa, context)
  }
  return { secureContext: context }
}

function reading(buffer: OwnBuffer): {
  buffer: () => Uint8Array
  callback: (count: number, bytes: Uint8Array) => boolean
} {
  return { buffer: () => buffer.current, callback: (count, bytes) => buffer.deliver(bytes, count) }
}

/** @returns rejects with a {@link SocketError} */
export function connect(to: Address, options: ConnectOptions, dial: DialOptions = {}): Promise<Socket> {
  return new Promise((resolve, reject: (error: SocketError) => void) => {
    const { tls } = options
    // The libraries below would take no authority at all for the system's.
    if (tls?.ca !== undefined && !tls.ca.includes('-----BEGIN ')) {
      reject({ code: 'tls', message: 'there is no authority to trust' })
      return
    }
    const buffer = tls || dial.wrap ? undefined : dial.ownBuffer?.()
    const base = {
      host: to.host,
      port: to.port,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: keepAliveMs,
    }
    let secure = false
    let socket: NodeSocket
    try {
      socket = tls
        ? tlsConnect({
            ...base,
            // RFC 6066 section 3: an address is no server name. It is verified all the same.
            ...(isIP(tls.servername) ? {} : { servername: tls.servername }),
            minVersion: 'TLSv1.2',
            ...trustOf(tls),
            ...(tls.cert === undefined ? {} : { cert: tls.cert }),
            ...(tls.key === undefined ? {} : { key: tls.key }),
            ...(tls.alpn ? { ALPNProtocols: [...tls.alpn] } : {}),
            checkServerIdentity: (_host, certificate) => verifyPeer(tls, certificate),
          })
        : netConnect({
            ...base,
            ...(buffer ? { onread: reading(buffer) } : {}),
          })
    } catch (error) {
      // What is no PEM is found at once.
      reject({ ...socketError(error), code: tls ? 'tls' : 'other' })
      return
    }
    const timer = setTimeout(
      () => fail({ code: 'timeout', message: `no connection within ${options.timeoutMs} ms` }),
      options.timeoutMs,
    )
    const fail = (error: SocketError): void => {
      clearTimeout(timer)
      socket.off('error', failed)
      socket.on('error', () => {})
      socket.destroy()
      reject(error)
    }
    const failed = (error: NodeJS.ErrnoException): void => {
      const found = socketError(error)
      fail(tls && secure && found.code === 'other' ? { ...found, code: 'tls' } : found)
    }
    socket.on('error', failed)
    socket.on('close', () => reject({ code: 'reset', message: 'closed while connecting' }))
    socket.once('connect', () => (secure = tls !== undefined))
    socket.once(tls ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer)
      socket.removeAllListeners('error')
      socket.removeAllListeners('close')
      resolve(
        (!tls && dial.wrap?.(socket, 'dialled')) || new NetSocket(socket, buffer, buffer ? undefined : dial.reclaim),
      )
    })
  })
}

/** Connections inside their TLS handshake: nobody has them yet, so nobody else could close them. */
class Handshakes {
  /** By the peer's address: before and after the handshake there are two sockets, or one, as the runtime has it. */
  private readonly sockets = new Map<string, NodeSocket>()

  begun(socket: NodeSocket): void {
    const peer = peerOf(socket)
    this.sockets.set(peer, socket)
    socket.on('close', () => {
      if (this.sockets.get(peer) === socket) this.sockets.delete(peer)
    })
  }

  over(socket: NodeSocket): void {
    this.sockets.delete(peerOf(socket))
  }

  abandon(): void {
    for (const socket of this.sockets.values()) socket.destroy()
  }
}

function peerOf({ remoteAddress, remotePort }: NodeSocket): string {
  return `${remoteAddress} ${remotePort}`
}

/**
 * What Deno never looks at, nor Node where a certificate and a key differ in kind: every client would fail.
 * After the runtime's own look, since Node asks the terminal for the passphrase of a key.
 */
function checkPair({ cert, key }: TlsServerOptions): void {
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)))
    throw new Error('the private key is not the one of the certificate')
}

/** @returns rejects with a {@link SocketError}; code 'busy' for a port in use, 'tls' for a certificate or key of no use */
export function listen(
  at: Address,
  options: ListenOptions,
  accept: (socket: Socket) => void,
  dial: DialOptions = {},
): Promise<Listener> {
  return new Promise((resolve, reject: (error: SocketError) => void) => {
    const { tls } = options
    const settings = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs }
    const shaking = new Handshakes()
    let server: Server
    try {
      server = tls
        ? createTlsServer(
            {
              ...settings,
              cert: tls.cert,
              key: tls.key,
              minVersion: 'TLSv1.2',
              handshakeTimeout: handshakeTimeoutMs,
              ...(tls.alpn ? { ALPNProtocols: [...tls.alpn] } : {}),
            },
            (socket) => {
              shaking.over(socket)
              accept(new NetSocket(socket, undefined, dial.reclaim))
            },
          )
        : createServer(settings, (socket) =>
            accept(dial.wrap?.(socket, 'accepted') ?? new NetSocket(socket, undefined, dial.reclaim)),
          )
      if (tls) checkPair(tls)
    } catch (error) {
      reject({ code: 'tls', message: (error as Error).message })
      return
    }
    server.once('error', (error) => reject(socketError(error)))
    server.listen({ host: at.host, port: at.port, backlog: options.backlog ?? 4096 }, () => {
      server.removeAllListeners('error')
      server.on('error', () => {}) // accept errors (too many files): the client sees a refused connection
      if (tls) {
        server.on('connection', (socket: NodeSocket) => shaking.begun(socket))
        // The peer has been told why. One that took too long is still there.
        server.on('tlsClientError', (_error: Error, socket: NodeSocket) => socket.destroy())
      }
      const { address, port } = server.address() as { address: string; port: number }
      resolve({
        address: { host: address, port },
        close: () =>
          new Promise((done) => {
            server.close(() => done())
            shaking.abandon()
          }),
      })
    })
  })
}
