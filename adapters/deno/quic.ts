/**
 * QUIC on Deno, which has it with `--unstable-net`.
 *
 * What its API cannot do: send RESET_STREAM (a send half that is let go of ends with FIN, as if it were whole); say that
 * the peer stopped reading before something is written; trust an authority in place of the system's instead of beside
 * them; set flow control windows; free the UDP port of an endpoint before the garbage collector has found it.
 */
import type {
  Address,
  QuicConnection,
  QuicListener,
  QuicListenOptions,
  QuicOptions,
  Runtime,
  SocketError,
} from '../../src/runtime.ts'
import { createPumpedConnection, type PumpedConnection } from '../portable/quic-connection.ts'
import type { StreamPort } from '../portable/quic-stream.ts'

/**
 * Streams that the peer may have open at a time. Each takes memory from the beginning, and each may hold 1.25 MB that
 * nobody has read, so it can't be without limit as QUIC allows.
 */
const maxStreams = 10_000

/** Streams that should have been reset and could not be. A connection with so many is closed, which ends them all. */
const maxAbandoned = 100

/** Empty where Deno runs without `--unstable-net`. */
export function denoQuic(): Pick<Runtime, 'connectQuic' | 'listenQuic'> {
  if (!('connectQuic' in Deno && 'QuicEndpoint' in Deno)) return {}
  return {
    connectQuic: (to, options) => inOurWords(() => connectQuic(to, options)),
    listenQuic: (at, options, accept) => inOurWords(() => listenQuic(at, options, accept)),
  }
}

function inOurWords<T>(attempt: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject: (error: SocketError) => void) => {
    attempt().then(resolve, (error: unknown) => reject(errorOf(error)))
  })
}

async function connectQuic(to: Address, options: QuicOptions): Promise<QuicConnection> {
  const { tls, timeoutMs } = options
  const trusted = tls.ca ?? tls.extraCa
  if (trusted !== undefined && !trusted.includes('-----BEGIN ')) {
    throw new Error('there is no certificate of an authority to trust')
  }
  let timer: ReturnType<typeof setTimeout> | undefined
  let endpoint: Deno.QuicEndpoint | undefined
  try {
    endpoint = new Deno.QuicEndpoint({ hostname: to.host.includes(':') ? '::' : '0.0.0.0', port: 0 })
    const dialled = Deno.connectQuic<false>({
      endpoint,
      hostname: to.host,
      port: to.port,
      serverName: tls.servername,
      ...(trusted === undefined ? {} : { caCerts: [trusted] }),
      alpnProtocols: [...(tls.alpn ?? [])],
      ...timesOf(options),
      maxConcurrentBidirectionalStreams: maxStreams,
    })
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('timed out')), timeoutMs)
    })
    return carry(await Promise.race([dialled, late]), endpoint, () => endpoint?.close())
  } catch (error) {
    endpoint?.close()
    throw error
  } finally {
    clearTimeout(timer)
  }
}

async function listenQuic(
  at: Address,
  options: QuicListenOptions,
  accept: (connection: QuicConnection) => void,
): Promise<QuicListener> {
  const connections = new Set<PumpedConnection>()
  /** All that there ever were: one that is collected stops the one that took its place. */
  const listeners: Deno.QuicListener[] = []
  let accepting = true

  function present({ cert, key, alpn = [] }: QuicListenOptions['tls']): void {
    const streams = { maxConcurrentBidirectionalStreams: maxStreams }
    listeners.push(endpoint.listen({ cert, key, alpnProtocols: [...alpn], ...timesOf(options), ...streams }))
  }

  async function greet(incoming: Deno.QuicIncoming): Promise<void> {
    if (!accepting) {
      incoming.refuse()
      return
    }
    // Whoever fails the handshake has been told.
    const greeted = await Promise.resolve(incoming.accept()).catch(() => undefined)
    if (!greeted) return
    const connection = carry(greeted, endpoint, () => connections.delete(connection))
    connections.add(connection)
    accept(connection)
  }

  async function greetAll(listener: Deno.QuicListener): Promise<void> {
    for (;;) {
      let incoming: Deno.QuicIncoming
      try {
        incoming = await listener.incoming()
      } catch {
        return // the endpoint is closed
      }
      void greet(incoming)
    }
  }

  const endpoint = new Deno.QuicEndpoint({ hostname: at.host, port: at.port })
  present(options.tls)
  // It hands out what comes to the endpoint, whichever listener's certificate is shown.
  void greetAll(listeners[0]!)

  return {
    address: addressOf(endpoint.addr),
    async present(tls) {
      if (tls) present(tls)
      accepting = tls !== undefined
    },
    async close() {
      accepting = false
      for (const connection of connections) connection.close()
      endpoint.close()
    },
  }
}

/** @param onGone frees what the connection had */
function carry(conn: Deno.QuicConn, endpoint: Deno.QuicEndpoint, onGone: () => void): PumpedConnection {
  /** Kept, so that nobody ends them. */
  const abandoned = new Set<Deno.QuicBidirectionalStream>()

  function abandon(stream: Deno.QuicBidirectionalStream): void {
    abandoned.add(stream)
    if (abandoned.size > maxAbandoned) conn.close({ closeCode: 0, reason: '' })
  }

  const connection = createPumpedConnection({
    local: addressOf(endpoint.addr),
    remote: addressOf(conn.remoteAddr),
    tls: {
      ...(conn.protocol ? { alpn: conn.protocol } : {}),
      ...(conn.serverName ? { servername: conn.serverName } : {}),
    },
    open: async () => portOf(await conn.createBidirectionalStream({ waitUntilAvailable: true }), abandon),
    close: () => conn.close({ closeCode: 0, reason: '' }),
  })

  function gone(error?: SocketError): void {
    connection.lost(error)
    abandoned.clear()
    onGone()
  }

  async function arrivals(): Promise<void> {
    for await (const stream of conn.incomingBidirectionalStreams) connection.arrived(portOf(stream, abandon))
  }

  conn.closed.then(
    () => gone(),
    (error: unknown) => gone(errorOf(error)),
  )
  // The connection is gone, and says so itself.
  arrivals().catch(() => {})
  return connection
}

function portOf(
  stream: Deno.QuicBidirectionalStream,
  abandon: (stream: Deno.QuicBidirectionalStream) => void,
): StreamPort {
  const reader = stream.readable.getReader()
  const writer = stream.writable.getWriter()
  // Told by the next write as well.
  writer.closed.catch(() => {})
  reader.closed.catch(() => {})
  let isReset = false
  const end = (): void => void writer.close().catch(() => {})
  return {
    async read() {
      try {
        const { value } = await reader.read()
        return value && [value]
      } catch (error) {
        isReset = true
        throw error
      }
    },
    write: (bytes) => writer.write(bytes),
    end,
    // Whoever reset its own half takes nothing of ours for whole.
    reset: (isEvident) => (isReset || isEvident ? end() : abandon(stream)),
    stopReading: () => void reader.cancel().catch(() => {}),
  }
}

function timesOf({ idleTimeoutMs, keepAliveMs }: { readonly idleTimeoutMs: number; readonly keepAliveMs: number }): {
  maxIdleTimeout: number
  keepAliveInterval: number
} {
  return { maxIdleTimeout: idleTimeoutMs, keepAliveInterval: keepAliveMs }
}

function addressOf({ hostname, port }: Deno.NetAddr | { hostname: string; port: number }): Address {
  return { host: hostname, port }
}

/** Deno's errors have no codes: quinn's words are all there is. */
const codes: readonly (readonly [RegExp, SocketError['code']])[] = [
  [/timed out/i, 'timeout'],
  [/cryptographic handshake failed|certificate|invalid dns name/i, 'tls'],
  [/refused/i, 'refused'],
  [/reset by peer/i, 'reset'],
  [/address (?:already )?in use/i, 'busy'],
  [/network is unreachable|no route to host|cannot assign|not available/i, 'unreachable'],
  [/requires net access|permission denied|not permitted/i, 'denied'],
]

function errorOf(error: unknown): SocketError {
  const message = error instanceof Error ? error.message : String(error)
  return { code: codes.find(([words]) => words.test(message))?.[1] ?? 'other', message }
}
