import {
  type Client,
  Conn,
  Interface,
  Message,
  ObjectSize,
  Pipeline,
  Pointer,
  Registry,
  Server,
  Struct,
  type Transport,
  utils,
} from 'capnp-es'
import { Message as RpcMessage } from 'capnp-es/capnp/rpc'

/**
 * capnp-es, an implementation that shares nothing with ours, as the other end of an RPC connection. Two of its faults
 * are mended here: its Return to Bootstrap was empty, and its transport lost a message when two came at once.
 */

/** ConfigurationManager.updateConfiguration: params 1+1, results 0+1. */
export class UpdateParams extends Struct {
  static override readonly _capnp = { displayName: 'UpdateParams', id: 'b177ca2526a3ca76', size: new ObjectSize(8, 1) }
}

export class UpdateResults extends Struct {
  static override readonly _capnp = { displayName: 'UpdateResults', id: '958096448eb3373e', size: new ObjectSize(0, 1) }
}

export class UpdateResponse extends Struct {
  static override readonly _capnp = {
    displayName: 'UpdateResponse',
    id: 'db58ff694ba05cf9',
    size: new ObjectSize(8, 1),
  }
}

const updateConfiguration = {
  interfaceId: 0xb48edfbdaa25db04n,
  methodId: 0,
  interfaceName: 'ConfigurationManager',
  methodName: 'updateConfiguration',
  ParamsClass: UpdateParams,
  ResultsClass: UpdateResults,
}

/** An interface with a method that the other end may not have. */
const missing = { ...updateConfiguration, methodId: 7, methodName: 'missing' }

Registry.register(updateConfiguration.interfaceId, { methods: [updateConfiguration] })

export type Update = (version: number, config: string) => Promise<{ version: number; error: string }>

class ConfigurationClient {
  readonly client: Client
  constructor(client: Client) {
    this.client = client
  }
  async update(
    version: number,
    config: string,
    method = updateConfiguration,
  ): Promise<{ version: number; error: string }> {
    const answer = this.client.call({
      method,
      paramsFunc: (params: UpdateParams) => {
        utils.setInt32(0, version, params)
        const bytes = new TextEncoder().encode(config)
        const data = utils.initData(0, bytes.length, params)
        for (const [index, byte] of bytes.entries()) data.set(index, byte)
      },
    })
    const results = await new Pipeline(UpdateResults, answer).struct()
    const response = utils.getStruct(0, UpdateResponse, results)
    return { version: utils.getInt32(0, response), error: utils.getText(0, response) }
  }
  callMissing(): Promise<unknown> {
    return this.update(0, '', missing)
  }
}

class ConfigurationServer extends Server {
  constructor(update: Update) {
    const impl = async (params: UpdateParams, results: UpdateResults): Promise<void> => {
      const config = new TextDecoder().decode(utils.getData(0, params).toUint8Array())
      const answer = await update(utils.getInt32(0, params), config)
      const response = utils.initStructAt(0, UpdateResponse, results)
      utils.setInt32(0, answer.version, response)
      utils.setText(0, answer.error, response)
    }
    super(undefined, [{ ...updateConfiguration, impl }])
  }
}

class MendedConn extends Conn {
  override handleBootstrapMessage(message: RpcMessage): void {
    const answer = this.insertAnswer(message.bootstrap.questionId)
    if (answer === null || this.main === undefined) throw new Error('capnp-es: no bootstrap')
    const results = new Message()
    results.allocateSegment(8)
    const segment = results.getSegment(0)
    utils.setInterfacePointer(results.addCap(this.main), new Pointer(segment, 0))
    answer.fulfill(new Interface(segment, 0))
  }
}

export interface CapnpEsEnd {
  /** Asks for our bootstrap interface. */
  connect(): ConfigurationClient
  receive(bytes: Uint8Array): void
  /** What it threw while it worked: ours must never make it. */
  readonly errors: unknown[]
}

/** @param send takes each of its messages */
export function createCapnpEsEnd(send: (message: Uint8Array) => void, update?: Update): CapnpEsEnd {
  const arrived: RpcMessage[] = []
  let wake: ((message: RpcMessage) => void) | undefined
  let unread = new Uint8Array(0)
  const errors: unknown[] = []

  const transport: Transport = {
    sendMessage(root) {
      send(new Uint8Array(root.segment.message.toArrayBuffer()))
    },
    recvMessage() {
      const next = arrived.shift()
      return next === undefined ? new Promise((resolve) => (wake = resolve)) : Promise.resolve(next)
    },
    close() {},
  }
  const conn = new MendedConn(transport)
  conn.onError = (error) => errors.push(error)
  if (update !== undefined) {
    conn.main = new ConfigurationServer(update)
    conn.addExport(conn.main)
  }

  function deliver(message: RpcMessage): void {
    if (wake === undefined) arrived.push(message)
    else wake(message)
    wake = undefined
  }

  return {
    connect: () => conn.bootstrap({ Client: ConfigurationClient, Server: ConfigurationServer, _capnp: {} } as never),
    errors,
    receive(bytes) {
      const joined = new Uint8Array(unread.length + bytes.length)
      joined.set(unread)
      joined.set(bytes, unread.length)
      unread = joined
      for (;;) {
        const size = messageSize(unread)
        if (size === undefined || unread.length < size) return
        deliver(new Message(unread.slice(0, size), false).getRoot(RpcMessage))
        unread = unread.slice(size)
      }
    },
  }
}

function messageSize(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 4) return undefined
  const segments = view.getUint32(0, true) + 1
  const header = Math.ceil((4 + 4 * segments) / 8) * 8
  if (bytes.length < header) return undefined
  let size = header
  for (let index = 0; index < segments; index++) size += 8 * view.getUint32(4 + 4 * index, true)
  return size
}
