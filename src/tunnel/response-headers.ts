import { isFieldValue, isToken } from '../http/fields.ts'
import { type Field } from '../runtime.ts'

/**
 * How a response goes to the edge over HTTP/2: its fields are packed into one, so that HTTP/2's rules about fields are
 * not applied to them, and beside it stands who made the response.
 *
 * @see cloudflared, connection/header.go and connection/http2.go
 */
export const responseHeadersName = 'cf-cloudflared-response-headers'
export const responseMetaName = 'cf-cloudflared-response-meta'

/** Values of the meta field, by who answered. */
export const responseMeta = {
  /** Us, whatever the status: the answer is our routes' or a backend's. */
  origin: '{"src":"origin"}',
  /** The connector itself failed. */
  connector: '{"src":"cloudflared"}',
  rateLimited: '{"src":"cloudflared","flow_rate_limited":true}',
} as const

/** What stands in the HEADERS frame of a response. */
export interface EdgeResponseHead {
  readonly status: number
  readonly fields: readonly Field[]
}

/**
 * @param status the response's own; 101 becomes 200, since HTTP/2 has no upgrade
 * @param fields the response's own. Content-Length stands outside as well, for the edge to check.
 */
export function edgeResponseHead(status: number, fields: readonly Field[]): EdgeResponseHead {
  const outside: Field[] = [
    [responseHeadersName, serializeFields(fields)],
    [responseMetaName, responseMeta.origin],
  ]
  for (const [name, value] of fields) if (isContentLength(name)) outside.push(['content-length', value])
  return { status: status === 101 ? 200 : status, fields: outside }
}

/** The answer to a request that the connector could not serve. No body goes with it. */
export function connectorFailureHead(meta: 'connector' | 'rateLimited' = 'connector'): EdgeResponseHead {
  return { status: 502, fields: [[responseMetaName, responseMeta[meta]]] }
}

/**
 * `base64(name):base64(value)` pairs joined by `;`, without padding. Fields of the edge's own namespaces are left out.
 *
 * This runs for every response, so it is written into one buffer: half the time of a `btoa` for each name and value.
 *
 * @throws TypeError on a code unit above 0xFF: values are bytes, held one to a code unit
 */
export function serializeFields(fields: readonly Field[]): string {
  let room = 0
  for (const [name, value] of fields) room += 2 * (name.length + value.length) + 8
  const into = room <= scratch.length ? scratch : new Uint8Array(room)
  let at = 0
  for (const [name, value] of fields) {
    if (isEdgeField(name)) continue
    if (at > 0) into[at++] = semicolon
    at = encodeInto(into, at, name)
    into[at++] = colon
    at = encodeInto(into, at, value)
  }
  return ascii.decode(into.subarray(0, at))
}

/**
 * The edge's half of it.
 *
 * @returns `undefined` when the text is not of that form
 */
export function deserializeFields(text: string): Field[] | undefined {
  const fields: Field[] = []
  for (const pair of text.split(';')) {
    if (pair === '') continue
    const parts = pair.split(':').map(decode)
    const [name, value] = parts
    if (parts.length !== 2 || name === undefined || value === undefined) return undefined
    fields.push([name, value])
  }
  return fields
}

/** Whether a serialised field may go on to an eyeball as a field of HTTP. */
export function isSendableField([name, value]: Field): boolean {
  return isToken(name) && isFieldValue(value)
}

/** Names that only the edge and the connector use between themselves. */
export function isEdgeField(name: string): boolean {
  const first = name.charCodeAt(0)
  if (first !== 0x43 && first !== 0x63) return first === 0x3a
  return edgePrefixes.test(name)
}

/**
 * Whether every piece of a response must leave at once, because somebody may be waiting for it.
 *
 * @see cloudflared, connection/connection.go (shouldFlush)
 */
export function isStreamed(fields: readonly Field[]): boolean {
  let hasLength = false
  for (const [name, value] of fields) {
    switch (name.toLowerCase()) {
      case 'content-length':
        hasLength ||= value !== ''
        break
      case 'transfer-encoding':
        if (/chunked/i.test(value)) return true
        break
      case 'content-type':
        if (/^(?:text\/event-stream|application\/grpc|application\/x-ndjson)/i.test(value)) return true
        break
    }
  }
  return !hasLength
}

const edgePrefixes = /^cf-(?:int-|cloudflared-|proxy-)/i

function isContentLength(name: string): boolean {
  return name.length === 14 && name.toLowerCase() === 'content-length'
}

/** @returns where the digits end */
function encodeInto(into: Uint8Array, at: number, text: string): number {
  const { length } = text
  let seen = 0
  let index = 0
  for (; index + 2 < length; index += 3, at += 4) {
    const a = text.charCodeAt(index)
    const b = text.charCodeAt(index + 1)
    const c = text.charCodeAt(index + 2)
    seen |= a | b | c
    into[at] = digits[(a >> 2) & 63]!
    into[at + 1] = digits[((a & 3) << 4) | ((b >> 4) & 15)]!
    into[at + 2] = digits[((b & 15) << 2) | ((c >> 6) & 3)]!
    into[at + 3] = digits[c & 63]!
  }
  if (index < length) {
    const a = text.charCodeAt(index)
    const b = index + 1 < length ? text.charCodeAt(index + 1) : 0
    seen |= a | b
    into[at++] = digits[(a >> 2) & 63]!
    into[at++] = digits[((a & 3) << 4) | ((b >> 4) & 15)]!
    if (index + 1 < length) into[at++] = digits[(b & 15) << 2]!
  }
  if (seen > 0xff) throw new TypeError('a header field with a code unit above 0xFF')
  return at
}

function decode(text: string): string | undefined {
  return text.length % 4 === 1 || !/^[A-Za-z0-9+/]*$/.test(text) ? undefined : atob(text)
}

const digits = new TextEncoder().encode('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')
const colon = 0x3a
const semicolon = 0x3b
/** Holds the fields of any usual response. */
const scratch = new Uint8Array(16 * 1024)
const ascii = new TextDecoder()
