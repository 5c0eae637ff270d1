/** Our `Socket` over `net.Socket` and `tls.TLSSocket`, as Node, Bun and Deno all have them. */
import type { Socket as NodeSocket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Address, Socket, SocketError, SocketEvents, TlsFacts } from '../../src/runtime.ts'
import { Inbox, type Tap } from './inbox.ts'
import { joint, jointBytes, keepJoint } from './joint.ts'
import { socketError } from './socket-error.ts'

/**
 * Buffers that a dialled socket reads into (`onread` of `net.connect`), so that none is made for each read. Made before
 * the socket is. Bytes that somebody keeps stay as they are: the next read goes to another buffer.
 */
export interface OwnBuffer {
  current: Uint8Array
  /** Where reads go once the socket is wrapped. Returns true when the buffer may be read into again. */
  deliver: (bytes: Uint8Array, count: number) => boolean
}

export class NetSocket implements Socket, Tap {
  readonly local: Address
  readonly remote: Address
  readonly tls: TlsFacts | undefined
  private readonly socket: NodeSocket
  private readonly inbox: Inbox
  private readonly reclaim: ((read: Uint8Array) => void) | undefined
  private spare: Uint8Array | undefined
  private blocked = false
  private error: SocketError | undefined
  private readonly written = (): void => {
    if (!this.blocked || this.socket.writableLength > 0) return
    this.blocked = false
    this.inbox.events?.drain()
  }

  /** @param reclaim is given each read that the runtime made memory for, when nobody keeps it any more */
  constructor(socket: NodeSocket, buffer?: OwnBuffer, reclaim?: (read: Uint8Array) => void) {
    this.socket = socket
    this.local = { host: socket.localAddress ?? '', port: socket.localPort ?? 0 }
    this.remote = { host: unmapped(socket.remoteAddress ?? ''), port: socket.remotePort ?? 0 }
    this.tls = 'getProtocol' in socket ? tlsFacts(socket as TLSSocket) : undefined
    this.inbox = new Inbox(this)
    this.reclaim = reclaim
    if (buffer) {
      buffer.deliver = (bytes, count) => {
        const free = this.inbox.read(bytes, count)
        if (!free) {
          buffer.current = this.spare ?? new Uint8Array(bytes.length)
          this.spare = undefined
        }
        return true // the inbox stops the socket itself
      }
    }
    this.listen(buffer === undefined)
  }

  private listen(readsByEvent: boolean): void {
    const { socket, inbox } = this
    if (readsByEvent) {
      const read = (chunk: Buffer): void => {
        if (inbox.read(chunk, chunk.length)) this.reclaim?.(chunk)
      }
      socket.on('data', read)
      socket.pause() // until there is an owner
      takeReads(socket, read)
    }
    socket.on('error', (error: NodeJS.ErrnoException) => (this.error = socketError(error)))
    socket.on('end', () => inbox.end())
    socket.on('close', () => inbox.close(this.error))
  }

  /** @internal */
  stop(): void {
    this.socket.pause()
  }

  /** @internal */
  start(): void {
    this.socket.resume()
  }

  /** @internal */
  released(bytes: Uint8Array): void {
    if (this.reclaim) this.reclaim(bytes)
    else this.spare = bytes
  }

  attach(events: SocketEvents): void {
    const first = this.inbox.events === undefined
    this.inbox.attach(events)
    if (first) this.socket.resume()
  }

  latin1(bytes: Uint8Array, start: number, end: number): string {
    return latin1(bytes, start, end)
  }

  equal(bytes: Uint8Array, start: number, end: number, others: Uint8Array): boolean {
    return equalBytes(bytes, start, end, others)
  }

  write(head: string, body?: Uint8Array, start = 0, end = 0, tail = ''): boolean {
    const { socket } = this
    if (socket.destroyed || socket.writableEnded) return true
    const size = end - start
    // A callback costs a tick, also where the system takes everything at once: as it mostly does, but under TLS.
    const told = this.tls ? this.written : undefined
    let joined: string | Uint8Array | undefined
    if (body === undefined || size === 0) {
      if (head !== '' || tail !== '') socket.write(head + tail, 'latin1', told)
    } else if (head === '' && tail === '') {
      socket.write(view(body, start, end), told)
    } else if (head.length + size + tail.length <= jointBytes) {
      joined = this.tls ? head + latin1(body, start, end) + tail : joint(head, body, start, end, tail)
      socket.write(joined, 'latin1', told)
    } else {
      socket.cork()
      if (head !== '') socket.write(head, 'latin1')
      socket.write(view(body, start, end), told)
      if (tail !== '') socket.write(tail, 'latin1', told)
      socket.uncork()
    }
    if (socket.writableLength === 0) return true
    if (typeof joined === 'object') keepJoint()
    if (!told) socket.write('', 'latin1', this.written)
    this.blocked = true
    return false
  }

  pause(): void {
    this.inbox.pause()
  }

  resume(): void {
    this.inbox.resume()
  }

  end(): void {
    this.socket.end()
  }

  destroy(reason?: 'reset'): void {
    this.inbox.abandon()
    // Over TLS there is no reset to send (and Node throws): a connection that ends without close_notify was cut off.
    if (reason === 'reset' && !this.tls && !this.socket.destroyed) this.socket.resetAndDestroy()
    else this.socket.destroy()
  }
}

/**
 * Every Readable hands its reads to `push` (Node's stream documentation, "Implementing a readable stream"). While the
 * stream flows and holds nothing, what comes there is what 'data' would tell, without the stream's own work in between:
 * to the stream it looks like a read that has not been answered yet.
 */
function takeReads(socket: NodeSocket, read: (chunk: Buffer) => void): void {
  const { push } = socket
  socket.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
    if (chunk === null || socket.readableFlowing !== true || socket.readableLength > 0 || chunk.length === 0)
      return push.call(socket, chunk, encoding)
    read(chunk)
    return true
  }
}

function view(bytes: Uint8Array, start: number, end: number): Buffer {
  return Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset + start, end - start)
}

export function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.prototype.latin1Slice.call(bytes, start, end)
}

export function equalBytes(bytes: Uint8Array, start: number, end: number, others: Uint8Array): boolean {
  return Buffer.prototype.compare.call(bytes, others, 0, others.length, start, end) === 0
}

/** `::ffff:192.0.2.1` is how a dual-stack listener shows IPv4. */
function unmapped(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

function tlsFacts(socket: TLSSocket): TlsFacts {
  const servername = (socket as { servername?: string | false }).servername
  const certificate = socket.getPeerCertificate()
  return {
    ...(socket.alpnProtocol ? { alpn: socket.alpnProtocol } : {}),
    ...(servername ? { servername } : {}),
    ...('raw' in certificate ? { peerCertificate: certificate.raw } : {}),
  }
}
