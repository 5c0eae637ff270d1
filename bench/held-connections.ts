/** Client connections that make one request and then only stay. */
import { connect, type Socket } from 'node:net'

import type { RuleTarget } from './rules.ts'

export interface HeldConnections {
  /** How many are still open. */
  open(): number
  close(): void
}

/** Resolves when the whole answer, head and Content-Length bytes of body, is in. */
function one(port: number, target: RuleTarget): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let received = ''
    const onData = (chunk: Buffer): void => {
      received += chunk.toString('latin1')
      const end = received.indexOf('\r\n\r\n')
      if (end === -1) return
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(received.slice(0, end))?.[1] ?? NaN)
      if (!received.startsWith('HTTP/1.1 200 ') || Number.isNaN(length)) {
        socket.destroy(new Error(`unexpected answer: ${received.slice(0, end)}`))
      } else if (received.length >= end + 4 + length) {
        socket.off('data', onData)
        socket.resume()
        resolve(socket)
      }
    }
    socket.on('data', onData)
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('the connection was closed before its answer')))
    socket.write(`GET ${target.prefix}/1k HTTP/1.1\r\nHost: ${target.host}\r\n\r\n`)
  })
}

/** One after the other in small groups, so that the proxy needs few upstream connections for all of them. */
export async function holdConnections(port: number, target: RuleTarget, count: number): Promise<HeldConnections> {
  const sockets: Socket[] = []
  while (sockets.length < count) {
    const group = Math.min(20, count - sockets.length)
    sockets.push(...(await Promise.all(Array.from({ length: group }, () => one(port, target)))))
  }
  return {
    open: () => sockets.filter((socket) => socket.readyState === 'open').length,
    close() {
      for (const socket of sockets) socket.destroy()
    },
  }
}
