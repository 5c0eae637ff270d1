/** A gRPC server and clients that are not ours, whose messages are bare bytes: no schema is needed to be in the way. */
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  status,
  type ClientDuplexStream,
  type ClientReadableStream,
  type MethodDefinition,
  type ServiceError,
  type ServerDuplexStream,
  type ServerOptions,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js'

export const service = 'test.Echo'
type MethodName = 'Say' | 'Count' | 'Sum' | 'Talk' | 'Hang'

const same = (bytes: Buffer): Buffer => bytes

function method(name: MethodName, requestStream: boolean, responseStream: boolean): MethodDefinition<Buffer, Buffer> {
  return {
    path: pathOf(name),
    requestStream,
    responseStream,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  }
}

function pathOf(name: MethodName): string {
  return `/${service}/${name}`
}

export interface GrpcBackend {
  readonly port: number
  /** Of each call, its authority. */
  readonly authorities: readonly string[]
  /** Addresses that calls came from: one for each connection. */
  readonly peers: ReadonlySet<string>
  /** Resolves when the call that hangs is cancelled, or its deadline here is over. */
  readonly cancelled: Promise<void>
  close(): void
}

/**
 * - `Say` answers what it is asked; metadata `fail` (a status code) makes it fail before anything is sent.
 * - `Count` sends as many messages as its request says, then fails if metadata `fail` says so.
 * - `Sum` answers how many bytes all messages had.
 * - `Talk` answers each message at once.
 * - `Hang` never answers.
 */
export async function startGrpcBackend(
  tls?: { readonly cert: string; readonly key: string },
  options: ServerOptions = {},
): Promise<GrpcBackend> {
  const authorities: string[] = []
  const peers = new Set<string>()
  const cancelled = Promise.withResolvers<void>()
  const server = new Server({ 'grpc.max_receive_message_length': -1, ...options })
  const note = (call: { getHost(): string; getPeer(): string }): void => {
    authorities.push(call.getHost())
    peers.add(call.getPeer())
  }
  server.addService(
    {
      say: method('Say', false, false),
      count: method('Count', false, true),
      sum: method('Sum', true, false),
      talk: method('Talk', true, true),
      hang: method('Hang', false, false),
    },
    {
      say(call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) {
        note(call)
        const trailer = metadataOf({ 'x-after': 'trailer', 'x-bytes-bin': Buffer.from([0, 255, 10]) })
        const failure = failureOf(call.metadata)
        if (failure !== undefined) {
          answer({ code: failure, details: 'as you wish: é', metadata: trailer })
          return
        }
        call.sendMetadata(metadataOf({ 'x-before': String(call.metadata.get('x-asked')[0] ?? '') }))
        answer(null, call.request, trailer)
      },
      count(call: ServerWritableStream<Buffer, Buffer>) {
        note(call)
        const count = Number(call.request.toString())
        for (let i = 1; i <= count; i++) call.write(Buffer.from(String(i)))
        const failure = failureOf(call.metadata)
        if (failure === undefined) call.end()
        else call.emit('error', { code: failure, details: 'after all that' })
      },
      sum(call: ServerReadableStream<Buffer, Buffer>, answer: sendUnaryData<Buffer>) {
        note(call)
        let bytes = 0
        call.on('data', (message: Buffer) => (bytes += message.length))
        call.on('end', () => answer(null, Buffer.from(String(bytes))))
      },
      talk(call: ServerDuplexStream<Buffer, Buffer>) {
        note(call)
        call.on('data', (message: Buffer) => call.write(message))
        call.on('end', () => call.end())
      },
      hang(call: ServerUnaryCall<Buffer, Buffer>) {
        note(call)
        call.on('cancelled', () => cancelled.resolve())
      },
    },
  )
  const secured = tls && {
    cert_chain: Buffer.from(tls.cert),
    private_key: Buffer.from(tls.key),
  }
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(
      '127.0.0.1:0',
      secured ? ServerCredentials.createSsl(null, [secured]) : ServerCredentials.createInsecure(),
      (error, bound) => (error ? reject(error) : resolve(bound)),
    )
  })
  return { port, authorities, peers, cancelled: cancelled.promise, close: () => server.forceShutdown() }
}

export interface Reply {
  readonly message: Buffer
  readonly metadata: Metadata
  readonly trailers: Metadata
}

export interface GrpcClient {
  /** Rejects with a ServiceError. */
  say(message: Buffer, options?: CallOptions): Promise<Reply>
  count(messages: number, options?: CallOptions): ClientReadableStream<Buffer>
  sum(messages: Iterable<Buffer>): Promise<number>
  talk(): ClientDuplexStream<Buffer, Buffer>
  /** Rejects with a ServiceError; `cancel` makes it. */
  hang(deadlineMs?: number): { readonly failed: Promise<ServiceError>; cancel(): void }
  close(): void
}

export interface CallOptions {
  readonly metadata?: Readonly<Record<string, string>>
}

/** @param authority what the client asks for; it dials the address */
export function createGrpcClient(address: string, authority: string): GrpcClient {
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.default_authority': authority,
    'grpc.max_receive_message_length': -1,
    'grpc.enable_retries': 0,
    // Each client has connections of its own.
    'grpc.use_local_subchannel_pool': 1,
  })
  return {
    say: (message, { metadata = {} } = {}) =>
      new Promise((resolve, reject) => {
        let before: Metadata | undefined
        let reply: Buffer | undefined
        const call = client.makeUnaryRequest(
          pathOf('Say'),
          same,
          same,
          message,
          metadataOf(metadata),
          (error, answer) => (error ? reject(error) : (reply = answer)),
        )
        call.on('metadata', (received) => (before = received))
        call.on('status', ({ code, metadata: trailers }) => {
          if (code === status.OK) resolve({ message: reply!, metadata: before!, trailers })
        })
      }),
    count: (messages, { metadata = {} } = {}) =>
      client.makeServerStreamRequest(pathOf('Count'), same, same, Buffer.from(String(messages)), metadataOf(metadata)),
    sum: (messages) =>
      new Promise((resolve, reject) => {
        const call = client.makeClientStreamRequest(pathOf('Sum'), same, same, (error, answer?: Buffer) =>
          error ? reject(error) : resolve(Number(answer!.toString())),
        )
        for (const message of messages) call.write(message)
        call.end()
      }),
    talk: () => client.makeBidiStreamRequest(pathOf('Talk'), same, same),
    hang(deadlineMs) {
      const { promise, resolve } = Promise.withResolvers<ServiceError>()
      const call = client.makeUnaryRequest(
        pathOf('Hang'),
        same,
        same,
        Buffer.alloc(0),
        deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs },
        (error) => resolve(error!),
      )
      return { failed: promise, cancel: () => call.cancel() }
    },
    close: () => client.close(),
  }
}

function metadataOf(entries: Readonly<Record<string, string | Buffer>>): Metadata {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(entries)) metadata.set(name, value)
  return metadata
}

function failureOf(metadata: Metadata): status | undefined {
  const [wanted] = metadata.get('fail')
  return wanted === undefined ? undefined : Number(wanted)
}
