import { createRuntime } from '../../adapters/portable/runtime.ts'
import type { Runtime, Socket, SocketError } from '../../src/runtime.ts'

/** The runtime that the tests run in, over the sockets that all three have. */
export const runtime: Runtime = createRuntime(
  'Bun' in globalThis ? 'bun' : 'Deno' in globalThis ? 'deno' : 'node',
  'test',
)

export interface SlowDial {
  readonly runtime: Runtime
  /** Dials that have not been let through. */
  readonly waiting: number
  /** Lets the first dial that waits go on to where it wanted. */
  letThrough(): Promise<Socket>
  /** Fails the first dial that waits. */
  fail(error: SocketError): void
}

/** A network that answers only when it is told to: dialling takes for ever, and the caller's own limit ends it. */
export function slowDial(): SlowDial {
  const waiting: { go(): Promise<Socket>; fail(error: SocketError): void }[] = []
  return {
    runtime: {
      ...runtime,
      connect: (to, options) =>
        new Promise((resolve, reject) => {
          const timer = setTimeout(
            () => reject({ code: 'timeout', message: 'no connection in time' } satisfies SocketError),
            options.timeoutMs,
          )
          waiting.push({
            async go() {
              clearTimeout(timer)
              const socket = await runtime.connect(to, options)
              resolve(socket)
              return socket
            },
            fail(error) {
              clearTimeout(timer)
              reject(error)
            },
          })
        }),
    },
    get waiting() {
      return waiting.length
    },
    letThrough: () => waiting.shift()!.go(),
    fail: (error) => waiting.shift()!.fail(error),
  }
}
