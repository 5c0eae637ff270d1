/** A socket that can fall silent without closing: what a peer sees of a host that lost its network. */
import type { Socket, SocketEvents } from '../../runtime.ts'

export interface FreezableSocket extends Socket {
  /** Nothing is read or written from now on. `destroy` still works. */
  freeze(): void
}

export function freezable(socket: Socket): FreezableSocket {
  let frozen = false
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
        data: (bytes, start, end) => (frozen ? true : events.data(bytes, start, end)),
        drain() {
          if (!frozen) events.drain()
        },
        end() {
          if (!frozen) events.end()
        },
        close: (error) => events.close(error),
      }
      socket.attach(thawed)
    },
    latin1: (bytes, start, end) => socket.latin1(bytes, start, end),
    write: (head, body, start, end, tail) => frozen || socket.write(head, body, start, end, tail),
    pause: () => socket.pause(),
    resume() {
      if (!frozen) socket.resume()
    },
    end() {
      if (!frozen) socket.end()
    },
    destroy: (reason) => socket.destroy(reason),
    freeze() {
      frozen = true
      socket.pause()
    },
  }
}
