/** A backend to try things on: it says what reached it, streams events, and echoes a WebSocket. */
import { genuineRequest } from '../../http/request.ts'
import { defaultHttp1Limits } from '../../http1/limits.ts'
import { createHttp1Server } from '../../http1/server.ts'
import type { Address, Handler, Listener, Runtime, SocketError } from '../../runtime.ts'
import type { Timers } from '../../timers.ts'
import { echoWebSocket } from './websocket.ts'

const events = 5
const eventEveryMs = 500

export interface DemoBackend {
  /** The Service it stands for. */
  readonly name: string
  readonly address: Address
  close(): Promise<void>
}

export interface DemoBackendOptions {
  readonly name: string
  /** Another port is taken when this one is in use. */
  readonly at: Address
  readonly timers: Timers
  /** Told of each request. */
  readonly onRequest?: (line: string) => void
}

/** @returns rejects with a {@link SocketError} when no port can be had */
export async function startDemoBackend(runtime: Runtime, options: DemoBackendOptions): Promise<DemoBackend> {
  const { name, at, timers, onRequest } = options
  const answer = createDemoHandler(name)
  const handler: Handler = (request, exchange) => {
    onRequest?.(`${request.method} ${new URL(request.url).pathname}`)
    return answer(request, exchange)
  }
  const server = createHttp1Server({ handler, timers, limits: defaultHttp1Limits, scheme: 'http' })
  const open = (address: Address): Promise<Listener> =>
    runtime.listen(address, {}, (socket) => void server.accept(socket))
  const listener = await open(at).catch((error: SocketError) => {
    if (error.code !== 'busy') throw error
    return open({ ...at, port: 0 })
  })
  return {
    name,
    address: listener.address,
    async close() {
      const closed = listener.close()
      server.destroy()
      await closed
    },
  }
}

/** @param name what it calls itself in its answers */
export function createDemoHandler(name: string): Handler {
  return (request, exchange) => {
    if (exchange?.upgrade?.toLowerCase() === 'websocket') return echoWebSocket(request, `${name} echoes what you send`)
    const { pathname } = new URL(request.url)
    return pathname.endsWith('/events') ? streamEvents(name) : describeRequest(name, genuineRequest(request))
  }
}

async function describeRequest(name: string, request: Request): Promise<Response> {
  const { pathname, search } = new URL(request.url)
  let bodyBytes = 0
  for await (const chunk of request.body ?? []) bodyBytes += chunk.length
  const seen = {
    backend: name,
    method: request.method,
    path: pathname + search,
    headers: Object.fromEntries(request.headers),
    ...(bodyBytes > 0 ? { bodyBytes } : {}),
  }
  return new Response(`${JSON.stringify(seen, undefined, 2)}\n`, { headers: { 'content-type': 'application/json' } })
}

/** Server-sent events, one every half second. */
function streamEvents(name: string): Response {
  const encoder = new TextEncoder()
  let sent = 0
  let timer: ReturnType<typeof setTimeout> | null = null
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (sent > 0) await new Promise<void>((resolve) => (timer = setTimeout(resolve, eventEveryMs)))
      sent++
      controller.enqueue(encoder.encode(`id: ${sent}\ndata: event ${sent} of ${events} from ${name}\n\n`))
      if (sent === events) controller.close()
    },
    cancel: () => clearTimeout(timer),
  })
  return new Response(body, { headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' } })
}
