/**
 * Answers to the edge over HTTP/2: fields serialised into one, 101 as 200, and who answered beside it.
 *
 * @see cloudflared, connection/http2.go (http2RespWriter)
 */
import type { ProxyError } from '../errors.ts'
import { type Body } from '../http/body.ts'
import { emptyHead, type Head } from '../http/head.ts'
import { asEngineResponse, createResponse, type EngineResponse, responseOf } from '../http/response.ts'
import { type Field } from '../runtime.ts'
import { answerFields, isBodiless, switchFields } from './answer-fields.ts'
import { connectorFailureHead, edgeResponseHead } from './response-headers.ts'

/** @param method of the request: an answer to HEAD has no body, whatever its length says */
export function answerToEdge(answer: Response, method: string): Response {
  const response = asEngineResponse(answer)
  const { status } = response
  if (status < 200 || status > 999) throw new TypeError(`${status} is no final status`)
  const body = response.holder.take()
  const bodiless = isBodiless(status, method)
  if (bodiless) body?.cancel()
  const head = headToEdge(response, body ? body.length : 0, bodiless)
  return responseOf(status, '', head, bodiless ? undefined : body)
}

/** Heads that were made last: a backend answers many requests with equal fields. Status has no part in them. */
const made: { from: Head; length: number | undefined; bodiless: boolean; head: Head }[] = []
const maxMade = 8
/** Longer ones are not kept. */
const maxKeptText = 2_048
let oldest = 0

function headToEdge(response: EngineResponse, length: number | undefined, bodiless: boolean): Head {
  const { head: from, status } = response
  for (const known of made) {
    if (known.length === length && known.bodiless === bodiless && isEqual(known.from, from)) return known.head
  }
  const head = headOfFields(edgeResponseHead(status, answerFields(response, length, bodiless)).fields)
  if (from.text.length > maxKeptText) return head
  made[oldest] = { from, length, bodiless, head }
  oldest = (oldest + 1) % maxMade
  return head
}

/** Each connection to a backend has heads of its own; what the rules do to them is one object for all. */
function isEqual(a: Head, b: Head): boolean {
  return a === b || (a.edits === b.edits && a.text === b.text)
}

/** @param incoming what the backend sends from here on */
export function switchToEdge(response: EngineResponse, incoming: Body): Response {
  return withFields(edgeResponseHead(101, switchFields(response)), incoming)
}

/** For what the engine refuses: a backend's answer that was broken before any of it had gone out is not our failure. */
export function refusalToEdge(error: ProxyError): Response {
  if (error.kind !== 'upstream') return connectorFailure()
  const type: Field = ['content-type', 'text/plain; charset=utf-8']
  return answerToEdge(createResponse(502, [type], 'invalid answer from the backend\n'), 'GET')
}

/** We failed, not the routes: the edge shows its own page. */
export function connectorFailure(): Response {
  return withFields(connectorFailureHead(), undefined)
}

/** An answer of the connector's own to the edge itself: nothing is serialised. */
export function plainAnswer(status: number, fields: readonly Field[], body: Body | undefined): Response {
  return withFields({ status, fields }, body)
}

/** As additions to an empty head, which may be longer than a head's text: serialised fields are a third longer. */
function headOfFields(fields: readonly Field[]): Head {
  return emptyHead.edit({ removed: [], added: fields })
}

function withFields(
  head: { readonly status: number; readonly fields: readonly Field[] },
  body: Body | undefined,
): Response {
  return responseOf(head.status, '', headOfFields(head.fields), body)
}
