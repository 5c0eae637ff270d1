/** A socket that tells its maker, beside its owner, when the peer was last heard of and when it is gone. */
import { type Address, type Socket, type SocketError, type SocketEvents, type TlsFacts } from '../runtime.ts'

export class WatchedSocket implements Socket {
  /** Monotonic milliseconds. */
  heardAtMs: number
  private readonly socket: Socket
  private readonly now: () => number
  private readonly onClose: (error: SocketError | undefined) => void

  constructor(socket: Socket, now: () => number, onClose: (error: SocketError | undefined) => void) {
    this.socket = socket
    this.now = now
    this.onClose = onClose
    this.heardAtMs = now()
  }

  get local(): Address {
    return this.socket.local
  }
  get remote(): Address {
    return this.socket.remote
  }
  get tls(): TlsFacts | undefined {
    return this.socket.tls
  }

  attach(events: SocketEvents): void {
    this.socket.attach({
      data: (bytes, start, end) => {
        this.heardAtMs = this.now()
        return events.data(bytes, start, end)
      },
      drain: () => events.drain(),
      end: () => events.end(),
      close: (error) => {
        events.close(error)
        this.onClose(error)
      },
    })
  }

  latin1(bytes: Uint8Array, start: number, end: number): string {
    return this.socket.latin1(bytes, start, end)
  }
  write(head: string, body?: Uint8Array, start?: number, end?: number, tail?: string): boolean {
    return this.socket.write(head, body, start, end, tail)
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
    this.socket.destroy(reason)
  }
}
