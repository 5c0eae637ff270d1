/** A body whose bytes somebody pushes. What the consumer cannot take is held by it, and the pusher is told to wait. */
import type { ProxyError } from '../../errors.ts'
import type { Body, BodySink } from '../../http/body.ts'
import type { Head } from '../../http/head.ts'

export interface Pipe {
  /** For the consumer. */
  readonly body: Body
  /** For the pusher. Its `data` returning false means: these bytes are kept, wait for `onWritable`. */
  readonly sink: BodySink
  /** Called each time that the sink can take bytes again. */
  onWritable(listener: () => void): void
  /** Called once if the consumer wants no more. */
  onCancel(listener: (reason: ProxyError | undefined) => void): void
}

type End = { readonly trailers: Head | undefined } | { readonly error: ProxyError }

export function createPipe(): Pipe {
  let consumer: BodySink | undefined
  /** Kept for a consumer that is not there yet, or that holds something already. */
  const waiting: { readonly bytes: Uint8Array; readonly start: number; readonly end: number }[] = []
  /** The consumer keeps bytes. */
  let held = false
  let end: End | undefined
  let over = false
  let cancelled: { readonly reason: ProxyError | undefined } | undefined
  let writable: () => void = () => {}
  let onCancel: (reason: ProxyError | undefined) => void = () => {}

  function settle(): void {
    if (consumer === undefined) return
    while (!held && !over && waiting.length > 0) {
      const { bytes, start, end: until } = waiting.shift()!
      held = !consumer.data(bytes, start, until)
      if (!held && waiting.length === 0) writable()
    }
    if (over || end === undefined || held || waiting.length > 0) return
    over = true
    if ('error' in end) consumer.fail(end.error)
    else consumer.end(end.trailers)
  }

  function finish(how: End): void {
    end ??= how
    settle()
  }

  const body: Body = {
    length: undefined,
    start(sink) {
      consumer = sink
      settle()
    },
    resume() {
      if (!held) return
      held = false
      if (waiting.length === 0) writable()
      settle()
    },
    cancel(reason) {
      if (over) return
      over = true
      cancelled = { reason }
      waiting.length = 0
      onCancel(reason)
    },
  }
  const sink: BodySink = {
    data(bytes, start, until) {
      if (over || end !== undefined) return true
      if (consumer === undefined || held || waiting.length > 0) {
        waiting.push({ bytes, start, end: until })
        return false
      }
      held = !consumer.data(bytes, start, until)
      return !held
    },
    end: (trailers) => finish({ trailers }),
    fail: (error) => finish({ error }),
  }
  return {
    body,
    sink,
    onWritable: (listener) => void (writable = listener),
    onCancel(listener) {
      onCancel = listener
      if (cancelled) listener(cancelled.reason)
    },
  }
}
