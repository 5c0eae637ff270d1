/** A socket that can fall silent without closing: what a peer sees of a host that lost its network, or hangs. */
import type { Socket, SocketEvents } from '../../runtime.ts'

/** Which way nothing goes any more: `reading` what the peer says, `writing` what it would hear, or neither. */
export type FrozenHalf = 'reading' | 'writing' | 'both'

export interface FreezableSocket extends Socket {
  /** From now on nothing goes that way, for ever, and whoever owns the socket cannot close it any more. */
  freeze(half: FrozenHalf): void
}

/** The socket that is wrapped can be destroyed still, and then the owner is told. */
export function freezable(socket: Socket): FreezableSocket {
  let deaf = false
  let dumb = false
  return {
    get local() {
      return socket.local
    },
    get remote() {
      return socket.remote
    },
    get tls() {
      return socket.tls
    },
    attach(events) {
      const thawed: SocketEvents = {
        data: (bytes, start, end) => deaf || events.data(bytes, start, end),
        drain: () => events.drain(),
        end() {
          if (!deaf) events.end()
        },
        close: (error) => events.close(error),
      }
      socket.attach(thawed)
    },
    latin1: (bytes, start, end) => socket.latin1(bytes, start, end),
    write: (head, body, start, end, tail) => dumb || socket.write(head, body, start, end, tail),
    pause: () => socket.pause(),
    resume() {
      if (!deaf) socket.resume()
    },
    end() {
      if (!dumb) socket.end()
    },
    destroy(reason) {
      // Its owner has noticed that the peer is not heard of: a host that hangs would not.
      if (!deaf && !dumb) socket.destroy(reason)
    },
    freeze(half) {
      deaf ||= half !== 'writing'
      dumb ||= half !== 'reading'
      if (deaf) socket.pause()
    },
  }
}
