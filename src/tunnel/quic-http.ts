import { isAuthority, isFieldValue, isTarget, isToken } from '../http/fields.ts'
import { type Field } from '../runtime.ts'
import { fitsHead } from './large-head.ts'
import { upgradeName } from './request-class.ts'
import { type ConnectRequest, type ConnectResponse, type Metadata } from './stream-metadata.ts'

/**
 * HTTP as the metadata of a QUIC data stream. Bodies go raw and end with FIN, so neither chunks nor trailers exist
 * here; 101 stays 101; fields go one entry each and unfiltered.
 *
 * @see cloudflared, connection/quic_connection.go
 */
export interface QuicRequest {
  readonly method: string
  readonly authority: string
  /** The scheme in the URL: usually the eyeball's, never proof of it. */
  readonly scheme: 'http' | 'https' | undefined
  /** Path and query as they came. */
  readonly target: string
  readonly fields: readonly Field[]
  readonly isWebSocket: boolean
  readonly body: QuicBody
}

/** What of the stream is the request's body. */
export type QuicBody =
  /** Nothing, whatever the stream carries. */
  { readonly kind: 'none' } | { readonly kind: 'length'; readonly bytes: number } | { readonly kind: 'to-end' }

const headerPrefix = 'HttpHeader:'
const rateLimited: Metadata = ['FlowConnectRateLimited', 'true']

/** @returns what is wrong with the request, for the `error` of a ConnectResponse, when it is none that can be served */
export function readQuicRequest(request: ConnectRequest): QuicRequest | { readonly error: string } {
  if (request.type !== 'http' && request.type !== 'websocket') return { error: 'unsupported connection type' }
  const named = new Map<string, string>()
  const fields: Field[] = []
  for (const [key, value] of request.metadata) {
    if (!key.includes('HttpHeader')) {
      named.set(key, value)
      continue
    }
    const name = key.slice(headerPrefix.length)
    if (!key.startsWith(headerPrefix) || !isToken(name)) return { error: 'header key is malformed' }
    if (!isFieldValue(value)) return { error: `header ${name} has a malformed value` }
    if (name.toLowerCase() !== upgradeName) fields.push([name, value])
  }
  const method = named.get('HttpMethod') || 'GET'
  if (!isToken(method)) return { error: 'malformed method' }
  const place = readDestination(request.dest)
  const authority = named.get('HttpHost') || place?.authority || ''
  if (place === undefined) return { error: 'malformed destination' }
  if (!isAuthority(authority)) return { error: 'malformed host' }
  const isWebSocket = request.type === 'websocket'
  const body = isWebSocket ? ({ kind: 'to-end' } as const) : bodyOf(fields)
  if (body === undefined) return { error: 'malformed content length' }
  const { scheme, target } = place
  // The stream carries the body itself: a transfer coding has been taken off already.
  const kept = fields.filter(([name]) => !isField(name, 'transfer-encoding') && !isField(name, 'host'))
  if (!fitsHead(kept)) return { error: 'the header section is too large' }
  return { method, authority, scheme, target, fields: kept, isWebSocket, body }
}

/** @param url absolute, with the path as it is to arrive */
export function writeQuicRequest(request: {
  readonly method: string
  readonly authority: string
  readonly url: string
  readonly fields: readonly Field[]
  readonly isWebSocket: boolean
}): ConnectRequest {
  const metadata: Metadata[] = [
    ['HttpMethod', request.method],
    ['HttpHost', request.authority],
  ]
  for (const [name, value] of request.fields) metadata.push([`${headerPrefix}${canonicalName(name)}`, value])
  return { dest: request.url, type: request.isWebSocket ? 'websocket' : 'http', metadata }
}

export function writeQuicResponse(status: number, fields: readonly Field[]): ConnectResponse {
  const metadata: Metadata[] = [['HttpStatus', String(status)]]
  for (const [name, value] of fields) metadata.push([`${headerPrefix}${name}`, value])
  return { error: '', metadata }
}

/** The answer to a stream that could not be served, before any other answer. The edge makes a 502 of it. */
export function writeQuicFailure(error: string, isRateLimited = false): ConnectResponse {
  return { error, metadata: isRateLimited ? [rateLimited] : [] }
}

export type QuicResponse =
  | { readonly status: number; readonly fields: readonly Field[] }
  | { readonly error: string; readonly isRateLimited: boolean }

/** The edge's half of it. */
export function readQuicResponse({ error, metadata }: ConnectResponse): QuicResponse {
  const isRateLimited = metadata.some(([key, value]) => key === rateLimited[0] && value === rateLimited[1])
  if (error !== '') return { error, isRateLimited }
  const fields: Field[] = []
  let status: number | undefined
  for (const [key, value] of metadata) {
    if (key === 'HttpStatus') status = /^[1-9]\d\d$/.test(value) ? Number(value) : undefined
    else if (key.startsWith(headerPrefix)) fields.push([key.slice(headerPrefix.length), value])
  }
  return status === undefined ? { error: 'the response has no status', isRateLimited } : { status, fields }
}

/** `cf-ray` to `Cf-Ray`, as the edge writes names. */
export function canonicalName(name: string): string {
  return name.toLowerCase().replace(/(?:^|-)[a-z]/g, (start) => start.toUpperCase())
}

function readDestination(
  dest: string,
): { scheme: 'http' | 'https' | undefined; authority: string; target: string } | undefined {
  const parts = /^(?:(https?):\/\/([^/?#]*))?([^#]*)/i.exec(dest)
  const rest = parts?.[3] ?? ''
  const isAbsolute = parts?.[1] !== undefined
  const target = isAbsolute && !rest.startsWith('/') ? `/${rest}` : rest
  if (!isTarget(target) || !(target.startsWith('/') || target === '*')) return undefined
  const scheme = parts?.[1]?.toLowerCase()
  return { scheme: scheme === 'https' || scheme === 'http' ? scheme : undefined, authority: parts?.[2] ?? '', target }
}

/**
 * A length other than 0 says that there is a body, and so does chunked coding, though the bytes are not chunked. Without
 * either there is none.
 */
function bodyOf(fields: readonly Field[]): QuicBody | undefined {
  const lengths = new Set(valuesOf(fields, 'content-length'))
  const [length = '0'] = lengths
  if (lengths.size > 1 || !/^\d{1,15}$/.test(length)) return undefined
  if (Number(length) > 0) return { kind: 'length', bytes: Number(length) }
  const isChunked = valuesOf(fields, 'transfer-encoding').some((value) => /chunked/i.test(value))
  return isChunked ? { kind: 'to-end' } : { kind: 'none' }
}

function valuesOf(fields: readonly Field[], lowerName: string): string[] {
  return fields.filter(([name]) => isField(name, lowerName)).map(([, value]) => value)
}

function isField(name: string, lowerName: string): boolean {
  return name.length === lowerName.length && name.toLowerCase() === lowerName
}
