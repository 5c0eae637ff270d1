/**
 * QUIC over `node:quic`: what Bun has, and Node once it is built with it.
 *
 * Of Bun 1.4.5: the peer may have 100 streams open at a time, whatever is asked for; all that arrives is taken in, read
 * or not, so a budget has to bound it; STOP_SENDING is not told and has to be looked for; streams of a connection that
 * breaks end as if with FIN.
 */
import { createPrivateKey } from 'node:crypto'
import type * as Quic from 'node:quic'
import { getCACertificates } from 'node:tls'
import { setImmediate } from 'node:timers/promises'
import { getSystemErrorMap } from 'node:util'
import type {
  Address,
  QuicConnection,
  QuicListener,
  QuicListenOptions,
  QuicOptions,
  Runtime,
  SocketError,
} from '../../src/runtime.ts'
import { createPumpedConnection, type PumpedConnection } from './quic-connection.ts'
import type { StreamPort, UnreadBudget } from './quic-stream.ts'
import { socketError } from './socket-error.ts'

export interface NodeQuicOptions {
  /** For a `node:quic` that takes in what nobody reads: how much of it. */
  readonly unread?: { readonly streamBytes: number; readonly connectionBytes: number }
}

/** @returns undefined where the runtime has none */
export function nodeQuic(
  options: NodeQuicOptions = {},
): Required<Pick<Runtime, 'connectQuic' | 'listenQuic'>> | undefined {
  const { features } = process as { features: { readonly quic?: boolean } }
  if (features.quic !== true) return undefined
  return {
    connectQuic: (to, how) => inOurWords(async () => connectQuic(await load(), to, how, options)),
    listenQuic: (at, how, accept) => inOurWords(async () => listenQuic(await load(), at, how, accept, options)),
  }
}

/** It warns on stderr that it is experimental. What is to be known of it is said in our log, where somebody asks for it. */
async function load(): Promise<typeof Quic> {
  const { emitWarning } = process
  process.emitWarning = (warning: string | Error, ...rest: unknown[]) => {
    if (!String(warning).startsWith('quic is an experimental')) Reflect.apply(emitWarning, process, [warning, ...rest])
  }
  try {
    return await import('node:quic')
  } finally {
    process.emitWarning = emitWarning
  }
}

function inOurWords<T>(attempt: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject: (error: SocketError) => void) => {
    attempt().then(resolve, (error: unknown) => reject(quicError(error)))
  })
}

const closing = { code: 0, type: 'application' } as const

async function connectQuic(
  quic: typeof Quic,
  to: Address,
  options: QuicOptions,
  { unread }: NodeQuicOptions,
): Promise<QuicConnection> {
  const { tls, timeoutMs } = options
  const trusted = trustOf(tls)
  if (trusted?.length === 0) throw new Error('there is no certificate of an authority to trust')
  const endpoint = new quic.QuicEndpoint({ address: to.host.includes(':') ? '[::]:0' : '0.0.0.0:0' })
  // A failure to bind is told by the dial as well.
  endpoint.closed.catch(() => {})
  let carried: Carried | undefined
  try {
    const session = await quic.connect(formatAddress(to), {
      endpoint,
      servername: tls.servername,
      ...(tls.alpn?.[0] === undefined ? {} : { alpn: tls.alpn[0] }),
      ...(trusted ? { ca: trusted } : {}),
      handshakeTimeout: timeoutMs,
      ...timesOf(options),
      onstream: (stream) => carried!.arrived(stream),
    })
    carried = carry(session, options, unread, () => endpoint.destroy())
    const info = await session.opened
    return carried.open(info)
  } catch (error) {
    endpoint.destroy()
    throw error
  }
}

async function listenQuic(
  quic: typeof Quic,
  at: Address,
  options: QuicListenOptions,
  accept: (connection: QuicConnection) => void,
  { unread }: NodeQuicOptions,
): Promise<QuicListener> {
  const connections = new Set<PumpedConnection>()

  async function greet(session: Quic.QuicSession): Promise<void> {
    const carried = carry(session, options, unread, (gone) => {
      if (gone) connections.delete(gone)
    })
    session.onstream = (stream) => carried.arrived(stream)
    // Whoever fails the handshake has been told.
    const info = await session.opened.catch(() => undefined)
    if (!info) return
    const connection = carried.open(info)
    connections.add(connection)
    accept(connection)
  }

  const endpoint = await quic.listen((session) => void greet(session), {
    endpoint: { address: formatAddress(at) },
    sni: contextOf(options.tls),
    alpn: [...(options.tls.alpn ?? [])],
    ...timesOf(options),
  })
  // A port in use is told so late.
  endpoint.closed.catch(() => {})
  if (endpoint.destroyed) await endpoint.closed
  const { address, port } = endpoint.address!
  return {
    address: { host: address, port },
    async present(tls) {
      if (tls) endpoint.setSNIContexts(contextOf(tls), { replace: true })
      endpoint.busy = tls === undefined
    },
    async close() {
      for (const connection of connections) connection.close()
      endpoint.destroy()
    },
  }
}

interface Carried {
  arrived(stream: Quic.QuicStream): void
  /** The handshake is done. */
  open(info: Quic.SessionHandshakeInfo): PumpedConnection
}

/** @param onGone frees what the connection had */
function carry(
  session: Quic.QuicSession,
  { idleTimeoutMs }: { readonly idleTimeoutMs: number },
  unread: NodeQuicOptions['unread'],
  onGone: (connection: PumpedConnection | undefined) => void,
): Carried {
  const early: Quic.QuicStream[] = []
  let connection: PumpedConnection | undefined
  let heardBytes = 0n
  let heardAtMs = performance.now()
  let timer: NodeJS.Timeout | undefined

  function look(): void {
    const { bytesReceived } = session.stats
    if (bytesReceived !== heardBytes) {
      heardBytes = bytesReceived
      heardAtMs = performance.now()
    }
    connection?.lookForStops()
  }

  /** Nothing has come for so long that the connection ends of it. */
  function isSilent(): boolean {
    return session.stats.bytesReceived === heardBytes && performance.now() - heardAtMs > idleTimeoutMs / 2
  }

  /** Streams end before their connection does, within a turn of the loop, or a few where it ends of silence. */
  async function isEnding(): Promise<boolean> {
    if (isSilent()) return true
    await setImmediate()
    return session.destroyed
  }

  function gone(error?: SocketError): void {
    clearInterval(timer)
    connection?.lost(error)
    onGone(connection)
  }

  session.closed.then(
    () => gone(isSilent() ? { code: 'timeout', message: `nothing came for ${idleTimeoutMs} ms` } : undefined),
    (error: unknown) => gone(quicError(error)),
  )

  return {
    arrived(stream) {
      // Every stream's own end rejects somewhere, and the connection's in all of them.
      stream.closed.catch(() => {})
      if (connection) connection.arrived(portOf(stream, isEnding))
      else early.push(stream)
    },
    open({ local, remote, servername, protocol }) {
      const budget: UnreadBudget | undefined = unread && { ...unread, usedBytes: 0 }
      connection = createPumpedConnection(
        {
          local: addressOf(local),
          remote: addressOf(remote),
          tls: { ...(protocol ? { alpn: protocol } : {}), ...(servername ? { servername } : {}) },
          async open() {
            const stream = await session.createBidirectionalStream()
            stream.closed.catch(() => {})
            return portOf(stream, isEnding)
          },
          close: () => void setImmediate().then(() => session.destroy(undefined, closing)),
        },
        budget,
      )
      for (const stream of early.splice(0)) connection.arrived(portOf(stream, isEnding))
      timer = setInterval(look, Math.min(1_000, idleTimeoutMs / 4))
      timer.unref()
      return connection
    },
  }
}

/** How much waits in the runtime before a write has to wait. */
const writeBytes = 65_536
/** A well-known symbol of Node's streams/iter; the module that exports it is experimental too. */
const drainable: unique symbol = Symbol.for('Stream.drainableProtocol') as never

/** The parts of the writer that we use. */
interface Writer {
  writeSync(bytes: Uint8Array): boolean
  endSync(): number
  /** null once nobody reads. */
  readonly desiredSize: number | null
  [drainable](): Promise<boolean> | null
}

/** Whatever the runtime's stream is told after its end throws, and is of no interest to anybody. */
function attempt(f: () => unknown): void {
  try {
    f()
  } catch {}
}

/** @param isEnding whether an end is no FIN but that of the connection */
function portOf(stream: Quic.QuicStream, isEnding: () => Promise<boolean>): StreamPort {
  stream.highWaterMark = writeBytes
  const batches = stream[Symbol.asyncIterator]()
  const writer = stream.writer as unknown as Writer

  async function write(bytes: Uint8Array): Promise<void> {
    while (!writer.writeSync(bytes)) {
      if (writer.desiredSize === null) throw new Error('nobody reads')
      await writer[drainable]()
    }
    // Not more at a time than there is room for: what is written is kept until it is acknowledged.
    if (writer.desiredSize === 0) await writer[drainable]()
  }

  return {
    async read() {
      const { done, value } = await batches.next()
      if (!done) return value
      if (await isEnding()) throw new Error('the connection is gone')
      return undefined
    },
    write,
    end: () => attempt(() => writer.endSync()),
    reset: () => attempt(() => stream.resetStream(0n)),
    stopReading: () => attempt(() => stream.stopSending(0n)),
    get isStopped() {
      return writer.desiredSize === null
    },
  }
}

/** The library's types lag behind its documentation. */
declare module 'node:quic' {
  interface QuicStream {
    resetStream(code: bigint): void
    stopSending(code: bigint): void
  }
  interface SessionOptions {
    keepAlive?: number
  }
}

/** PEM, one authority each; `undefined` for the runtime's own, empty where there is none. */
function trustOf({ ca, extraCa }: QuicOptions['tls']): Uint8Array[] | undefined {
  if (ca === undefined && extraCa === undefined) return undefined
  const pems = ca === undefined ? [...getCACertificates('default'), extraCa!] : [ca]
  return pems.flatMap(splitPem).map((pem) => new TextEncoder().encode(pem))
}

function splitPem(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []
}

function contextOf({ cert, key }: QuicListenOptions['tls']): Record<string, Quic.SNIEntry> {
  return { '*': { keys: [createPrivateKey(key)], certs: [new TextEncoder().encode(cert)] } }
}

function timesOf({ idleTimeoutMs, keepAliveMs }: { readonly idleTimeoutMs: number; readonly keepAliveMs: number }): {
  keepAlive: number
  transportParams: Quic.TransportParams
} {
  const transportParams: Quic.TransportParams = {
    // Whole seconds.
    maxIdleTimeout: Math.ceil(idleTimeoutMs / 1_000),
    initialMaxData: connectionWindowBytes,
    initialMaxStreamDataBidiLocal: streamWindowBytes,
    initialMaxStreamDataBidiRemote: streamWindowBytes,
  }
  return { keepAlive: keepAliveMs, transportParams }
}

function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function addressOf({ address, port }: { readonly address: string; readonly port: number }): Address {
  return { host: address, port }
}

/** Said outright, since Bun's client says 0 for streams that the server opens, and then breaks off on their bytes. */
const streamWindowBytes = 1024 * 1024
const connectionWindowBytes = 8 * 1024 * 1024

const refused = 2n
const cryptoErrors = [0x100n, 0x1ffn] as const

/** @see RFC 9000 section 20.1 */
function quicError(error: unknown): SocketError {
  const { errorCode, message = String(error) } = error as { errorCode?: bigint; message?: string }
  const bindFailure = /bind failure \((\d+)\)/i.exec(message)?.[1]
  if (bindFailure !== undefined) return { ...socketError({ code: errnoName(Number(bindFailure)), message }) }
  if (/timed out/.test(message)) return { code: 'timeout', message }
  if (errorCode === refused) return { code: 'refused', message }
  const isCrypto = errorCode !== undefined && errorCode >= cryptoErrors[0] && errorCode <= cryptoErrors[1]
  if (isCrypto || /certificate/i.test(message)) return { code: 'tls', message }
  return socketError(error)
}

function errnoName(errno: number): string {
  return getSystemErrorMap().get(-errno)?.[0] ?? ''
}
