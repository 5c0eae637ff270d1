/**
 * One body for two readers, of whom only the first counts.
 *
 * The primary reader sets the pace and reads as if it were alone. The other gets a copy of whatever the primary was
 * given, through a bounded buffer: when it falls behind by more than that, its copy breaks and the primary takes no
 * notice. (The platform's own `tee()` buffers without bound for the slower side.)
 */
import type { ProxyError } from '../errors.ts'
import type { Exchange } from '../runtime.ts'
import type { Body, BodySink } from './body.ts'
import type { Head } from './head.ts'
import { BodyHolder } from './holder.ts'
import { asEngineRequest, EngineRequest, engineRequest } from './request.ts'

/** How far a copy may fall behind. */
export const defaultCopyBufferBytes: number = 1024 * 1024
/** Smallest piece of memory that is allocated for the buffer: many tiny chunks share one. */
const minBlockBytes = 4096

export interface TeedRequest {
  /** To be used in place of the request given. */
  readonly primary: Request
  /** The same message; it belongs to no exchange, so that it outlives its client. Cancel its body when it is not sent. */
  readonly copy: Request
}

/**
 * Makes a second request of one, body included. A request without body costs one object.
 *
 * @param exchange of the request, when the request itself does not know it; a copy whose primary body was never begun
 *   breaks when the exchange is over
 */
export function teeRequest(
  request: Request,
  {
    maxBufferBytes = defaultCopyBufferBytes,
    exchange,
  }: { maxBufferBytes?: number; exchange?: Exchange | undefined } = {},
): TeedRequest {
  const own = engineRequest(asEngineRequest(request))!
  const body = own.holder.take()
  if (body === undefined) return { primary: request, copy: copyOf(own, undefined) }
  const tee = new Tee(body, maxBufferBytes)
  ;(own.exchange ?? exchange)?.onFinish(() => tee.abandon())
  const primary = own.derive(own.target, own.authority, own.head, new BodyHolder(tee.primary)) as unknown as Request
  return { primary, copy: copyOf(own, tee.copy) }
}

function copyOf(request: EngineRequest, body: Body | undefined): Request {
  const { method, target, authority, scheme, head } = request
  const holder = new BodyHolder(body)
  return new EngineRequest(method, target, authority, scheme, head, holder, undefined) as unknown as Request
}

/**
 * @returns two bodies over one; the copy ends as the primary does, and breaks when the primary is cancelled
 */
export function teeBody(source: Body, maxBufferBytes: number): { readonly primary: Body; readonly copy: Body } {
  const { primary, copy } = new Tee(source, maxBufferBytes)
  return { primary, copy }
}

const leftBehind: ProxyError = {
  kind: 'upstream',
  phase: 'send',
  cause: 'overloaded',
  reason: 'the copy fell too far behind the request',
}
const unread: ProxyError = { kind: 'downstream-gone' }

/** A piece of the buffer: `bytes[from, to)` waits for the copy's reader, what lies behind is free. */
interface Block {
  readonly bytes: Uint8Array
  from: number
  to: number
}

class Tee {
  readonly primary: Body
  readonly copy: Body
  private readonly source: Body
  private readonly maxBufferBytes: number
  private begun = false
  /** The copy's reader, its buffer, and what the buffer holds. */
  private sink: BodySink | undefined
  private readonly blocks: Block[] = []
  private buffered = 0
  /** Bytes of the first block that the reader keeps. */
  private kept = 0
  private delivering = false
  /** What comes after the buffer's bytes: `end` with or without trailers. */
  private ending: { readonly trailers: Head | undefined } | undefined
  private broken: ProxyError | undefined
  /** The copy needs nothing any more: told its end, or cancelled. */
  private over = false

  constructor(source: Body, maxBufferBytes: number) {
    this.source = source
    this.maxBufferBytes = maxBufferBytes
    const { length } = source
    this.primary = {
      length,
      start: (sink) => this.startPrimary(sink),
      resume: () => source.resume(),
      cancel: (reason) => {
        source.cancel(reason)
        this.break(reason ?? unread)
      },
    }
    this.copy = {
      length,
      start: (sink) => {
        this.sink = sink
        this.deliver()
      },
      resume: () => this.resumeCopy(),
      cancel: () => this.forget(),
    }
  }

  /** The exchange is over: a primary body that has not been begun never will be. */
  abandon(): void {
    if (!this.begun) this.break(unread)
  }

  // The primary goes first in everything: its reader waits for nothing that the copy does.
  private startPrimary(sink: BodySink): void {
    this.begun = true
    this.source.start({
      data: (bytes, start, end) => {
        const goOn = sink.data(bytes, start, end)
        this.push(bytes, start, end)
        return goOn
      },
      end: (trailers) => {
        sink.end(trailers)
        if (this.closed) return
        this.ending = { trailers }
        this.deliver()
      },
      fail: (error) => {
        sink.fail(error)
        this.break(error)
      },
    })
  }

  /** Nothing that the source still says can matter to the copy. */
  private get closed(): boolean {
    return this.over || this.broken !== undefined || this.ending !== undefined
  }

  private push(bytes: Uint8Array, start: number, end: number): void {
    let at = start
    while (at < end && !this.closed) {
      const size = Math.min(end - at, this.maxBufferBytes - this.buffered)
      if (size === 0) {
        this.break(leftBehind)
        return
      }
      this.store(bytes.subarray(at, at + size))
      at += size
      this.deliver()
    }
  }

  private store(bytes: Uint8Array): void {
    this.buffered += bytes.length
    let at = 0
    while (at < bytes.length) {
      const rest = bytes.length - at
      let block = this.blocks.at(-1)
      if (block === undefined || block.to === block.bytes.length) {
        block = { bytes: new Uint8Array(Math.max(rest, minBlockBytes)), from: 0, to: 0 }
        this.blocks.push(block)
      }
      const size = Math.min(rest, block.bytes.length - block.to)
      block.bytes.set(bytes.subarray(at, at + size), block.to)
      block.to += size
      at += size
    }
  }

  private resumeCopy(): void {
    if (this.kept === 0) return
    this.release(this.kept)
    this.kept = 0
    this.deliver()
  }

  /** Frees the first bytes of the first block. */
  private release(size: number): void {
    const block = this.blocks[0]!
    block.from += size
    this.buffered -= size
    if (block.from < block.to) return
    if (this.blocks.length > 1) this.blocks.shift()
    else block.from = block.to = 0 // the only one: filled again from its start
  }

  /** Hands on what can be handed on. A reader that throws loses its copy, and the primary does not hear of it. */
  private deliver(): void {
    const { sink } = this
    if (sink === undefined || this.delivering || this.kept > 0) return
    this.delivering = true
    try {
      while (!this.over && this.broken === undefined && this.buffered > 0) {
        const { bytes, from, to } = this.blocks[0]!
        const goOn = sink.data(bytes, from, to)
        if (this.over || this.broken !== undefined) break
        if (!goOn) {
          this.kept = to - from
          return
        }
        this.release(to - from)
      }
      if (this.over) return
      if (this.broken !== undefined) {
        const error = this.broken
        this.forget()
        sink.fail(error)
      } else if (this.ending !== undefined) {
        const { trailers } = this.ending
        this.forget()
        sink.end(trailers)
      }
    } catch {
      this.forget()
    } finally {
      this.delivering = false
    }
  }

  private break(error: ProxyError): void {
    if (this.closed) return
    this.broken = error
    this.blocks.length = 0
    this.buffered = this.kept = 0
    this.deliver()
  }

  private forget(): void {
    this.over = true
    this.sink = undefined
    this.blocks.length = 0
    this.buffered = this.kept = 0
  }
}
