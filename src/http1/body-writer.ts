/**
 * Writes one message to a socket: head and first bytes in one piece, the body in the framing chosen, exactly as long as
 * was declared.
 */
import type { ProxyError } from '../errors.ts'
import type { Body, BodySink } from '../http/body.ts'
import type { Head } from '../http/head.ts'
import type { Socket } from '../runtime.ts'

/** Told when the message is over. */
export interface WriterOwner {
  messageWritten(): void
  /** The message cannot be completed: its source broke, or gave more or less than declared. */
  messageBroken(error: ProxyError): void
  /** The peer takes no bytes for the moment. */
  writeBlocked(): void
  writeUnblocked(): void
}

export class BodyWriter implements BodySink {
  /** Body bytes written, framing not counted. */
  sent = 0
  active = false
  /** True while the system has not taken everything written: a good time not to make more. */
  unflushed = false
  private readonly socket: Socket
  private readonly owner: WriterOwner
  private pendingHead = ''
  private chunked = false
  private remaining = Infinity
  private body: Body | undefined
  private blocked = false

  constructor(socket: Socket, owner: WriterOwner) {
    this.socket = socket
    this.owner = owner
  }

  /**
   * Begins a message with a body.
   *
   * @param length bytes that will follow; undefined for chunked or until-close framing
   */
  begin(head: string, body: Body, chunked: boolean, length: number | undefined): void {
    this.pendingHead = head
    this.chunked = chunked
    this.remaining = length ?? Infinity
    this.sent = 0
    this.blocked = false
    this.active = true
    this.body = body
    body.start(this)
    if (this.active) this.flushHead()
  }

  /** A message, or a part of one, that is all text. */
  write(text: string): void {
    if (!this.socket.write(text)) this.unflushed = true
  }

  data(bytes: Uint8Array, start: number, end: number): boolean {
    if (!this.active) return true
    const size = end - start
    this.remaining -= size
    if (this.remaining < 0) {
      this.break({ kind: 'filter-failed', reason: 'the body is longer than its Content-Length' })
      return true
    }
    this.sent += size
    const head = this.pendingHead
    this.pendingHead = ''
    const taken = this.chunked
      ? this.socket.write(`${head}${size.toString(16)}\r\n`, bytes, start, end, '\r\n')
      : this.socket.write(head, bytes, start, end)
    if (taken) return true
    this.unflushed = true
    if (this.active) {
      this.blocked = true
      this.owner.writeBlocked()
      return false
    }
    return true
  }

  end(trailers?: Head): void {
    if (!this.active) return
    if (this.remaining > 0 && this.remaining !== Infinity) {
      this.break({ kind: 'filter-failed', reason: 'the body is shorter than its Content-Length' })
      return
    }
    this.active = false
    this.body = undefined
    if (this.chunked) {
      const head = this.pendingHead
      this.pendingHead = ''
      this.write(`${head}0\r\n${trailers ? trailers.serialize(0) : ''}\r\n`)
    } else this.flushHead()
    this.owner.messageWritten()
  }

  fail(error: ProxyError): void {
    if (!this.active) return
    this.active = false
    this.body = undefined
    this.owner.messageBroken(error)
  }

  /** The socket has taken everything. */
  drained(): void {
    this.unflushed = false
    if (!this.blocked) return
    this.blocked = false
    this.owner.writeUnblocked()
    this.body?.resume()
  }

  /** Stops, and tells the source that nobody wants the rest. */
  stop(reason: ProxyError): void {
    if (!this.active) return
    this.active = false
    this.blocked = false
    const body = this.body
    this.body = undefined
    body?.cancel(reason)
  }

  /** True when the head has not gone out yet, so that another answer is still possible. */
  get headPending(): boolean {
    return this.pendingHead !== ''
  }

  private break(error: ProxyError): void {
    this.stop(error)
    this.owner.messageBroken(error)
  }

  private flushHead(): void {
    if (this.pendingHead === '') return
    const head = this.pendingHead
    this.pendingHead = ''
    this.write(head)
  }
}
