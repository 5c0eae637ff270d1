import {
  connect as connectHttp2,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type OutgoingHttpHeaders,
} from 'node:http2'
import { type AddressInfo } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import { createTimers } from '../../src/timers.ts'
import {
  type ConnectionError,
  registerConnection,
  type RegisterConnectionParams,
  unregisterConnection,
  updateLocalConfiguration,
} from '../../src/tunnel/registration.ts'
import { deserializeFields } from '../../src/tunnel/response-headers.ts'
import { createRpcConnection } from '../../src/tunnel/rpc.ts'
import { serveMethod } from '../../src/tunnel/rpc-method.ts'
import { clock } from '../../adapters/portable/runtime.ts'
import { createTestAuthority } from '../support/certificates.ts'

/** One connection of a connector, as the edge has it. */
export interface NodeEdgeConnection {
  readonly socket: TLSSocket
  readonly session: ClientHttp2Session
  readonly registration: RegisterConnectionParams
  unregistered: boolean
  /** Sends a request; `body` ends it, `undefined` leaves it open. */
  request(headers: OutgoingHttpHeaders, body?: string | Uint8Array | 'open'): ClientHttp2Stream
  ask(headers: OutgoingHttpHeaders, body?: string): Promise<NodeEdgeAnswer>
}

export interface NodeEdgeAnswer {
  readonly status: number
  readonly meta: string | undefined
  readonly fields: readonly (readonly [string, string])[]
  readonly trailers: Readonly<Record<string, unknown>>
  readonly body: string
}

export interface NodeEdge {
  /** `host:port` */
  readonly address: string
  /** PEM */
  readonly ca: string
  /** Those that have registered, in order. */
  readonly connections: NodeEdgeConnection[]
  readonly dialled: number
  answer: (params: RegisterConnectionParams) => ConnectionError | undefined
  opensControl: boolean
  close(): Promise<void>
}

/** An edge over Node's own HTTP/2: not faithful, but not ours either. */
export async function startNodeEdge(names: readonly string[] = ['h2.cftunnel.com']): Promise<NodeEdge> {
  const authority = await createTestAuthority()
  const timers = createTimers(clock)
  const sockets = new Set<TLSSocket>()
  const connections: NodeEdgeConnection[] = []
  let dialled = 0
  const server = createServer(
    { ...(await authority.issue(names.map((value) => ({ type: 'dns', value })))) },
    (socket) => {
      dialled++
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      socket.on('error', () => {})
      if (socket.servername !== 'h2.cftunnel.com' || socket.alpnProtocol !== false) socket.destroy()
      else serve(socket)
    },
  )
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const edge: NodeEdge = {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    ca: `${authority.certificate}\n`,
    connections,
    get dialled() {
      return dialled
    },
    answer: () => undefined,
    opensControl: true,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
  return edge

  function serve(socket: TLSSocket): void {
    const session = connectHttp2('https://edge.local', { createConnection: () => socket })
    session.on('error', () => {})
    if (!edge.opensControl) return
    const control = session.request(
      { ':method': 'GET', ':path': '/', 'cf-cloudflared-proxy-connection-upgrade': 'control-stream' },
      { endStream: false },
    )
    control.on('error', () => {})
    let connection: NodeEdgeConnection | undefined
    const rpc = createRpcConnection(
      { write: (message) => void control.write(message.slice()), end: () => void control.end() },
      {
        timers,
        exportId: 7,
        methods: [
          serveMethod(registerConnection, (params) => {
            const error = edge.answer(params)
            if (error) return { kind: 'error', error } as const
            connection = connectionOf(socket, session, structuredClone(params))
            connections.push(connection)
            const uuid = crypto.getRandomValues(new Uint8Array(16))
            return {
              kind: 'details',
              details: { uuid, locationName: 'LIS', tunnelIsRemotelyManaged: true },
            } as const
          }),
          serveMethod(updateLocalConfiguration, () => undefined),
          serveMethod(unregisterConnection, () => {
            connection!.unregistered = true
            return undefined
          }),
        ],
      },
    )
    control.on('data', (bytes: Uint8Array) => rpc.receive(bytes, 0, bytes.length))
    control.on('close', () => rpc.lost('closed'))
  }
}

function connectionOf(
  socket: TLSSocket,
  session: ClientHttp2Session,
  registration: RegisterConnectionParams,
): NodeEdgeConnection {
  const connection: NodeEdgeConnection = {
    socket,
    session,
    registration,
    unregistered: false,
    request(headers, body) {
      const stream = session.request(
        { ':method': 'GET', ':path': '/', ':authority': 'shop.example.com', ...headers },
        { endStream: body === undefined },
      )
      stream.on('error', () => {})
      if (body !== undefined && body !== 'open') stream.end(body)
      return stream
    },
    ask: (headers, body) => readAnswer(connection.request(headers, body)),
  }
  return connection
}

export function readAnswer(stream: ClientHttp2Stream): Promise<NodeEdgeAnswer> {
  return new Promise((resolve, reject) => {
    let head: Record<string, unknown> = {}
    let trailers: Readonly<Record<string, unknown>> = {}
    let body = ''
    stream.setEncoding('utf8')
    stream.on('response', (headers) => (head = headers))
    stream.on('trailers', (headers) => (trailers = headers))
    stream.on('data', (text: string) => (body += text))
    stream.on('error', reject)
    stream.on('end', () =>
      resolve({
        status: Number(head[':status']),
        meta: head['cf-cloudflared-response-meta'] as string | undefined,
        fields: deserializeFields((head['cf-cloudflared-response-headers'] as string | undefined) ?? '') ?? [],
        trailers,
        body,
      }),
    )
  })
}
