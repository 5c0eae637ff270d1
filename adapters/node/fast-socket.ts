/**
 * A TCP socket on Node's own stream handle, past `net.Socket`'s streams: no Readable, no Writable, no tick for each write.
 *
 * The handle's methods are Node's inner API (`lib/internal/stream_base_commons.js`, `src/stream_base.cc`), the same since
 * Node 12, but promised to nobody. So this is only used when everything it needs is there and a self-test passed
 * (`fast-sockets.ts`), and it can be switched off. `net.Socket` keeps the lifecycle: connecting, shutting down, closing.
 */
import type { Socket as NodeSocket } from 'node:net'
import { getSystemErrorName } from 'node:util'
import { socketError } from '../portable/socket-error.ts'
import { Inbox, type Tap } from '../portable/inbox.ts'
import { joint, jointBytes, keepJoint } from '../portable/joint.ts'
import { equalBytes, latin1 } from '../portable/net-socket.ts'
import type { Address, Socket, SocketError, SocketEvents } from '../../src/runtime.ts'
import type { ReadBuffers } from './read-buffers.ts'

/** What we use of Node's `TCP` handle. */
export interface StreamHandle {
  onread: (arrayBuffer?: ArrayBuffer) => Uint8Array | undefined
  readStart(): number
  readStop(): number
  useUserBuffer(buffer: Uint8Array): void
  writeLatin1String(request: WriteRequest, text: string): number
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number
  writev(request: WriteRequest, chunks: readonly (string | Uint8Array)[], allBuffers: boolean): number
}

export interface WriteRequest {
  handle: StreamHandle
  oncomplete: (status: number) => void
  /** What the system is still reading from: nobody else need refer to it, and Node's handle does not. */
  borrowed: Uint8Array | undefined
}

/** `process.binding('stream_wrap')`, as far as we use it. */
export interface StreamBinding {
  readonly WriteWrap: new () => WriteRequest
  /** Results of the last call into or out of a handle, by index. */
  readonly streamBaseState: Int32Array
  readonly kReadBytesOrError: number
  readonly kLastWriteWasAsync: number
}

const endOfFile = -4095 // UV_EOF

export class FastSocket implements Socket, Tap {
  readonly local: Address
  readonly remote: Address
  readonly tls = undefined
  private readonly socket: NodeSocket
  private readonly handle: StreamHandle
  private readonly binding: StreamBinding
  private readonly buffers: ReadBuffers
  private buffer: Uint8Array
  private request: WriteRequest
  private readonly inbox: Inbox
  private pending = 0 // writes that the system has not taken yet
  private blocked = false
  private ended = false // the peer's FIN came
  private finished = false // our FIN is on its way or out
  private error: SocketError | undefined
  private closed = false

  /** @param socket connected, with `allowHalfOpen` */
  constructor(socket: NodeSocket, handle: StreamHandle, binding: StreamBinding, buffers: ReadBuffers) {
    this.socket = socket
    this.handle = handle
    this.binding = binding
    this.buffers = buffers
    this.local = { host: socket.localAddress ?? '', port: socket.localPort ?? 0 }
    this.remote = { host: unmapped(socket.remoteAddress ?? ''), port: socket.remotePort ?? 0 }
    this.request = this.newRequest()
    this.buffer = buffers.first()
    this.inbox = new Inbox(this)
    handle.useUserBuffer(this.buffer)
    handle.onread = () => this.read(binding.streamBaseState[binding.kReadBytesOrError]!)
    socket.on('error', (error) => (this.error ??= socketError(error)))
    socket.on('close', () => this.gone())
  }

  /** @internal */
  stop(): void {
    if (!this.closed) this.handle.readStop()
  }

  /** @internal */
  start(): void {
    if (!this.closed && !this.ended) this.handle.readStart()
  }

  /** @internal */
  released(bytes: Uint8Array): void {
    this.buffers.giveBack(bytes)
  }

  attach(events: SocketEvents): void {
    this.inbox.attach(events)
  }

  latin1(bytes: Uint8Array, start: number, end: number): string {
    return latin1(bytes, start, end)
  }

  equal(bytes: Uint8Array, start: number, end: number, others: Uint8Array): boolean {
    return equalBytes(bytes, start, end, others)
  }

  write(head: string, body?: Uint8Array, start = 0, end = 0, tail = ''): boolean {
    if (this.error || this.closed || this.finished) return true
    const size = end - start
    let code: number
    let borrowed = body
    if (body === undefined || size === 0) {
      if (head === '' && tail === '') return !this.blocked
      code = this.handle.writeLatin1String(this.request, head + tail)
    } else if (head === '' && tail === '') {
      code = this.handle.writeBuffer(this.request, body.subarray(start, end))
    } else if (head.length + size + tail.length <= jointBytes) {
      const joined = joint(head, body, start, end, tail)
      if (typeof joined === 'string') code = this.handle.writeLatin1String(this.request, joined)
      else {
        code = this.handle.writeBuffer(this.request, joined)
        borrowed = joined
      }
    } else {
      const chunks = [head, 'latin1', body.subarray(start, end), 'buffer', tail, 'latin1']
      code = this.handle.writev(this.request, chunks, false)
    }
    if (code !== 0) {
      this.writeFailed(code)
      return true
    }
    if (this.binding.streamBaseState[this.binding.kLastWriteWasAsync] !== 0) {
      this.pending++
      if (borrowed !== body) keepJoint()
      this.request.borrowed = borrowed
      this.request = this.newRequest() // the other one is the system's until it is done
      this.blocked = true
    }
    return !this.blocked
  }

  pause(): void {
    this.inbox.pause()
  }

  resume(): void {
    this.inbox.resume()
  }

  end(): void {
    if (this.finished || this.closed) return
    this.finished = true
    this.socket.end(() => {
      if (this.ended) this.socket.destroy()
    })
  }

  destroy(reason?: 'reset'): void {
    this.inbox.abandon()
    if (this.closed) return
    if (reason === 'reset') this.socket.resetAndDestroy()
    else this.socket.destroy()
  }

  private read(count: number): Uint8Array | undefined {
    if (count === 0 || this.closed) return undefined
    if (count < 0) {
      this.readEnded(count)
      return undefined
    }
    const { buffer } = this
    const next = this.inbox.read(buffer, count) ? this.buffers.next(buffer, count) : this.buffers.other(buffer)
    if (next === buffer) return undefined
    this.buffer = next
    return next
  }

  private readEnded(code: number): void {
    this.handle.readStop()
    if (code !== endOfFile) {
      this.error ??= errorOf(code)
      this.socket.destroy()
      return
    }
    this.ended = true
    if (this.error) this.socket.destroy()
    else this.inbox.end()
    if (this.finished && this.socket.writableFinished) this.socket.destroy()
  }

  /**
   * The peer takes no more. What it sent before may still be unread (an early answer, say), so the socket only closes
   * when reading comes to its end too.
   */
  private writeFailed(code: number): void {
    this.error = errorOf(code)
    if (this.ended) this.socket.destroy()
    else this.handle.readStart()
  }

  private newRequest(): WriteRequest {
    const request = new this.binding.WriteWrap()
    request.handle = this.handle
    request.oncomplete = (status) => this.written(status)
    request.borrowed = undefined
    return request
  }

  private written(status: number): void {
    this.pending--
    if (this.closed) return
    if (status < 0) this.writeFailed(status)
    if (this.pending > 0 || !this.blocked) return
    this.blocked = false
    this.inbox.events?.drain()
  }

  private gone(): void {
    if (this.closed) return
    this.closed = true
    this.inbox.close(this.error)
    this.buffers.giveBack(this.buffer)
  }
}

function errorOf(code: number): SocketError {
  const name = getSystemErrorName(code)
  return socketError(Object.assign(new Error(name), { code: name }))
}

/** `::ffff:192.0.2.1` is how a dual-stack listener shows IPv4. */
function unmapped(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
