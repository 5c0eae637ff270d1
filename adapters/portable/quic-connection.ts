/** Our `QuicConnection` over a runtime's own: keeps its streams, and what came before there was an owner. */
import type {
  Address,
  QuicConnection,
  QuicConnectionEvents,
  QuicStream,
  SocketError,
  TlsFacts,
} from '../../src/runtime.ts'
import { PumpedStream, type StreamPort, type UnreadBudget } from './quic-stream.ts'

/** A runtime's connection. */
export interface ConnectionPort {
  readonly local: Address
  readonly remote: Address
  readonly tls?: TlsFacts | undefined
  /** Waits until the peer allows one more. Rejects when the connection is gone. */
  open(): Promise<StreamPort>
  /** CONNECTION_CLOSE with application code 0. */
  close(): void
}

export interface PumpedConnection extends QuicConnection {
  /** The peer opened a stream. */
  arrived(port: StreamPort): void
  /** The connection is gone. */
  lost(error?: SocketError): void
  /** For a runtime that has to be asked: which streams the peer has stopped reading. */
  lookForStops(): void
}

/** @param unread for a runtime that takes in what nobody reads */
export function createPumpedConnection(port: ConnectionPort, unread?: UnreadBudget): PumpedConnection {
  const streams = new Set<PumpedStream>()
  const early: QuicStream[] = []
  let events: QuicConnectionEvents | undefined
  let end: { readonly error: SocketError | undefined } | undefined
  let endTold = false

  function keep(stream: StreamPort): PumpedStream {
    const kept = new PumpedStream(stream, unread, (over) => streams.delete(over))
    streams.add(kept)
    return kept
  }

  function tellEnd(): void {
    if (!end || !events || endTold) return
    endTold = true
    events.close(end.error)
  }

  /** @returns tells everybody */
  function cut(error?: SocketError): () => void {
    end = { error }
    const tells = Array.from(streams, (stream) => stream.cut())
    return () => {
      for (const tell of tells) tell()
      tellEnd()
    }
  }

  function lost(error?: SocketError): void {
    if (!end) cut(error)()
  }

  return {
    local: port.local,
    remote: port.remote,
    tls: port.tls,
    attach(to) {
      events = to
      for (const stream of early.splice(0)) to.stream(stream)
      if (end) queueMicrotask(tellEnd)
    },
    async openStream() {
      const opened = await port.open()
      const stream = keep(opened)
      if (end) stream.cut()()
      return stream
    },
    close() {
      if (end) return
      // First, since the runtime's streams end as if with FIN.
      const tell = cut()
      port.close()
      // Not inside the call: whoever closes is in the middle of something.
      queueMicrotask(tell)
    },
    arrived(stream) {
      if (end) return
      const kept = keep(stream)
      if (events) events.stream(kept)
      else early.push(kept)
    },
    lost,
    lookForStops() {
      for (const stream of streams) stream.lookForStop()
    },
  }
}
