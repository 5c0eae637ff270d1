/**
 * What the rooms of the house say to each other, and all that they ask of a host.
 *
 * Everything here is a shape. An adapter (Node, Bun, Deno) implements {@link Runtime}; the engines implement
 * {@link Exchange}; everything between the sockets is a {@link Handler}.
 */
import type { ProxyError } from './errors.ts'

/** A whole HTTP service. Our proxy's `fetch` is one, Hono's `app.fetch` is one, a test backend is one. */
export type Handler = (request: Request, exchange?: Exchange) => Response | Promise<Response>

/** A transport address. `port` is 0 where the transport has none (a pipe). IPv6 without brackets. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** What a TLS handshake agreed on. */
export interface TlsFacts {
  readonly alpn?: string
  readonly servername?: string
  /** The peer's leaf certificate, DER. */
  readonly peerCertificate?: Uint8Array
}

/** Which of the config's listeners a bound address stands for: one Gateway's, one port's, or every HTTP listener. */
export interface Entrance {
  /** `namespace/name` */
  readonly gateway?: string
  /** The port in the Gateway's listener, not the bound one. */
  readonly port?: number
}

/** One header field as it goes over the wire. */
export type Field = readonly [name: string, value: string]

/** How an exchange ended. Sent once, after the last byte of the response or when there will be none. */
export interface Outcome {
  /** The status that reached the wire, or 0 when none did. */
  readonly status: number
  /** Body bytes, after any transfer coding was taken off. */
  readonly bytesReceived: number
  readonly bytesSent: number
  /** Why it ended early; absent after a complete response. */
  readonly error?: ProxyError
}

/**
 * What Fetch has no place for. Typed, and never in headers.
 *
 * @see docs/architecture.md, "What Fetch cannot say"
 */
export interface Exchange {
  /** The scheme and protocol the client speaks, as far as this hop knows. */
  readonly scheme: 'http' | 'https'
  readonly httpVersion: '1.0' | '1.1' | '2' | '3'
  readonly peer: Address
  readonly local: Address
  readonly tls?: TlsFacts | undefined
  readonly entrance?: Entrance | undefined
  /** True when the peer is Cloudflare's edge, whose `CF-*` fields may be believed. */
  readonly edge?: boolean
  /** Milliseconds of the runtime's monotonic clock when the request's head was complete. */
  readonly startedAtMs: number
  /** True while the client still waits for `100 Continue` before it sends its body. RFC 9110 section 10.1.1. */
  readonly awaitsContinue: boolean
  /** What the client asked to switch to (the value of `Upgrade`); a 101 may answer only then. */
  readonly upgrade?: string | undefined
  /** True once the client has left; an answer would reach nobody. */
  readonly gone: boolean
  /** Sends an informational (1xx) response; does nothing where the client cannot take one. RFC 9110 section 15.2. */
  inform(status: number, fields: readonly Field[]): void
  /** Calls `listener` once if the client leaves before the response is complete; at once if it has left already. */
  onAbort(listener: (error: ProxyError) => void): void
  /** Calls `listener` once, when the exchange is over. */
  onFinish(listener: (outcome: Outcome) => void): void
}

/** What went wrong with a socket, in the same words on every runtime. */
export interface SocketError {
  readonly code:
    | 'refused'
    | 'reset'
    | 'timeout'
    | 'unreachable'
    | 'not-found'
    | 'tls'
    | 'busy'
    | 'denied'
    | 'forbidden'
    | 'other'
  /** For logs: the runtime's own words. Never matched on, never sent to a client. */
  readonly message: string
}

/** Events of a {@link Socket}. Calls never overlap; none comes after `close`. */
export interface SocketEvents {
  /**
   * Bytes arrived. They are lent: valid during the call only, unless it returns false.
   *
   * @returns true when the bytes are done with; false to keep them and stop reading until `resume()` is called
   */
  data(bytes: Uint8Array, start: number, end: number): boolean
  /** Everything written so far has been handed to the system, after a `write` that returned false. */
  drain(): void
  /** The peer has finished sending (FIN). We may still write. */
  end(): void
  /** The socket is gone. Once, and last. */
  close(error?: SocketError): void
}

/** A byte stream with Nagle off and half-open allowed. One owner at a time. */
export interface Socket {
  readonly local: Address
  readonly remote: Address
  readonly tls?: TlsFacts | undefined
  /** Hands the socket to its (next) owner. Reading starts, or goes on, with this call. */
  attach(events: SocketEvents): void
  /** Bytes to a string of the same code units (ISO 8859-1, not windows-1252). */
  latin1(bytes: Uint8Array, start: number, end: number): string
  /** Whether `bytes[start, end)` are `others`, where the runtime can tell faster than a loop of ours. */
  equal?(bytes: Uint8Array, start: number, end: number, others: Uint8Array): boolean
  /**
   * Writes `head`, then `body[start, end)`, then `tail`, as one piece where that is possible.
   *
   * Strings must hold code units up to 0xFF only.
   *
   * @returns true when the bytes have left for the system; false when `body` must stay untouched until `drain()`
   */
  write(head: string, body?: Uint8Array, start?: number, end?: number, tail?: string): boolean
  pause(): void
  /** Reads on, and gives back bytes that `data` kept. */
  resume(): void
  /** Sends FIN after what has been written. */
  end(): void
  destroy(reason?: 'reset'): void
}

export interface TlsClientOptions {
  /** Name for SNI, and the name to verify unless `subjectAltNames` or `subjectAltNameUris` says otherwise. */
  readonly servername: string
  /** PEM. Absent: the system's roots. */
  readonly ca?: string
  /** PEM roots beside the system's, where there is no `ca`. */
  readonly extraCa?: string
  readonly subjectAltNames?: readonly string[]
  readonly subjectAltNameUris?: readonly string[]
  /** PEM client certificate and key. */
  readonly cert?: string
  readonly key?: string
  readonly alpn?: readonly string[]
}

export interface ConnectOptions {
  readonly timeoutMs: number
  readonly tls?: TlsClientOptions
}

export interface TlsServerOptions {
  /** PEM certificate chain and key. */
  readonly cert: string
  readonly key: string
  readonly alpn?: readonly string[]
}

export interface ListenOptions {
  readonly tls?: TlsServerOptions
  readonly backlog?: number
}

export interface Listener {
  readonly address: Address
  /** Stops accepting. Accepted sockets live on. */
  close(): Promise<void>
}

export interface ResolvedAddress {
  readonly address: string
  readonly family: 4 | 6
}

export interface Resolution {
  readonly addresses: readonly ResolvedAddress[]
  /** How long the answer may be used; absent where the resolver does not say. */
  readonly ttlMs?: number
}

export interface ServiceRecord {
  readonly name: string
  readonly port: number
  readonly priority: number
  readonly weight: number
}

/** Names to addresses. Rejects with a {@link SocketError}. */
export interface Resolver {
  lookup(hostname: string): Promise<Resolution>
  txt(hostname: string): Promise<readonly string[]>
  srv(hostname: string): Promise<readonly ServiceRecord[]>
}

export interface FileEntry {
  readonly path: string
  readonly text: string
}

export interface Files {
  read(path: string): Promise<string>
  /** Whole files below a folder (or the one file), sorted by path, whose names end in one of `extensions`. */
  readAll(path: string, extensions: readonly string[]): Promise<readonly FileEntry[]>
  /** Temporary file, sync, rename; mode 0600, folders 0700. */
  writeAtomically(path: string, text: string): Promise<void>
  remove(path: string): Promise<void>
  /** Calls `changed` after something below one of `paths` changed; calls are coalesced. */
  watch(paths: readonly string[], changed: () => void): { close(): void }
}

export interface Clock {
  /** Monotonic milliseconds, with a fraction. */
  now(): number
  /** Milliseconds since 1970. */
  wallNow(): number
  /** Calls `f` about every `periodMs` until the returned function is called. Never keeps a process alive. */
  every(periodMs: number, f: () => void): () => void
}

/** Events of a {@link QuicStream}. Calls never overlap. */
export interface QuicStreamEvents {
  /** As of a {@link Socket}: lent, unless it returns false. */
  data(bytes: Uint8Array, start: number, end: number): boolean
  /** The peer's FIN. */
  end(): void
  drain(): void
  /** The peer reset its half: what came is not all of it. Also when the connection is gone, whatever came before. */
  reset(): void
  /** The peer will not read on (STOP_SENDING): whatever we still write is lost. */
  stopped(): void
}

/** A bidirectional stream. Both halves live by themselves. RFC 9000 section 2. */
export interface QuicStream {
  attach(events: QuicStreamEvents): void
  /** @returns false when `bytes` must stay untouched until `drain()` */
  write(bytes: Uint8Array, start?: number, end?: number): boolean
  resume(): void
  /** FIN after what has been written. */
  end(): void
  /**
   * RESET_STREAM with code 0. A runtime that cannot reset leaves our half without an end, since what was broken off must
   * not look whole; unless the peer is sure to see that.
   *
   * @param isEvident an end here would be too early, and the peer knows: less than was declared, or not even a head
   */
  reset(isEvident?: boolean): void
  /** STOP_SENDING with code 0, where the peer has not ended its half. */
  stopReading(): void
}

export interface QuicConnectionEvents {
  /** The peer opened a bidirectional stream. */
  stream(stream: QuicStream): void
  /** Once, and last, after every stream was told. */
  close(error?: SocketError): void
}

export interface QuicOptions {
  readonly tls: Pick<TlsClientOptions, 'servername' | 'ca' | 'extraCa' | 'alpn'>
  /** For the whole handshake. */
  readonly timeoutMs: number
  /** Without a packet of the peer's; also during the handshake. */
  readonly idleTimeoutMs: number
  readonly keepAliveMs: number
}

/** Datagrams, unidirectional streams, migration and 0-RTT are left out: nobody here asks for them. */
export interface QuicConnection {
  readonly local: Address
  readonly remote: Address
  readonly tls?: TlsFacts | undefined
  /** Streams that the peer opened before this call are told then. */
  attach(events: QuicConnectionEvents): void
  /** The first one that a client opens has id 0. The peer sees it when something is written. */
  openStream(): Promise<QuicStream>
  /** CONNECTION_CLOSE with application code 0. */
  close(): void
}

export interface QuicListenOptions {
  /** Names at least one protocol (ALPN): QUIC has no connection without. RFC 9001 section 8.1. */
  readonly tls: TlsServerOptions
  /** Without a packet of the peer's. */
  readonly idleTimeoutMs: number
  readonly keepAliveMs: number
}

/** A UDP port, with all the connections that came in there. */
export interface QuicListener {
  readonly address: Address
  /** For connections from now on; `undefined` refuses them. Those that are there stay. */
  present(tls: TlsServerOptions | undefined): Promise<void>
  /** Closes the connections that are there, and gives the port back. */
  close(): Promise<void>
}

/** What a host must lend us. If an adapter needs more, the need is probably ours. */
export interface Runtime {
  readonly name: 'node' | 'bun' | 'deno'
  readonly version: string
  /** The machine, in Node's words: `linux`, `x64`. */
  readonly platform: { readonly os: string; readonly architecture: string }
  /** Dials an IP address: TCP, or TLS over it. Rejects with a {@link SocketError}. */
  connect(to: Address, options: ConnectOptions): Promise<Socket>
  listen(at: Address, options: ListenOptions, accept: (socket: Socket) => void): Promise<Listener>
  /** Where the runtime has QUIC. Rejects with a {@link SocketError}; code 'timeout' when nothing at all was answered. */
  connectQuic?(to: Address, options: QuicOptions): Promise<QuicConnection>
  /**
   * Where the runtime has QUIC. Port 0 lets the system choose. Rejects with a {@link SocketError}.
   *
   * @param accept is given a connection when its handshake is done; one that fails is never told
   */
  listenQuic?(
    at: Address,
    options: QuicListenOptions,
    accept: (connection: QuicConnection) => void,
  ): Promise<QuicListener>
  /** Why QUIC here is for those who ask for it alone: what is wrong with it, for a log. Absent where nothing is. */
  readonly quicReservation?: string
  readonly resolver: Resolver
  readonly files: Files
  readonly clock: Clock
  /** Calls `f` when this turn of the event loop has handed out all the events it has. */
  afterTurn(f: () => void): void
  /** Random bytes and comparisons that may face an attacker. */
  equalInConstantTime(a: Uint8Array, b: Uint8Array): boolean
}
