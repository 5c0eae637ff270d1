/** The fields of an answer that go to the eyeball, as an HTTP/1.1 response would have them, whatever the transport. */
import { classify, hopByHopKinds, kind } from '../http/head.ts'
import { type EngineResponse } from '../http/response.ts'
import { type Field } from '../runtime.ts'

/**
 * With a length that is true.
 *
 * @param length of the body that goes with it; 0 for none, undefined where its end is marked
 * @param bodiless an answer to HEAD, 204 or 304
 */
export function answerFields(
  response: EngineResponse,
  length: number | undefined,
  bodiless: boolean,
): readonly Field[] {
  const all = response.head.fields()
  let declared: string | undefined
  let plain = true
  for (const [name, value] of all) {
    const which = kindOf(name)
    if ((which & hopByHopKinds) !== 0) plain = false
    else if (which === kind.contentLength) declared = value
  }
  // What an answer to HEAD, or a 304, says of the body that it has not got is left as it is. RFC 9110 section 8.6.
  const right = bodiless ? declared : length === undefined ? undefined : String(length)
  if (plain && declared === right) return all
  const kept = all.filter(([name]) => (kindOf(name) & (hopByHopKinds | kind.contentLength)) === 0)
  return right === undefined ? kept : [...kept, ['Content-Length', right]]
}

/** Of a 101: the eyeball's handshake needs the fields that are this hop's business otherwise. */
export function switchFields({ head }: EngineResponse): readonly Field[] {
  const dropped = (hopByHopKinds & ~kind.upgrade) | kind.contentLength
  return [['Connection', 'Upgrade'], ...head.fields().filter(([name]) => (kindOf(name) & dropped) === 0)]
}

/** RFC 9110 sections 9.3.2, 15.3.5 and 15.4.5. */
export function isBodiless(status: number, method: string): boolean {
  return method === 'HEAD' || status === 204 || status === 304
}

function kindOf(name: string): number {
  return classify(name, 0, name.length)
}
