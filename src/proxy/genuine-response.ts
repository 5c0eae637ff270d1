/** The answer for whoever uses the proxy as a library: `Bun.serve`, `Deno.serve` and others take no Response but the platform's. */
import { classify, hopByHopKinds, kind } from '../http/head.ts'
import { engineResponse, type EngineResponse } from '../http/response.ts'
import { followTrailers } from '../http/trailers.ts'
import type { Field } from '../runtime.ts'

/** The platform's own Response, trailers and all; the engines' where Fetch has no such status. */
export function genuineResponse(response: Response): Response {
  const own = engineResponse(response)
  if (!own || own.status < 200 || own.status > 599) return response
  const headers = fieldsOf(own) as [string, string][]
  const bodiless = own.status === 204 || own.status === 205 || own.status === 304
  if (bodiless) own.holder.take()?.cancel()
  const body = bodiless ? null : own.body
  const made = new Response(body, { status: own.status, statusText: own.statusText, headers })
  if (body && made.body) followTrailers(made.body, body)
  return made
}

/** Without this hop's own business, and with no length that the body may not have. */
function fieldsOf({ head, holder }: EngineResponse): readonly Field[] {
  const { untouched } = holder
  const dropped = untouched && untouched.length === undefined ? hopByHopKinds | kind.contentLength : hopByHopKinds
  return head.fields().filter(([name]) => (classify(name, 0, name.length) & dropped) === 0)
}
