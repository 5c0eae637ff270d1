/** The soak's backend: a plain node:http server that behaves well, slowly or badly, as the path says. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** Differs from byte to byte with a long period, so that a body that lost, gained or swapped bytes is noticed. */
export const pattern = Buffer.from(Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 31 + (i >> 8) * 7) & 0xff))

export interface SoakBackend {
  port: number
  close(): Promise<void>
}

type Behaviour = (request: IncomingMessage, response: ServerResponse, url: URL) => void | Promise<void>

const size = (url: URL): number => Math.min(pattern.length, Number(url.searchParams.get('bytes') ?? 1_024))

const sendBytes: Behaviour = (_, response, url) => {
  response.setHeader('content-length', size(url))
  response.end(pattern.subarray(0, size(url)))
}

const behaviours: Record<string, Behaviour> = {
  '/1k': sendBytes,
  '/bytes': sendBytes,
  '/echo': (request, response) => {
    const length = request.headers['content-length']
    if (length !== undefined) response.setHeader('content-length', length)
    request.pipe(response)
  },
  '/chunked': async (_, response, url) => {
    response.setHeader('trailer', 'x-soak-end')
    const bytes = size(url)
    for (let at = 0; at < bytes; at += 5_000) {
      response.write(pattern.subarray(at, Math.min(bytes, at + 5_000)))
      await sleep(1)
    }
    response.addTrailers({ 'x-soak-end': String(bytes) })
    response.end()
  },
  '/nothing': (_, response) => void response.writeHead(204).end(),
  '/unchanged': (_, response) => void response.writeHead(304, { etag: '"soak"' }).end(),
  '/slow': async (_, response) => {
    await sleep(50 + Math.random() * 200)
    response.end('slow')
  },
  '/hang': () => undefined,
  '/early': (request, response) => {
    response.writeHead(413, { 'content-length': '5' }).end('large')
    request.resume()
  },
  '/events': async (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    while (!response.destroyed) {
      response.write(`data: ${Date.now()}\n\n`)
      await sleep(20)
    }
  },
  '/cut': (_, response) => {
    response.setHeader('content-length', 100_000)
    response.write(pattern.subarray(0, 30_000), () => response.destroy())
  },
  '/reset': (request) => void request.socket.resetAndDestroy(),
}

export async function startSoakBackend(): Promise<SoakBackend> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://backend')
    const behave = behaviours[url.pathname]
    request.on('error', () => response.destroy())
    if (behave) void Promise.resolve(behave(request, response, url)).catch(() => response.destroy())
    else response.writeHead(404).end()
  })
  server.on('upgrade', (_, socket: Socket, head: Buffer) => {
    socket.on('error', () => socket.destroy())
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: soak\r\n\r\n')
    socket.write(head)
    socket.pipe(socket)
  })
  server.on('clientError', (_, socket) => socket.destroy())
  server.keepAliveTimeout = 30_000
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', 4_096, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
