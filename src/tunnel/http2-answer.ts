/**
 * Answers to the edge over HTTP/2: fields serialised into one, 101 as 200, and who answered beside it.
 *
 * @see cloudflared, connection/http2.go (http2RespWriter)
 */
import { type Body } from '../http/body.ts'
import { classify, emptyHead, kind } from '../http/head.ts'
import { asEngineResponse, type EngineResponse, responseOf } from '../http/response.ts'
import { type Field } from '../runtime.ts'
import { connectorFailureHead, edgeResponseHead } from './response-headers.ts'

/** This hop's own business, which ends here. */
const hopByHop = kind.connection | kind.transferEncoding | kind.hopByHop | kind.te | kind.upgrade

/** @param method of the request: an answer to HEAD has no body, whatever its length says */
export function answerToEdge(answer: Response, method: string): Response {
  const response = asEngineResponse(answer)
  const { status } = response
  if (status < 200 || status > 599) throw new TypeError(`${status} is no final status`)
  const body = response.holder.take()
  const bodiless = method === 'HEAD' || status === 204 || status === 304
  if (bodiless) body?.cancel()
  const fields = fieldsOf(response, body ? body.length : 0, bodiless)
  return withFields(edgeResponseHead(status, fields), bodiless ? undefined : body)
}

/** @param incoming what the backend sends from here on */
export function switchToEdge(response: EngineResponse, incoming: Body): Response {
  const fields: Field[] = [
    ['Connection', 'Upgrade'],
    ...response.head.fields().filter(([name]) => (kindOf(name) & (hopByHop & ~kind.upgrade)) === 0),
  ]
  return withFields(
    edgeResponseHead(
      101,
      fields.filter(([name]) => kindOf(name) !== kind.contentLength),
    ),
    incoming,
  )
}

/** We failed, not the routes: the edge shows its own page. */
export function connectorFailure(): Response {
  return withFields(connectorFailureHead(), undefined)
}

/** An answer of the connector's own to the edge itself: nothing is serialised. */
export function plainAnswer(status: number, fields: readonly Field[], body: Body | undefined): Response {
  return withFields({ status, fields }, body)
}

/** The fields that the eyeball gets: as an HTTP/1.1 response would have them, with a length that is true. */
function fieldsOf(response: EngineResponse, length: number | undefined, bodiless: boolean): readonly Field[] {
  const all = response.head.fields()
  let declared: string | undefined
  let plain = true
  for (const [name, value] of all) {
    const which = kindOf(name)
    if ((which & hopByHop) !== 0) plain = false
    else if (which === kind.contentLength) declared = value
  }
  // What an answer to HEAD, or a 304, says of the body that it has not got is left as it is. RFC 9110 section 8.6.
  const right = bodiless ? declared : length === undefined ? undefined : String(length)
  if (plain && declared === right) return all
  const kept = all.filter(([name]) => (kindOf(name) & (hopByHop | kind.contentLength)) === 0)
  return right === undefined ? kept : [...kept, ['Content-Length', right]]
}

function kindOf(name: string): number {
  return classify(name, 0, name.length)
}

/** As additions to an empty head, which may be longer than a head's text: serialised fields are a third longer. */
function withFields(
  head: { readonly status: number; readonly fields: readonly Field[] },
  body: Body | undefined,
): Response {
  return responseOf(head.status, '', emptyHead.edit({ removed: [], added: head.fields }), body)
}
