/** Backends on port 0: one that tells what it was sent, and one that does whatever a test wants on a bare connection. */
import { engineRequest } from '../../src/http/request.ts'
import { defaultHttp1Limits, type Http1Limits } from '../../src/http1/limits.ts'
import { createHttp1Server } from '../../src/http1/server.ts'
import type { Address, Handler, TlsServerOptions } from '../../src/runtime.ts'
import { createTimers } from '../../src/timers.ts'
import { takeRaw, type RawClient } from './raw-client.ts'
import { runtime } from './runtime.ts'

export interface TestBackend extends AsyncDisposable {
  readonly url: string
  readonly address: Address
  readonly port: number
  /** Connections accepted so far. */
  readonly accepted: number
  /** Connections that we have not left. */
  readonly open: number
  /** What was asked, as `METHOD target`. */
  readonly asked: readonly string[]
  close(): Promise<void>
}

export interface BackendOptions {
  readonly host?: string
  /** 0 when absent: of the system's choice. */
  readonly port?: number
  readonly tls?: TlsServerOptions
  readonly limits?: Partial<Http1Limits>
}

/** A server of our own engine. */
export async function startBackend(handler: Handler, options: BackendOptions = {}): Promise<TestBackend> {
  let accepted = 0
  const asked: string[] = []
  const server = createHttp1Server({
    handler(request, exchange) {
      asked.push(`${request.method} ${engineRequest(request)!.target}`)
      return handler(request, exchange)
    },
    limits: { ...defaultHttp1Limits, ...options.limits },
    timers: createTimers(runtime.clock),
    scheme: options.tls ? 'https' : 'http',
  })
  const { host = '127.0.0.1', port = 0, tls } = options
  const listener = await runtime.listen({ host, port }, tls ? { tls } : {}, (socket) => {
    accepted++
    server.accept(socket)
  })
  const close = async (): Promise<void> => {
    const closed = listener.close()
    server.destroy()
    await closed
  }
  const { address } = listener
  return {
    address,
    port: address.port,
    url: `${tls ? 'https' : 'http'}://${urlHost(host)}:${address.port}`,
    asked,
    get accepted() {
      return accepted
    },
    get open() {
      return server.connections.size
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** What an {@link echo} backend was sent. */
export interface Echoed {
  readonly backend: string
  readonly method: string
  readonly target: string
  readonly host: string
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly body: string
}

/** Answers with what it was sent, as JSON. */
export function echo(name = 'echo'): Handler {
  return async (request) => {
    const own = engineRequest(request)!
    const body = await request.text()
    const echoed: Echoed = {
      backend: name,
      method: own.method,
      target: own.target,
      host: own.authority,
      fields: own.head.fields(),
      body,
    }
    return Response.json(echoed, { headers: { 'x-backend': name } })
  }
}

/** The echoed values of a field, one entry per line. */
export function sent({ fields }: Echoed, name: string): string[] {
  return fields.filter(([each]) => each.toLowerCase() === name.toLowerCase()).map(([, value]) => value)
}

/** Hands each accepted connection to `serve`, bare. */
export async function startRawBackend(
  serve: (peer: RawClient, number: number) => void | Promise<void>,
  options: BackendOptions = {},
): Promise<TestBackend> {
  let accepted = 0
  const peers: RawClient[] = []
  const open = new Set<RawClient>()
  const { host = '127.0.0.1', port = 0, tls } = options
  const listener = await runtime.listen({ host, port }, tls ? { tls } : {}, (socket) => {
    const peer = takeRaw(socket)
    peers.push(peer)
    open.add(peer)
    void peer.ended.then(() => open.delete(peer))
    // A peer that leaves in the middle of what a test wants to say to it is no failure of the test.
    void Promise.resolve(serve(peer, ++accepted)).catch(() => {})
  })
  const close = async (): Promise<void> => {
    void listener.close()
    for (const peer of peers) peer.destroy()
  }
  return {
    address: listener.address,
    port: listener.address.port,
    url: `${tls ? 'https' : 'http'}://${urlHost(host)}:${listener.address.port}`,
    asked: [],
    get accepted() {
      return accepted
    },
    get open() {
      return open.size
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** Reads one request head off a bare connection, as text. */
export async function readHead(peer: RawClient): Promise<string> {
  let head = ''
  while (!head.endsWith('\r\n\r\n')) head += String.fromCharCode(...(await peer.bytes(1)))
  return head
}

/** An address that nobody listens at: it was given out, and given back. */
export async function closedAddress(): Promise<Address> {
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => socket.destroy())
  await listener.close()
  return listener.address
}

function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
