/** What proves that a server has understood a WebSocket's handshake. RFC 6455 section 4.2.2 */
export async function webSocketAccept(key: string): Promise<string> {
  const text = new TextEncoder().encode(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
  return btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.digest('SHA-1', text))))
}
