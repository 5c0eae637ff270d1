/** One end of a bare connection, byte for byte: for tests of engines, which must not be believed about HTTP themselves. */
import type { Address, ConnectOptions, Socket, SocketError } from '../../src/runtime.ts'
import { runtime } from './runtime.ts'

export interface Wire {
  readonly socket: Socket
  /** Text of one byte a code unit. */
  send(text: string | Uint8Array): void
  /** All bytes up to and with the next `mark`, as text. Rejects when the connection ends before. */
  until(mark: string): Promise<string>
  take(count: number): Promise<string>
  /** All bytes up to the peer's FIN, or to the end of the connection. */
  rest(): Promise<string>
  /** Text that has come and was not taken. */
  readonly received: string
  /** The peer has sent its FIN, or the connection is gone. */
  readonly ended: Promise<void>
  /** The connection is gone. */
  readonly closed: Promise<SocketError | undefined>
  finish(): void
  destroy(reason?: 'reset'): void
}

export async function dial(to: Address, options: Partial<ConnectOptions> = {}): Promise<Wire> {
  return wireOf(await runtime.connect(to, { timeoutMs: 5_000, ...options }))
}

export function wireOf(socket: Socket): Wire {
  let received = ''
  let over = false
  let waiting: (() => void)[] = []
  let tellEnded = (): void => {}
  let tellClosed = (_error: SocketError | undefined): void => {}
  const ended = new Promise<void>((resolve) => (tellEnded = resolve))
  const closed = new Promise<SocketError | undefined>((resolve) => (tellClosed = resolve))
  const wake = (): void => {
    const all = waiting
    waiting = []
    for (const each of all) each()
  }
  const end = (): void => {
    over = true
    tellEnded()
    wake()
  }
  socket.attach({
    data(bytes, start, stop) {
      received += socket.latin1(bytes, start, stop)
      wake()
      return true
    },
    drain() {},
    end,
    close(error) {
      end()
      tellClosed(error)
    },
  })
  const more = async (): Promise<void> => {
    if (over) throw new Error(`the connection ended after ${JSON.stringify(received.slice(0, 300))}`)
    await new Promise<void>((resolve) => waiting.push(resolve))
  }
  const cut = (count: number): string => {
    const text = received.slice(0, count)
    received = received.slice(count)
    return text
  }
  return {
    socket,
    send: (text) => void (typeof text === 'string' ? socket.write(text) : socket.write('', text, 0, text.length)),
    async until(mark) {
      for (;;) {
        const at = received.indexOf(mark)
        if (at >= 0) return cut(at + mark.length)
        await more()
      }
    },
    async take(count) {
      while (received.length < count) await more()
      return cut(count)
    },
    async rest() {
      while (!over) await more()
      return cut(received.length)
    },
    get received() {
      return received
    },
    ended,
    closed,
    finish: () => socket.end(),
    destroy: (reason) => socket.destroy(reason),
  }
}

export interface WireServer extends AsyncDisposable {
  readonly address: Address
  /** Connections so far, in order. */
  readonly wires: readonly Wire[]
  /** The connection of that number, counted from 0, as soon as there is one. */
  wire(number: number): Promise<Wire>
}

/** Accepts bare connections. `serve` may fail when its peer leaves: that is no failure of the test. */
export async function startWireServer(serve: (wire: Wire, number: number) => unknown = () => {}): Promise<WireServer> {
  const wires: Wire[] = []
  let waiting: (() => void)[] = []
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => {
    const wire = wireOf(socket)
    wires.push(wire)
    Promise.resolve(serve(wire, wires.length - 1)).catch(() => {})
    const all = waiting
    waiting = []
    for (const each of all) each()
  })
  return {
    address: listener.address,
    wires,
    async wire(number) {
      while (wires.length <= number) await new Promise<void>((resolve) => waiting.push(resolve))
      return wires[number]!
    },
    async [Symbol.asyncDispose]() {
      const closed = listener.close()
      for (const wire of wires) wire.destroy()
      await closed
    },
  }
}
