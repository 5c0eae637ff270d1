/**
 * Bytes in passing. A body is a token until somebody touches it: an engine hands bytes from one socket to the other
 * through these two shapes, with back-pressure, and no stream is made.
 */
import type { ProxyError } from '../errors.ts'
import type { Head } from './head.ts'

/** One message body, before its consumer has come. It has one consumer in its life. */
export interface Body {
  /** Bytes, when declared; undefined for a body whose end is marked (chunked, HTTP/2, until close). */
  readonly length: number | undefined
  /** Begins delivery. Bytes that are at hand already are delivered before this returns. */
  start(sink: BodySink): void
  /** Goes on after `data` returned false. Not to be called from inside `data`. */
  resume(): void
  /** Nobody wants the rest. The sink hears nothing more. Also right before `start`, and after the end, where it does nothing. */
  cancel(reason?: ProxyError): void
}

export interface BodySink {
  /**
   * Takes bytes. They are lent: valid during the call only, unless it returns false.
   *
   * @returns false to keep them, and get no more, until `body.resume()`
   */
  data(bytes: Uint8Array, start: number, end: number): boolean
  /** The body is complete. */
  end(trailers?: Head): void
  /** The body broke; what came so far is not all of it. */
  fail(error: ProxyError): void
}

/** A body whose bytes are all here. */
export function bodyOfBytes(bytes: Uint8Array): Body {
  let sink: BodySink | undefined
  return {
    length: bytes.length,
    start(to) {
      if (bytes.length > 0 && !to.data(bytes, 0, bytes.length)) sink = to
      else to.end()
    },
    resume() {
      const waiting = sink
      sink = undefined
      waiting?.end()
    },
    cancel() {
      sink = undefined
    },
  }
}

const encoder = new TextEncoder()

export function bodyOfText(text: string): Body {
  return bodyOfBytes(encoder.encode(text))
}

/** A sink that throws everything away. */
export const discardingSink: BodySink = { data: () => true, end() {}, fail() {} }
