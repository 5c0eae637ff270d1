/**
 * WebSockets over HTTP/2 (RFC 8441): the client opens a stream by extended CONNECT, and whoever is behind us sees the
 * GET of HTTP/1.1. The key and its answer exist there alone (section 5), so both are ours.
 */
import type { Head } from '../http/head.ts'

export interface WebSocketHandshake {
  /** The request's fields, as HTTP/1.1 has them; what `Connection` and `Upgrade` say is the exchange's. */
  readonly head: Head
  /** Whether who answered 101 has understood what it switched to. RFC 6455 section 4.1 */
  accepts(answer: Head): Promise<boolean>
}

/** Of an answer, what the client must not see. */
export const handshakeOnly: readonly string[] = ['sec-websocket-accept']

export function createHandshake(head: Head): WebSocketHandshake {
  const key = base64(crypto.getRandomValues(new Uint8Array(16)))
  return {
    head: head.edit({ removed: ['sec-websocket-key', ...handshakeOnly], added: [['Sec-WebSocket-Key', key]] }),
    async accepts(answer) {
      const text = new TextEncoder().encode(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      const digest = new Uint8Array(await crypto.subtle.digest('SHA-1', text))
      return answer.get('sec-websocket-accept') === base64(digest)
    },
  }
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
}
