/** What llhttp, in its strict mode and at work in node:http, makes of bytes: the second opinion. */
import { createServer, request as ask, type IncomingMessage } from 'node:http'
import { Duplex } from 'node:stream'

export interface ReadRequest {
  readonly method: string
  readonly target: string
  readonly fields: readonly (readonly [name: string, value: string])[]
  /** Code units are bytes. */
  body: string
  complete: boolean
}

export interface ReadResponse {
  readonly status: number
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly body: string
  readonly complete: boolean
}

/** A connection whose peer has sent so much and then its FIN, and takes everything. */
function connectionOf(text: string): Duplex {
  const duplex = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  duplex.on('error', () => {})
  duplex.push(Buffer.from(text, 'latin1'))
  duplex.push(null)
  return duplex
}

function pairs(raw: readonly string[]): [string, string][] {
  return Array.from({ length: raw.length / 2 }, (_, i) => [raw[2 * i]!, raw[2 * i + 1]!])
}

export interface Oracle {
  /** The requests in a connection's bytes, each with the body it was given; the last one may not be complete. */
  requests(text: string): Promise<{ readonly read: readonly ReadRequest[]; readonly refused: boolean }>
  /** The final response in a connection's bytes, or undefined when there is none to be believed. */
  response(text: string, method: string): Promise<ReadResponse | undefined>
}

export function createOracle(): Oracle {
  const byConnection = new Map<Duplex, ReadRequest[]>()
  const refusals = new WeakSet<Duplex>()
  const server = createServer({ insecureHTTPParser: false, requireHostHeader: false }, (incoming, response) => {
    const read: ReadRequest = {
      method: incoming.method!,
      target: incoming.url!,
      fields: pairs(incoming.rawHeaders),
      body: '',
      complete: false,
    }
    byConnection.get(incoming.socket)?.push(read)
    incoming.setEncoding('latin1')
    incoming.on('data', (chunk: string) => (read.body += chunk))
    incoming.on('error', () => {})
    incoming.on('end', () => {
      read.complete = incoming.complete
      response.end()
    })
  })
  server.on('clientError', (_error, socket) => {
    refusals.add(socket)
    setImmediate(() => socket.destroy()) // what was read before is still on its way out
  })
  return {
    async requests(text) {
      const connection = connectionOf(text)
      const read: ReadRequest[] = []
      byConnection.set(connection, read)
      const closed = new Promise<void>((resolve) => connection.once('close', resolve))
      server.emit('connection', connection)
      await closed
      byConnection.delete(connection)
      return { read, refused: refusals.has(connection) }
    },
    response(text, method) {
      return new Promise((resolve) => {
        const connection = connectionOf(text)
        const asking = ask({ method, createConnection: () => connection, insecureHTTPParser: false })
        asking.on('error', () => resolve(undefined))
        asking.on('response', (incoming: IncomingMessage) => {
          let body = ''
          incoming.setEncoding('latin1')
          incoming.on('data', (chunk: string) => (body += chunk))
          incoming.on('error', () => {})
          incoming.on('close', () =>
            resolve({
              status: incoming.statusCode!,
              fields: pairs(incoming.rawHeaders),
              body,
              complete: incoming.complete,
            }),
          )
        })
        asking.on('close', () => resolve(undefined))
        asking.end()
      })
    },
  }
}
