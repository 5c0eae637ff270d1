/**
 * A WebSocket over HTTP/2: the backend's switched connection on one side, the bodies of the edge's request and of our
 * answer on the other. Either side's end is passed on.
 *
 * @see cloudflared, connection/http2.go and stream/stream.go
 */
import { type Body } from '../http/body.ts'
import { type RawStream } from '../http/upgrade.ts'

/**
 * Joins the two.
 *
 * @param fromEdge the request's body
 * @returns the body of our answer
 */
export function joinEdge(fromEdge: Body, backend: RawStream): Body {
  const { incoming, outgoing, onWritable } = backend
  onWritable(() => fromEdge.resume())
  return {
    length: undefined,
    start(sink) {
      // Not before: whoever is told 101 may speak, and until the answer has a sink nobody is told.
      incoming.start({
        data: (bytes, start, end) => sink.data(bytes, start, end),
        end() {
          sink.end()
          // The edge keeps no half-open sessions: with our answer over, nothing more comes from it.
          outgoing.end()
        },
        fail: (error) => sink.fail(error),
      })
      fromEdge.start(outgoing)
    },
    resume: () => incoming.resume(),
    cancel(reason) {
      incoming.cancel(reason)
      fromEdge.cancel(reason)
    },
  }
}
