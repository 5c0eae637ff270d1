/** Our server and our clients over real sockets. */
import type { ProxyError } from '../../src/errors.ts'
import { bodyOfBytes, type Body, type BodySink } from '../../src/http/body.ts'
import { createRequest } from '../../src/http/request.ts'
import { headOf, type Head } from '../../src/http/head.ts'
import { Http2Connection } from '../../src/http2/client.ts'
import { defaultHttp2Limits, type Http2Limits } from '../../src/http2/limits.ts'
import { createHttp2Server, type Http2Server } from '../../src/http2/server.ts'
import type { Field, Handler, Socket } from '../../src/runtime.ts'
import { createTimers, type Timers } from '../../src/timers.ts'
import { runtime } from '../support/runtime.ts'

export interface Http2Rig extends AsyncDisposable {
  readonly port: number
  readonly server: Http2Server
  readonly errors: readonly ProxyError[]
  /** Clients that said that they go. */
  readonly goAways: number
  readonly timers: Timers
  connect(limits?: Partial<Http2Limits>): Promise<Http2Connection>
  dial(): Promise<Socket>
}

export async function startHttp2(handler: Handler, limits: Partial<Http2Limits> = {}): Promise<Http2Rig> {
  const timers = createTimers(runtime.clock)
  const errors: ProxyError[] = []
  let goAways = 0
  const server = createHttp2Server({
    handler,
    timers,
    scheme: 'http',
    afterTurn: (f) => runtime.afterTurn(f),
    limits: { ...defaultHttp2Limits, ...limits },
    onError: (error) => errors.push(error),
    onGoAway: () => goAways++,
  })
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => void server.accept(socket))
  const { port } = listener.address
  const dial = (): Promise<Socket> => runtime.connect({ host: '127.0.0.1', port }, { timeoutMs: 5_000 })
  const clients = new Set<Http2Connection>()
  return {
    port,
    server,
    errors,
    get goAways() {
      return goAways
    },
    timers,
    dial,
    async connect(own = {}) {
      const client = clientOn(await dial(), timers, own)
      clients.add(client)
      return client
    },
    async [Symbol.asyncDispose]() {
      const closed = listener.close()
      for (const client of clients) client.destroy()
      server.destroy()
      await closed
    },
  }
}

export function clientOn(socket: Socket, timers: Timers, limits: Partial<Http2Limits> = {}): Http2Connection {
  return new Http2Connection(socket, {
    timers,
    afterTurn: (f) => runtime.afterTurn(f),
    limits: { ...defaultHttp2Limits, ...limits },
    scheme: 'http',
    onClose() {},
  })
}

export interface RequestOptions {
  readonly method?: string
  readonly fields?: readonly Field[]
  readonly body?: Body | Uint8Array | undefined
  readonly authority?: string
}

export function requestFor(target: string, options: RequestOptions = {}): Request {
  const { method = options.body ? 'POST' : 'GET', fields = [], body, authority = 'a.example' } = options
  return createRequest({
    method,
    target,
    authority,
    scheme: 'http',
    head: headOf(fields),
    body: body instanceof Uint8Array ? bodyOfBytes(body) : body,
    exchange: undefined,
  })
}

export interface PushBody extends Body {
  /** @returns false when the consumer keeps the bytes until it resumes */
  push(text: string): boolean
  finish(trailers?: Head): void
  break(error: ProxyError): void
  /** Resolves when the consumer has left. */
  readonly cancelled: Promise<ProxyError | undefined>
}

/** A body that the test pushes, of no declared length. */
export function pushBody(): PushBody {
  let sink: BodySink | undefined
  const early: ((to: BodySink) => void)[] = []
  let tellCancelled: (reason: ProxyError | undefined) => void
  const cancelled = new Promise<ProxyError | undefined>((resolve) => (tellCancelled = resolve))
  const act = (f: (to: BodySink) => void): void => {
    if (sink) f(sink)
    else early.push(f)
  }
  return {
    length: undefined,
    cancelled,
    start(to) {
      sink = to
      for (const f of early.splice(0)) f(to)
    },
    resume() {},
    cancel: (reason) => tellCancelled(reason),
    push(text) {
      const bytes = new TextEncoder().encode(text)
      let taken = true
      act((to) => (taken = to.data(bytes, 0, bytes.length)))
      return taken
    },
    finish: (trailers) => act((to) => to.end(trailers)),
    break: (error) => act((to) => to.fail(error)),
  }
}

/** Bytes that tell their place, so that a lost or doubled piece shows. */
export function patternByte(at: number): number {
  return (at ^ (at >>> 8) ^ (at >>> 16)) & 0xff
}

/** A body of so many bytes that keeps to back-pressure, made as it goes. */
export function patternBody(length: number, declared = true): Body {
  const chunk = new Uint8Array(65_536)
  let at = 0
  let sink: BodySink | undefined
  let stopped = false
  const flow = (): void => {
    while (sink && !stopped) {
      if (at === length) {
        stopped = true
        sink.end()
        return
      }
      const size = Math.min(chunk.length, length - at)
      for (let i = 0; i < size; i++) chunk[i] = patternByte(at + i)
      at += size
      if (!sink.data(chunk, 0, size)) return
    }
  }
  return {
    length: declared ? length : undefined,
    start(to) {
      sink = to
      flow()
    },
    resume: flow,
    cancel: () => void (stopped = true),
  }
}

/** Reads a patterned body. @returns how many bytes came, or -1 when one was wrong */
export async function readPattern(stream: ReadableStream<Uint8Array>): Promise<number> {
  let at = 0
  let right = true
  for await (const chunk of stream) {
    for (let i = 0; i < chunk.length; i++) right &&= chunk[i] === patternByte(at + i)
    at += chunk.length
  }
  return right ? at : -1
}
