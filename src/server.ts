/**
 * An HTTP service on sockets that were accepted, in whichever version the client speaks.
 *
 * Over TLS the handshake decides (ALPN, RFC 9113 section 3.2). Without, a client that begins with HTTP/2's preface knows
 * beforehand (section 3.3), and every other one speaks HTTP/1.1. The upgrade to `h2c` is no more (RFC 9113 section 3.1).
 */
import type { ProxyError } from './errors.ts'
import type { Http1Limits } from './http1/limits.ts'
import { createHttp1Server } from './http1/server.ts'
import type { Http2Limits } from './http2/limits.ts'
import { createHttp2Server } from './http2/server.ts'
import type { Address, Entrance, Handler, Listener, ListenOptions, Runtime, Socket, SocketError } from './runtime.ts'
import type { Timers } from './timers.ts'

/** What a TLS listener offers, in order of preference. */
export const alpnProtocols: readonly string[] = ['h2', 'http/1.1']

export interface HttpServerOptions {
  readonly handler: Handler
  readonly timers: Timers
  /** The runtime's: what one turn of the event loop produces goes out in one write. */
  readonly afterTurn: (f: () => void) => void
  readonly http1: Http1Limits
  readonly http2: Http2Limits
  /** What the client speaks to the door before us; 'https' when TLS ended here or ahead of us. */
  readonly scheme: 'http' | 'https'
  readonly entrance?: Entrance | undefined
  /** Answers a request that an engine itself must refuse, when no handler has seen it. Defaults to a line of text. */
  readonly refuse?: (error: ProxyError) => Response
  /** Told of each refused message, each handler that threw, and each peer that broke the protocol. */
  readonly onError?: (error: ProxyError, peer: Address) => void
  /** Told of each HTTP/2 connection that is closed because its peer asked too much of us; `onError` was told too. */
  readonly onFlood?: (reason: string, peer: Address) => void
}

export interface HttpServer {
  accept(socket: Socket): void
  readonly connectionCount: number
  /** Closes idle connections, and each other one after the answers it is at. */
  drain(): void
  /** Ends every connection at once. */
  destroy(): void
}

/**
 * Opens an address for a server. Without a host both protocols are meant, and IPv4 alone where the machine has no IPv6.
 *
 * @returns rejects with a SocketError
 */
export function listenFor(
  server: HttpServer,
  runtime: Pick<Runtime, 'listen'>,
  address: Address,
  options: ListenOptions = {},
): Promise<Listener> {
  const accept = (socket: Socket): void => server.accept(socket)
  return runtime.listen(address, options, accept).catch((error: SocketError) => {
    if (address.host !== '::' || error.code === 'busy' || error.code === 'denied') throw error
    return runtime.listen({ ...address, host: '0.0.0.0' }, options, accept)
  })
}

/** @throws RangeError for limits that can't be kept */
export function createHttpServer({ http1, http2, afterTurn, ...common }: HttpServerOptions): HttpServer {
  const multiplexing = createHttp2Server({ ...common, limits: http2, afterTurn, webSockets: true })
  const plain = createHttp1Server({ ...common, limits: http1, http2: (socket) => multiplexing.accept(socket) })
  return {
    accept(socket) {
      if (socket.tls?.alpn === 'h2') multiplexing.accept(socket)
      else plain.accept(socket)
    },
    get connectionCount() {
      return plain.connections.size + multiplexing.connections.size
    },
    drain() {
      plain.drain()
      multiplexing.drain()
    },
    destroy() {
      plain.destroy()
      multiplexing.destroy()
    },
  }
}
