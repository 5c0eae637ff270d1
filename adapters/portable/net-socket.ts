/** Our `Socket` over `net.Socket` and `tls.TLSSocket`, as Node, Bun and Deno all have them. */
import type { Socket as NodeSocket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Address, Socket, SocketError, SocketEvents, TlsFacts } from '../../src/runtime.ts'
import { socketError } from './socket-error.ts'

/** Node writes strings up to this size from the stack, in one system call and without a copy on the heap. */
const oneWriteBytes = 16_384

/**
 * Reads into a buffer of its own (`onread` of `net.connect`), so that no buffer is made for each read. Made before the
 * socket is.
 */
export interface OwnBuffer {
  readonly bytes: Uint8Array
  /** Where reads go once the socket is wrapped. */
  deliver: (count: number) => boolean
}

export class NetSocket implements Socket {
  readonly local: Address
  readonly remote: Address
  readonly tls: TlsFacts | undefined
  private readonly socket: NodeSocket
  private readonly buffer: OwnBuffer | undefined
  private events: SocketEvents | undefined
  private blocked = false
  private early = 0 // bytes in our buffer that came before the first owner
  private ended = false
  private error: SocketError | undefined
  private closed = false
  private readonly written = (): void => {
    if (!this.blocked || this.socket.writableLength > 0) return
    this.blocked = false
    this.events?.drain()
  }

  constructor(socket: NodeSocket, buffer?: OwnBuffer) {
    this.socket = socket
    this.buffer = buffer
    this.local = { host: socket.localAddress ?? '', port: socket.localPort ?? 0 }
    this.remote = { host: unmapped(socket.remoteAddress ?? ''), port: socket.remotePort ?? 0 }
    this.tls = 'getProtocol' in socket ? tlsFacts(socket as TLSSocket) : undefined
    if (buffer) {
      buffer.deliver = (count) => {
        if (this.events) return this.events.data(buffer.bytes, 0, count)
        this.early = count
        return false
      }
    }
    socket.on('error', (error: NodeJS.ErrnoException) => (this.error = socketError(error)))
    socket.on('end', () => {
      this.ended = true
      this.events?.end()
    })
    socket.on('close', () => {
      this.closed = true
      this.events?.close(this.error)
    })
  }

  attach(events: SocketEvents): void {
    const first = this.events === undefined
    this.events = events
    if (!first) return
    if (!this.buffer) {
      this.socket.on('data', (chunk: Buffer) => {
        if (!this.events!.data(chunk, 0, chunk.length)) this.socket.pause()
      })
    } else if (this.early > 0) {
      const count = this.early
      this.early = 0
      if (events.data(this.buffer.bytes, 0, count)) this.socket.resume()
    }
    if (this.ended) queueMicrotask(() => this.events!.end())
    if (this.closed) queueMicrotask(() => this.events!.close(this.error))
  }

  latin1(bytes: Uint8Array, start: number, end: number): string {
    return latin1(bytes, start, end)
  }

  write(head: string, body?: Uint8Array, start = 0, end = 0, tail = ''): boolean {
    const { socket } = this
    if (socket.destroyed || socket.writableEnded) return true
    const size = end - start
    if (body === undefined || size === 0) {
      if (head !== '' || tail !== '') socket.write(head + tail, 'latin1', this.written)
    } else if (head.length + size + tail.length <= oneWriteBytes) {
      socket.write(head + latin1(body, start, end) + tail, 'latin1', this.written)
    } else {
      const view = Buffer.from(body.buffer as ArrayBuffer, body.byteOffset + start, size)
      if (head === '' && tail === '') socket.write(view, this.written)
      else {
        socket.cork()
        if (head !== '') socket.write(head, 'latin1')
        socket.write(view, this.written)
        if (tail !== '') socket.write(tail, 'latin1', this.written)
        socket.uncork()
      }
    }
    if (socket.writableLength === 0) return true
    this.blocked = true
    return false
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  end(): void {
    this.socket.end()
  }

  destroy(reason?: 'reset'): void {
    if (reason === 'reset' && !this.socket.destroyed && 'resetAndDestroy' in this.socket) this.socket.resetAndDestroy()
    else this.socket.destroy()
  }
}

export function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.prototype.latin1Slice.call(bytes, start, end)
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
