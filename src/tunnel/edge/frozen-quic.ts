/**
 * A QUIC connection whose streams can fall silent without closing. The runtime's own QUIC goes on acknowledging: a host
 * that hangs, not a network that is gone.
 */
import type { QuicConnection, QuicStream } from '../../runtime.ts'
import { type FrozenHalf } from './frozen-socket.ts'

export interface FreezableQuic extends QuicConnection {
  /** From now on nothing goes that way, for ever, and whoever owns the connection cannot close it any more. */
  freeze(half: FrozenHalf): void
}

/** The connection that is wrapped can be closed still, and then the owner is told. */
export function freezableQuic(connection: QuicConnection): FreezableQuic {
  let deaf = false
  let dumb = false

  function freezable(stream: QuicStream): QuicStream {
    return {
      attach: (events) =>
        stream.attach({
          // Kept for ever: nothing more is read.
          data: (bytes, start, end) => !deaf && events.data(bytes, start, end),
          end() {
            if (!deaf) events.end()
          },
          drain: () => events.drain(),
          reset: () => events.reset(),
          stopped() {
            if (!deaf) events.stopped()
          },
        }),
      write: (bytes, start, end) => dumb || stream.write(bytes, start, end),
      resume() {
        if (!deaf) stream.resume()
      },
      end() {
        if (!dumb) stream.end()
      },
      reset(isEvident) {
        if (!dumb) stream.reset(isEvident)
      },
      stopReading() {
        if (!dumb) stream.stopReading()
      },
    }
  }

  return {
    local: connection.local,
    remote: connection.remote,
    tls: connection.tls,
    attach: (events) =>
      connection.attach({
        stream(stream) {
          if (!deaf) events.stream(freezable(stream))
        },
        close: (error) => events.close(error),
      }),
    openStream: async () => freezable(await connection.openStream()),
    close() {
      if (!deaf && !dumb) connection.close()
    },
    freeze(half) {
      deaf ||= half !== 'writing'
      dumb ||= half !== 'reading'
    },
  }
}
