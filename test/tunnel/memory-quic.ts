import {
  type QuicConnection,
  type QuicConnectionEvents,
  type QuicStream,
  type QuicStreamEvents,
  type SocketError,
} from '../../src/runtime.ts'

/** Two ends of a QUIC connection in memory; a write takes a microtask and comes in pieces of `pieceBytes`. */
export function createMemoryQuic(pieceBytes = Infinity): {
  readonly client: MemoryQuicEnd
  readonly server: MemoryQuicEnd
} {
  const client = createEnd()
  const server = createEnd()
  client.other = server
  server.other = client
  return { client, server }

  function createEnd(): MemoryQuicEnd {
    let events: QuicConnectionEvents | undefined
    const early: QuicStream[] = []
    const streams: MemoryStream[] = []
    const end: MemoryQuicEnd = {
      local: { host: '192.168.1.1', port: 50_000 },
      remote: { host: '198.51.100.1', port: 7844 },
      other: undefined!,
      streams,
      closed: false,
      attach(to) {
        events = to
        for (const stream of early.splice(0)) to.stream(stream)
      },
      openStream() {
        if (end.closed) return Promise.reject(new Error('the connection is gone'))
        const here = createStream()
        const there = createStream()
        here.other = there
        there.other = here
        streams.push(here)
        end.other.streams.push(there)
        // The peer sees a stream when something is written.
        here.announce = () => end.other.arrive(there)
        return Promise.resolve(here)
      },
      arrive(stream) {
        if (events) events.stream(stream)
        else early.push(stream)
      },
      close() {
        shut(undefined)
        end.other.lose()
      },
      lose: (error) => shut(error),
    }
    function shut(error: SocketError | undefined): void {
      if (end.closed) return
      end.closed = true
      for (const stream of streams) stream.gone()
      events?.close(error)
    }
    return end
  }

  function createStream(): MemoryStream {
    let events: QuicStreamEvents | undefined
    let held = false
    let gone = false
    const inbox: (Uint8Array | 'end' | 'reset')[] = []
    const stream: MemoryStream = {
      other: undefined!,
      announce: undefined,
      reading: true,
      attach(to) {
        events = to
        stream.pump()
      },
      write(bytes, start = 0, end = bytes.length) {
        const copy = bytes.slice(start, end)
        stream.send(copy)
        return true
      },
      end: () => stream.send('end'),
      reset: () => stream.send('reset'),
      send(what) {
        stream.announce?.()
        stream.announce = undefined
        const { other } = stream
        if (what instanceof Uint8Array) {
          for (let at = 0; at < what.length; at += pieceBytes) other.inbox.push(what.slice(at, at + pieceBytes))
        } else other.inbox.push(what)
        queueMicrotask(() => other.pump())
      },
      inbox,
      pump() {
        while (events && !held && inbox.length > 0) {
          const next = inbox.shift()!
          if (next === 'end') events.end()
          else if (next === 'reset') events.reset()
          else if (stream.reading && !events.data(next, 0, next.length)) held = true
        }
      },
      resume() {
        held = false
        queueMicrotask(() => stream.pump())
      },
      stopReading() {
        if (!stream.reading) return
        stream.reading = false
        queueMicrotask(() => stream.other.stopped())
      },
      stopped: () => events?.stopped(),
      gone() {
        if (gone) return
        gone = true
        events?.reset()
      },
    }
    return stream
  }
}

export interface MemoryQuicEnd extends QuicConnection {
  other: MemoryQuicEnd
  readonly streams: MemoryStream[]
  closed: boolean
  arrive(stream: QuicStream): void
  lose(error?: SocketError): void
}

interface MemoryStream extends QuicStream {
  other: MemoryStream
  announce: (() => void) | undefined
  reading: boolean
  readonly inbox: (Uint8Array | 'end' | 'reset')[]
  send(what: Uint8Array | 'end' | 'reset'): void
  pump(): void
  stopped(): void
  gone(): void
}
