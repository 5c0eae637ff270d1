/** `101 Switching Protocols` and the bytes after it (RFC 9110 section 7.8), which Fetch has no words for. */
import type { Body, BodySink } from './body.ts'

/**
 * One side of a switched connection. What the other side sends comes out of `incoming`; what we send goes into
 * `outgoing`. Each direction ends by itself (half-close).
 */
export interface RawStream {
  /** Its sink may hear `fail` after `end`: the other side sent all it had, and broke before it had all of ours. */
  readonly incoming: Body
  /** Sink for our bytes. Its `data` returning false means: wait for `onWritable`. `end` is our FIN, `fail` a reset. */
  readonly outgoing: BodySink
  /** Called each time `outgoing` can take bytes again. */
  onWritable(listener: () => void): void
}

/** Joins two switched connections until both directions have ended or one has broken. */
export function joinRawStreams(a: RawStream, b: RawStream): void {
  copy(a, b)
  copy(b, a)
}

function copy(from: RawStream, to: RawStream): void {
  to.onWritable(() => from.incoming.resume())
  from.incoming.start(to.outgoing)
}

/**
 * Joins two switched connections, of which one is carried by a stream of its own: what its client sends is the body of a
 * request, and what we send is the body of the answer. There is no half-open session then: with our answer over, nothing
 * more comes from the client.
 *
 * @param client the request's body
 * @returns the answer's body
 */
export function joinBodies(client: Body, server: RawStream): Body {
  const { incoming, outgoing, onWritable } = server
  onWritable(() => client.resume())
  return {
    length: undefined,
    start(sink) {
      // Not before: whoever is told 101 may speak, and until the answer has a sink nobody is told.
      incoming.start({
        data: (bytes, start, end) => sink.data(bytes, start, end),
        end() {
          sink.end()
          outgoing.end()
        },
        fail: (error) => sink.fail(error),
      })
      client.start(outgoing)
    },
    resume: () => incoming.resume(),
    cancel(reason) {
      incoming.cancel(reason)
      client.cancel(reason)
    },
  }
}
