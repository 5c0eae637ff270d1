/** Between bodies in passing and the streams that Fetch knows. Made only when somebody touches `body`, `text()` and the like. */
import { errorOf, ProxyFailure, type ProxyError } from '../errors.ts'
import type { Body, BodySink } from './body.ts'
import { keepTrailers, trailersOfStream } from './trailers.ts'

/** A stream over a body. Back-pressure reaches the socket; cancelling the stream cancels the body. */
export function streamOf(body: Body): ReadableStream<Uint8Array<ArrayBuffer>> {
  let started = false
  let held = false
  let over = false
  let inData = false
  const stream: ReadableStream<Uint8Array<ArrayBuffer>> = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      pull(controller) {
        if (!started) {
          started = true
          body.start({
            data(bytes, start, end) {
              held = true
              inData = true
              // Not bytes.slice(): of a Buffer that is a view. Pulls at once when more than one read is waiting.
              controller.enqueue(new Uint8Array(bytes.subarray(start, end)))
              inData = false
              return !held
            },
            end(trailers) {
              over = true
              if (trailers) keepTrailers(stream, trailers)
              controller.close()
            },
            fail(error) {
              over = true
              controller.error(new ProxyFailure(error))
            },
          })
        } else if (held && !over) {
          held = false
          if (!inData) body.resume()
        }
      },
      cancel() {
        over = true
        body.cancel()
      },
    },
    // Nothing moves before the first read: a look at `body` must not invite a client to send (100 Continue).
    { highWaterMark: 0 },
  )
  return stream
}

/**
 * A body over a stream, for messages that users made.
 *
 * @param length bytes, when the message declares them
 */
export function bodyOfStream(stream: ReadableStream<Uint8Array>, length: number | undefined): Body {
  return new StreamBody(stream, length)
}

class StreamBody implements Body {
  readonly length: number | undefined
  private readonly stream: ReadableStream<Uint8Array>
  private reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  private sink: BodySink | undefined
  private held = false
  private cancelled = false

  constructor(stream: ReadableStream<Uint8Array>, length: number | undefined) {
    this.stream = stream
    this.length = length
  }

  start(sink: BodySink): void {
    this.sink = sink
    if (this.stream.locked) {
      sink.fail({ kind: 'filter-failed', reason: 'the body has been read already' })
      return
    }
    this.reader = this.stream.getReader()
    void this.pump()
  }

  resume(): void {
    if (!this.held) return
    this.held = false
    void this.pump()
  }

  cancel(reason?: ProxyError): void {
    if (this.cancelled) return
    this.cancelled = true
    const why = reason ? new ProxyFailure(reason) : undefined
    const done = this.reader ? this.reader.cancel(why) : this.stream.locked ? undefined : this.stream.cancel(why)
    done?.catch(() => {}) // a source that fails while it is told to stop has stopped
  }

  private async pump(): Promise<void> {
    const { reader, sink } = this
    if (!reader || !sink) return
    try {
      for (;;) {
        const { done, value } = await reader.read()
        if (this.cancelled) return
        if (done) {
          sink.end(await trailersOfStream(this.stream))
          return
        }
        if (!(value instanceof Uint8Array)) throw new TypeError('a body stream must yield Uint8Array chunks')
        if (value.length > 0 && !sink.data(value, 0, value.length)) {
          this.held = true
          return
        }
      }
    } catch (thrown) {
      if (this.cancelled) return
      this.cancelled = true
      reader.cancel(thrown).catch(() => {})
      sink.fail(errorOf(thrown))
    }
  }
}
