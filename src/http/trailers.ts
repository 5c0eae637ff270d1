/**
 * Trailers (RFC 9110 section 6.5), which Fetch has no words for.
 *
 * Between engines they travel at the end of a body. Around them, `setTrailers` lets a handler attach some to a Response
 * that it made, and `trailersOf` reads those of a message whose stream has been read to its end.
 */
import type { Field } from '../runtime.ts'
import { classify, headOf, kind, type Head } from './head.ts'

/** By stream: the trailers, a promise of them, or the stream whose trailers they are. */
const kept = new WeakMap<ReadableStream, Head | Promise<Head> | ReadableStream>()

/** @internal Called by whoever reaches the end of a stream that had trailers. */
export function keepTrailers(stream: ReadableStream, trailers: Head): void {
  kept.set(stream, trailers)
}

/** @internal Lets a stream have the trailers of the one whose bytes it repeats. */
export function followTrailers(stream: ReadableStream, source: ReadableStream): void {
  if (stream !== source) kept.set(stream, source)
}

/** @internal */
export function trailersOfStream(stream: ReadableStream): Head | Promise<Head> | undefined {
  const found = kept.get(stream)
  return found instanceof ReadableStream ? trailersOfStream(found) : found
}

/** Trailers received with a message; empty before its body has been read to the end. */
export function trailersOf(message: Request | Response): readonly Field[] {
  const head = message.body ? trailersOfStream(message.body) : undefined
  return head === undefined || head instanceof Promise ? [] : head.fields()
}

/**
 * Attaches trailers to a message made by a handler.
 *
 * @param fields the trailers, or a promise that is awaited when the body has ended
 * @throws TypeError when the message has no body
 */
export function setTrailers(message: Request | Response, fields: Iterable<Field> | Promise<Iterable<Field>>): void {
  if (!message.body) throw new TypeError('trailers need a body to follow')
  kept.set(message.body, fields instanceof Promise ? fields.then(headOf) : headOf(fields))
}

/** Fields that must not be sent or merged as trailers: framing, routing, authentication, and control. RFC 9110 section 6.5.1. */
const forbidden: readonly string[] = [
  'authorization',
  'cache-control',
  'connection',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'cookie',
  'expect',
  'host',
  'keep-alive',
  'max-forwards',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'range',
  'set-cookie',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'www-authenticate',
]

/** What a peer says of the client and of the way here: by their own definitions none of it comes at an end. */
const claims = kind.forwarded | kind.cloudflare | kind.via

/** Those of a request that came, without what may not stand among them, nor reach a backend past the trust policy. */
export function trailersOfRequest(received: Head): Head {
  if ((received.kinds & claims) === 0) return trailersOfResponse(received)
  const claimed = received.fields().filter(([name]) => (classify(name, 0, name.length) & claims) !== 0)
  return received.edit({ removed: [...forbidden, ...claimed.map(([name]) => name.toLowerCase())], added: [] })
}

/** Those of an answer that came, without what may not stand among them. */
export function trailersOfResponse(received: Head): Head {
  return received.edit({ removed: forbidden, added: [] })
}
