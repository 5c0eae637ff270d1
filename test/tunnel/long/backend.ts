/**
 * A backend in a process of its own, none of ours: `node:http` and `ws`. It prints its port.
 *
 *     GET  /bytes/N     N bytes of the pattern
 *     POST /bytes       says how many bytes of the pattern came, or where they were wrong
 *     GET  /events/N    N server-sent events, each one after the one before has been acknowledged
 *     POST /ack/STREAM  acknowledges
 *     GET  /chat        a WebSocket: it sends back what it is sent, and counts every half second by itself
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocketServer, type WebSocket } from 'ws'
import { isPattern, patternAt } from './pattern.ts'

const pieceBytes = 65_536
const countEveryMs = 500
const acknowledge = new Map<string, () => void>()

const server = createServer((request, response) => {
  const [, kind = '', argument = ''] = request.url!.split('/')
  if (kind === 'events') void sendEvents(Number(argument), response)
  else if (kind === 'ack') {
    acknowledge.get(argument)?.()
    response.end()
  } else if (request.method === 'POST') receive(request, response)
  else send(Number(argument), response)
})

function send(length: number, response: ServerResponse): void {
  response.setHeader('content-length', length)
  let sent = 0
  const more = (): void => {
    let room = true
    while (room && sent < length) {
      const piece = patternAt(sent, Math.min(pieceBytes, length - sent))
      sent += piece.length
      room = response.write(piece)
    }
    if (sent === length) response.end()
  }
  response.on('drain', more)
  more()
}

function receive(request: IncomingMessage, response: ServerResponse): void {
  let received = 0
  let wrong = ''
  request.on('data', (bytes: Uint8Array) => {
    if (wrong === '' && !isPattern(bytes, received)) wrong = `wrong between ${received} and ${received + bytes.length}`
    received += bytes.length
  })
  request.on('end', () => response.end(wrong || String(received)))
}

async function sendEvents(count: number, response: ServerResponse): Promise<void> {
  const stream = crypto.randomUUID()
  response.setHeader('content-type', 'text/event-stream')
  for (let i = 1; i <= count; i++) {
    const acknowledged = new Promise<void>((resolve) => acknowledge.set(stream, resolve))
    response.write(`id: ${i}\ndata: ${stream}\n\n`)
    await acknowledged
  }
  acknowledge.delete(stream)
  response.end()
}

new WebSocketServer({ server, path: '/chat' }).on('connection', (socket: WebSocket) => {
  let count = 0
  const timer = setInterval(() => socket.send(String(++count)), countEveryMs)
  socket.on('message', (data: Buffer) => socket.send(data, { binary: true }))
  socket.on('error', () => {})
  socket.on('close', () => clearInterval(timer))
})

server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))
