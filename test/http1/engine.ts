/** The server end of our engine behind a real door on port 0, and the client end on a real connection. */
import type { ProxyError } from '../../src/errors.ts'
import { engineRequest, withHeaders } from '../../src/http/request.ts'
import { Http1Connection } from '../../src/http1/client.ts'
import { defaultHttp1Limits, type Http1Limits } from '../../src/http1/limits.ts'
import { createHttp1Server, type Http1Server } from '../../src/http1/server.ts'
import type { Address, Handler, Outcome } from '../../src/runtime.ts'
import { createTimers, type Timers } from '../../src/timers.ts'
import { runtime } from '../support/runtime.ts'

export interface Engine extends AsyncDisposable {
  readonly address: Address
  readonly server: Http1Server
  /** How each exchange ended, in that order. */
  readonly outcomes: readonly Outcome[]
  /** What the engine had to say of messages and handlers. */
  readonly errors: readonly ProxyError[]
  /** Requests that reached the handler, as `METHOD target`. */
  readonly asked: readonly string[]
}

export interface EngineOptions {
  readonly limits?: Partial<Http1Limits>
  readonly timers?: Timers
  readonly refuse?: (error: ProxyError) => Response
}

export async function startEngine(handler: Handler, options: EngineOptions = {}): Promise<Engine> {
  const outcomes: Outcome[] = []
  const errors: ProxyError[] = []
  const asked: string[] = []
  const server = createHttp1Server({
    handler(request, exchange) {
      exchange?.onFinish((outcome) => outcomes.push(outcome))
      asked.push(`${request.method} ${engineRequest(request)!.target}`)
      return handler(request, exchange)
    },
    limits: { ...defaultHttp1Limits, ...options.limits },
    timers: options.timers ?? createTimers(runtime.clock),
    scheme: 'http',
    onError: (error) => errors.push(error),
    ...(options.refuse ? { refuse: options.refuse } : {}),
  })
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => void server.accept(socket))
  return {
    address: listener.address,
    server,
    outcomes,
    errors,
    asked,
    async [Symbol.asyncDispose]() {
      const closed = listener.close()
      server.destroy()
      await closed
    },
  }
}

export interface Client extends AsyncDisposable {
  readonly connection: Http1Connection
  /** What the connection said of itself. */
  readonly events: readonly ('idle' | 'close')[]
}

export interface ClientOptions {
  readonly limits?: Partial<Http1Limits>
  readonly timers?: Timers
}

export async function connectEngine(to: Address, options: ClientOptions = {}): Promise<Client> {
  const events: ('idle' | 'close')[] = []
  const socket = await runtime.connect(to, { timeoutMs: 5_000 })
  const connection = new Http1Connection(socket, {
    timers: options.timers ?? createTimers(runtime.clock),
    limits: { ...defaultHttp1Limits, ...options.limits },
    onIdle: () => events.push('idle'),
    onClose: () => events.push('close'),
  })
  return {
    connection,
    events,
    async [Symbol.asyncDispose]() {
      connection.destroy()
    },
  }
}

/** Hands every request on to one address, a connection for each, or one that is idle: a proxy without rules. */
export function passTo(to: Address, options: ClientOptions = {}): Handler {
  const timers = options.timers ?? createTimers(runtime.clock)
  const idle: Http1Connection[] = []
  const take = async (): Promise<Http1Connection> => {
    const kept = idle.pop()
    if (kept) return kept
    return new Http1Connection(await runtime.connect(to, { timeoutMs: 5_000 }), {
      timers,
      limits: { ...defaultHttp1Limits, ...options.limits },
      onIdle: (connection) => idle.push(connection),
      onClose(connection) {
        const at = idle.indexOf(connection)
        if (at >= 0) idle.splice(at, 1)
      },
    })
  }
  return async (request, exchange) => {
    const connection = await take()
    const marked = withHeaders(request, { removed: ['via'], added: [['Via', '1.1 test']] })
    return connection.send(marked, { exchange })
  }
}
