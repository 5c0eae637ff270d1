/** The control stream over HTTP/2: a request of the edge's that stays open, with the RPC of either end in its bodies. */
import { type ProxyError } from '../errors.ts'
import { type Body, type BodySink } from '../http/body.ts'
import { type ControlStream } from './edge-link.ts'

/** A body that its writer pushes. */
interface PushedBody extends Body {
  push(bytes: Uint8Array): void
  finish(): void
}

/** @param incoming the request's body; absent when the edge has ended it with its head */
export function createControlStream(incoming: Body | undefined): {
  readonly stream: ControlStream
  readonly answer: Body
} {
  let lost: (reason: string) => void = () => {}
  const answer = createPushedBody(() => lost('the edge reset the control stream'))
  const stream: ControlStream = {
    write: (message) => answer.push(message),
    end() {
      answer.finish()
      incoming?.cancel()
    },
    start(events) {
      lost = (reason) => {
        lost = () => {}
        events.lost(reason)
      }
      if (incoming === undefined) {
        lost('the edge opened the control stream without a body')
        return
      }
      incoming.start({
        data(bytes, start, end) {
          events.receive(bytes, start, end)
          return true
        },
        end: () => lost('the edge ended the control stream'),
        fail: () => lost('the edge reset the control stream'),
      })
    },
  }
  return { stream, answer }
}

function createPushedBody(onCancel: (reason: ProxyError | undefined) => void): PushedBody {
  const waiting: Uint8Array[] = []
  let sink: BodySink | undefined
  let held = false
  let finished = false
  let over = false

  function flow(): void {
    while (sink && !held && !over) {
      const next = waiting.shift()
      if (next) held = !sink.data(next, 0, next.length)
      else if (finished) {
        over = true
        sink.end()
      } else return
    }
  }

  return {
    length: undefined,
    push(bytes) {
      if (finished || over) return
      waiting.push(bytes)
      flow()
    },
    finish() {
      finished = true
      flow()
    },
    start(to) {
      sink = to
      flow()
    },
    resume() {
      held = false
      flow()
    },
    cancel(reason) {
      if (over) return
      over = true
      onCancel(reason)
    },
  }
}
