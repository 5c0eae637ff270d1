/**
 * A QUIC connection: datagrams go into quiche, then its streams are served, then what it wants to send goes out; once per
 * turn of the event loop, however much came in. Calls of the owner are answered at once and take effect in that turn.
 */
import type {
  Address,
  QuicConnection,
  QuicConnectionEvents,
  QuicStream,
  SocketError,
  TlsFacts,
} from '../../../src/runtime.ts'
import type { NativeConnection } from './binding.ts'
import { endOf } from './quic-error.ts'
import { QuicheStream, type Carrier } from './stream.ts'

/** The way that packets take. */
export interface Path {
  readonly local: Address
  readonly remote: Address
  /** The bytes stay untouched afterwards. */
  send(packets: Uint8Array, start: number, end: number): void
  /** Nothing goes this way any more. */
  close(): void
}

export interface Settings {
  readonly role: 'client' | 'server'
  readonly keepAliveMs: number
  /** @returns why the handshake that quiche is content with will not do, if so */
  readonly judge: (tls: TlsFacts) => SocketError | undefined
  /** Exactly one of these two is called, once. */
  readonly established: (connection: QuicheConnection) => void
  readonly failed: (error: SocketError) => void
}

const slabBytes = 65_536
/** More than quiche makes of a packet. */
const roomBytes = 1_500
/** Of packets in one turn, so that acknowledgements are read between them. */
const turnPackets = 64
const readBytes = 32_768
const spareBuffers = 8
/** So many streams are looked at in every turn for what quiche does not tell by itself; more, once in a while. */
const fewStreams = 16
const checkMs = 50
/** How long closing waits for the peer to have everything that was sent. */
const lingerMs = 1_000
const nothing = new Uint8Array(0)
/** CRYPTO_ERROR with the alert bad_certificate. RFC 9001 section 4.8, RFC 8446 section 6. */
const badCertificate = 0x12a

export class QuicheConnection implements QuicConnection, Carrier {
  readonly native: NativeConnection
  readonly local: Address
  readonly remote: Address
  tls: TlsFacts | undefined
  readBuffer: Uint8Array = new Uint8Array(readBytes)
  /** Something of the peer's came, whatever it was. */
  heard = false
  private readonly path: Path
  private readonly settings: Settings
  private readonly info: { readonly from: Address; readonly to: Address }
  private events: QuicConnectionEvents | undefined
  private state: 'handshake' | 'open' | 'closing' | 'over' = 'handshake'
  private error: SocketError | undefined
  private awake = false
  private readonly streams = new Map<number, QuicheStream>()
  private readonly unsettled = new Set<QuicheStream>()
  private readonly blocked = new Set<QuicheStream>()
  private readonly openers: { open(): boolean; fail(): void }[] = []
  private nextId: number
  private checkDue = false
  private checkTimer: NodeJS.Timeout | undefined
  private slab = Buffer.allocUnsafeSlow(slabBytes)
  private slabUsed = 0
  private readonly spare: Uint8Array[] = []
  private timer: NodeJS.Timeout | undefined
  private timerAtMs = Infinity
  private timeIsUp = false
  private readonly keepAlive: NodeJS.Timeout
  private lingerUntilMs = 0

  constructor(native: NativeConnection, path: Path, settings: Settings) {
    this.native = native
    this.path = path
    this.local = path.local
    this.remote = path.remote
    this.settings = settings
    this.info = { from: path.remote, to: path.local }
    this.nextId = settings.role === 'client' ? 0 : 1
    this.keepAlive = setInterval(() => this.ping(), settings.keepAliveMs)
    this.keepAlive.unref()
    this.wake()
  }

  // --- the owner's side

  attach(events: QuicConnectionEvents): void {
    this.events = events
    if (this.state === 'over') queueMicrotask(() => events.close(this.error))
    else this.wake()
  }

  openStream(): Promise<QuicStream> {
    return new Promise((resolve, reject: (error: SocketError) => void) => {
      const opener = {
        open: (): boolean => {
          const stream = this.tryOpen()
          if (stream) resolve(stream)
          return stream !== undefined
        },
        fail: () => reject({ code: 'reset', message: 'the connection is closed' }),
      }
      if (this.state !== 'open') opener.fail()
      else if (this.openers.length > 0 || !opener.open()) this.openers.push(opener)
    })
  }

  close(): void {
    if (this.state === 'handshake') this.giveUp({ code: 'other', message: 'closed during the handshake' })
    if (this.state !== 'open') return
    this.state = 'closing'
    this.lingerUntilMs = performance.now() + lingerMs
    this.wake()
  }

  // --- what moves it

  receive(datagram: Uint8Array): void {
    if (this.state === 'over') return
    this.heard = true
    try {
      this.native.recv(datagram, this.info)
    } catch {
      // Not for us, or broken: if it matters, quiche has closed the connection.
    }
    if (this.streams.size <= fewStreams) this.checkDue = true
    else this.checkLater()
    this.wake()
  }

  /** Ends the handshake for a reason of our own. */
  giveUp(error: SocketError): void {
    if (this.state === 'over') return
    this.closeNative(false, error.code === 'tls' ? badCertificate : 0)
    this.flush()
    this.finish(error)
  }

  /** CONNECTION_CLOSE now, whatever is under way. */
  abort(): void {
    if (this.state === 'over') return
    this.closeNative(true, 0)
    this.flush()
    this.finish(undefined)
  }

  // --- for its streams

  replaceReadBuffer(): void {
    this.readBuffer = this.spare.pop() ?? new Uint8Array(readBytes)
  }

  returnReadBuffer(buffer: Uint8Array): void {
    if (this.spare.length < spareBuffers) this.spare.push(buffer)
  }

  settleSoon(stream: QuicheStream): void {
    this.unsettled.add(stream)
    this.wake()
  }

  flushLater(stream: QuicheStream): void {
    this.blocked.add(stream)
  }

  forget(stream: QuicheStream): void {
    this.streams.delete(stream.id)
  }

  checkLater(): void {
    this.checkTimer ??= setTimeout(() => this.checkLate(), checkMs).unref()
  }

  wake(): void {
    if (this.awake || this.state === 'over') return
    this.awake = true
    setImmediate(() => this.turn())
  }

  // --- one turn

  private turn(): void {
    this.awake = false
    const { native } = this
    if (this.timeIsUp) native.onTimeout()
    this.timeIsUp = false
    if (this.state === 'handshake' && native.isEstablished()) this.greet()
    if (this.state === 'open') this.serve()
    if (this.state === 'closing') this.wind()
    if (this.isOver()) return
    const more = this.flush()
    if (native.isDraining() || native.isClosed()) this.finish(endOf(native))
    else if (this.state === 'closing' && !more && this.isDelivered()) this.abort()
    if (this.isOver()) return
    this.arm()
    if (more || this.unsettled.size > 0) this.wake()
  }

  private isOver(): boolean {
    return this.state === 'over'
  }

  private greet(): void {
    const { native } = this
    const [peerCertificate] = native.peerCertChain() ?? []
    const servername = native.serverName()
    this.tls = {
      alpn: Buffer.from(native.applicationProto()).toString('latin1'),
      ...(servername === null ? {} : { servername }),
      ...(peerCertificate ? { peerCertificate } : {}),
    }
    const problem = this.settings.judge(this.tls)
    if (problem) {
      this.giveUp(problem)
      return
    }
    this.state = 'open'
    this.settings.established(this)
  }

  private serve(): void {
    while (this.openers[0]?.open()) this.openers.shift()
    this.settle()
    if (this.events) this.read(this.events)
    this.check()
    this.write()
    this.settle()
  }

  private settle(): void {
    const due = [...this.unsettled]
    this.unsettled.clear()
    for (const stream of due) {
      if (this.state === 'open') stream.settle()
    }
  }

  private read(events: QuicConnectionEvents): void {
    const { native } = this
    if (!native.isReadable()) return
    while (native.dgramRecvVec() !== null);
    for (const id of native.readable()) {
      if (this.state !== 'open') return
      let stream = this.streams.get(id)
      if (!stream) {
        if (this.isOurs(id)) continue
        stream = this.addStream(id)
        events.stream(stream)
      }
      if (stream.read()) this.settleSoon(stream)
    }
  }

  private isOurs(id: number): boolean {
    return (id & 1) === (this.settings.role === 'client' ? 0 : 1)
  }

  private check(): void {
    if (!this.checkDue) return
    this.checkDue = false
    for (const stream of this.streams.values()) {
      if (this.state === 'open') stream.check()
    }
  }

  private checkLate(): void {
    this.checkTimer = undefined
    this.checkDue = true
    this.wake()
  }

  /** Each stream that waits gets a share, again and again, until there is no more room. */
  private write(): void {
    for (let waiting = [...this.blocked]; waiting.length > 0;) {
      const next: QuicheStream[] = []
      for (const stream of waiting) {
        if (stream.flush()) next.push(stream)
        if (!stream.waits) this.blocked.delete(stream)
      }
      waiting = next
    }
  }

  /** @returns whether there may be more to send */
  private flush(): boolean {
    for (let i = 0; i < turnPackets; i++) {
      if (this.slab.length - this.slabUsed < roomBytes) {
        this.slab = Buffer.allocUnsafeSlow(slabBytes)
        this.slabUsed = 0
      }
      const start = this.slabUsed
      let sent: readonly [number, unknown] | null
      try {
        sent = this.native.send(this.slab.subarray(start))
      } catch {
        return false // it has closed itself, which is seen next
      }
      if (sent === null) return false
      this.slabUsed += sent[0]
      this.path.send(this.slab, start, this.slabUsed)
    }
    return true
  }

  /** The owner has closed: nothing is read, and of what is written only that which has come to its end goes out. */
  private wind(): void {
    for (const [id, stream] of this.streams) {
      stream.gone()
      if (!stream.waits) this.streams.delete(id)
    }
    this.unsettled.clear()
    this.write()
  }

  /**
   * Whether the peer has everything, or had its time. As long as something is not acknowledged, quiche wants to be called
   * soon to send it again; and then only when the connection has been idle for too long.
   */
  private isDelivered(): boolean {
    const restMs = this.lingerUntilMs - performance.now()
    if (restMs <= 0) return true
    const dueInMs = this.native.timeout()
    return this.blocked.size === 0 && (dueInMs === null || dueInMs > restMs)
  }

  private finish(error: SocketError | undefined): void {
    if (this.state === 'over') return
    const { state } = this
    this.state = 'over'
    this.error = error
    clearTimeout(this.timer)
    clearTimeout(this.checkTimer)
    clearInterval(this.keepAlive)
    this.path.close()
    for (const stream of this.streams.values()) stream.gone()
    this.streams.clear()
    this.blocked.clear()
    for (const opener of this.openers.splice(0)) opener.fail()
    if (state === 'handshake')
      this.settings.failed(error ?? { code: 'reset', message: 'the peer closed the connection' })
    else this.events?.close(error)
  }

  // --- time

  private arm(): void {
    const dueInMs = this.native.timeout()
    const dueAtMs = dueInMs === null ? Infinity : performance.now() + dueInMs
    const atMs = this.state === 'closing' ? Math.min(dueAtMs, this.lingerUntilMs) : dueAtMs
    // One that comes early finds that it is early.
    if (atMs >= this.timerAtMs) return
    clearTimeout(this.timer)
    this.timerAtMs = atMs
    this.timer = setTimeout(() => this.timeout(), Math.max(1, Math.ceil(atMs - performance.now())))
    this.timer.unref()
  }

  /** After a busy while, what has arrived meanwhile is read first: somebody may have been heard after all. */
  private timeout(): void {
    this.timerAtMs = Infinity
    this.timeIsUp = true
    this.wake()
  }

  private ping(): void {
    if (this.state !== 'open') return
    this.native.sendAckEliciting()
    this.wake()
  }

  // ---

  private tryOpen(): QuicheStream | undefined {
    try {
      this.native.streamSend(this.nextId, nothing, false)
    } catch {
      return undefined // the peer grants no more streams for now
    }
    const stream = this.addStream(this.nextId)
    this.nextId += 4
    return stream
  }

  private addStream(id: number): QuicheStream {
    const stream = new QuicheStream(id, this)
    this.streams.set(id, stream)
    return stream
  }

  private closeNative(application: boolean, code: number): void {
    try {
      this.native.close(application, code, nothing)
    } catch {
      // It is closed already.
    }
  }
}
