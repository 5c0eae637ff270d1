import { createMessageFramer, type Segments } from '../../src/tunnel/capnp-framing.ts'
import { defaultCapnpLimits } from '../../src/tunnel/capnp.ts'
import { readRpcMessage, type RpcMessage } from '../../src/tunnel/rpc-messages.ts'

/** The messages in a stream, which must end between two of them. */
export function segmentsOf(bytes: Uint8Array): Segments[] {
  const framer = createMessageFramer()
  const messages: Segments[] = []
  let at = 0
  while (at < bytes.length) {
    at += framer.push(bytes, at, bytes.length)
    const message = framer.take()
    if (message === undefined) break
    messages.push(message)
  }
  if (!framer.betweenMessages) throw new Error('the stream ends inside a message')
  return messages
}

export function rpcMessagesOf(bytes: Uint8Array): RpcMessage[] {
  return segmentsOf(bytes).map((segments) => readRpcMessage(segments, defaultCapnpLimits))
}

export function concat(...pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((total, piece) => total + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}
