/** Header blocks to requests and responses, strictly. RFC 9113 section 8. */
import type { ProxyError } from '../errors.ts'
import { isAuthority, isTarget } from '../http/fields.ts'
import { kind, type Head } from '../http/head.ts'
import type { FieldBlock } from './field-block.ts'
import type { Http2Limits } from './limits.ts'

type BadRequest = Extract<ProxyError, { kind: 'bad-request' }>

export interface RequestHead {
  readonly method: string
  /** Origin-form, or `*`. */
  readonly target: string
  readonly authority: string
  readonly scheme: string
  readonly head: Head
  /** What Content-Length says. */
  readonly length: number | undefined
  readonly awaitsContinue: boolean
  /** An extended CONNECT (RFC 8441) for a WebSocket, the one protocol that we know. */
  readonly isWebSocket: boolean
}

export interface ResponseHead {
  readonly status: number
  readonly head: Head
  readonly length: number | undefined
}

/**
 * @param extendedConnect whether the client has been told that it may use it
 * @returns a string for what is malformed and ends the stream; a refusal for what deserves an answer
 */
export function requestOf(
  block: FieldBlock,
  limits: Http2Limits,
  extendedConnect: boolean,
): RequestHead | BadRequest | string {
  if (block.fault !== undefined) return block.fault
  const { method, scheme, path, protocol } = block
  if (block.status !== undefined) return ':status in a request'
  if (block.tooLarge) return bad(431, 'request head too large')
  if (method === undefined) return 'no :method'
  if (protocol !== undefined && !(extendedConnect && method === 'CONNECT')) return 'unexpected :protocol'
  if (method === 'CONNECT' && protocol === undefined) {
    if (scheme !== undefined || path !== undefined || block.authority === undefined) return 'malformed CONNECT'
    return bad(405, 'CONNECT is not supported')
  }
  if (scheme === undefined) return 'no :scheme'
  if (path === undefined) return 'no :path'
  // RFC 9220 section 3.
  if (protocol !== undefined && protocol.toLowerCase() !== 'websocket') return bad(501, 'unknown :protocol')
  const head = block.head()

  let { authority } = block
  if ((head.kinds & kind.host) !== 0) {
    const host = onlyValue(head, kind.host)
    if (host === undefined) return 'repeated host'
    // RFC 9113 section 8.3.1: Host must not say anything else.
    if (authority === undefined) authority = host
    else if (host !== authority && host.toLowerCase() !== authority.toLowerCase()) return 'host and :authority differ'
  }
  if (authority === undefined) return bad(400, 'no :authority and no host')

  let length: number | undefined
  if ((head.kinds & kind.contentLength) !== 0) {
    length = lengthOf(head)
    if (length === undefined) return 'malformed content-length'
  }
  if (!isAuthority(authority)) return bad(400, 'invalid :authority')
  if (path.length > limits.maxTargetBytes) return bad(414, 'request target too long')
  if (path.charCodeAt(0) !== 47 ? !(path === '*' && method === 'OPTIONS') : !isTarget(path))
    return bad(400, 'malformed request target')
  let awaitsContinue = false
  if ((head.kinds & kind.expect) !== 0) {
    if (onlyValue(head, kind.expect)?.toLowerCase() !== '100-continue') return bad(417, 'unknown expectation')
    awaitsContinue = true
  }
  return { method, target: path, authority, scheme, head, length, awaitsContinue, isWebSocket: protocol !== undefined }
}

/** @returns a string for what is malformed */
export function responseOf(block: FieldBlock): ResponseHead | string {
  if (block.fault !== undefined) return block.fault
  if (block.tooLarge) return 'response head too large'
  const { status } = block
  if (status === undefined) return 'no :status'
  const { method, scheme, authority, path, protocol } = block
  if ([method, scheme, authority, path, protocol].some((value) => value !== undefined))
    return 'a request pseudo-header field in a response'
  const head = block.head()
  let length: number | undefined
  if ((head.kinds & kind.contentLength) !== 0) {
    length = lengthOf(head)
    if (length === undefined) return 'malformed content-length'
  }
  return { status: Number(status), head, length }
}

/** @returns a string for what is malformed */
export function trailersOf(block: FieldBlock): Head | string {
  if (block.fault !== undefined) return block.fault
  if (block.hasPseudo) return 'a pseudo-header field in a trailer section'
  if (block.tooLarge) return 'trailer section too large'
  return block.head()
}

export function bad(status: BadRequest['status'], reason: string): BadRequest {
  return { kind: 'bad-request', status, reason }
}

function lengthOf(head: Head): number | undefined {
  const value = onlyValue(head, kind.contentLength)
  if (value === undefined || !/^\d{1,16}$/.test(value)) return undefined
  const length = Number(value)
  return length <= Number.MAX_SAFE_INTEGER ? length : undefined
}

/** The value, when exactly one field line has that kind. */
function onlyValue(head: Head, wanted: number): string | undefined {
  let count = 0
  for (const line of head.lines) if ((line & wanted) !== 0) count++
  return count === 1 ? head.received(wanted) : undefined
}
