/** From what an eyeball asked to what a connector sees: the fields that the edge takes away, and those that it adds. */
import type { Body } from '../../http/body.ts'
import type { HeaderEdits } from '../../http/edits.ts'
import { BodyHolder } from '../../http/holder.ts'
import { EngineRequest } from '../../http/request.ts'
import type { Field } from '../../runtime.ts'
import { connectionOptions } from './hop-by-hop.ts'

export interface EyeballFacts {
  readonly scheme: 'http' | 'https'
  /** The client's address. */
  readonly address: string
  /** 16 digits of a hexadecimal number, a hyphen, and the location. */
  readonly ray: string
}

/** Where the edge does not know the country. */
const unknownCountry = 'XX'

/**
 * Fields that only the edge may write. An eyeball that sends them is not believed; `cf-access-*` goes through, since
 * service tokens are sent that way.
 *
 * @see https://developers.cloudflare.com/fundamentals/reference/http-headers/
 */
const ours = /^cf-(?!access-client-)/i

/**
 * The request as a connector sees it. The body is shared: use one of the two.
 *
 * @param session what the eyeball of a WebSocket sends behind its handshake, which has no body of its own
 */
export function passOn(received: EngineRequest, facts: EyeballFacts, session: Body | undefined): EngineRequest {
  const { method, target, authority, head } = received
  const edited = head.edit(editsOf(received, session !== undefined, facts))
  const holder = session === undefined ? received.holder : new BodyHolder(session)
  // To the connector everything is https: what the eyeball spoke is said in fields.
  return new EngineRequest(method, target, authority, 'https', edited, holder, undefined)
}

function editsOf({ head }: EngineRequest, isWebSocket: boolean, facts: EyeballFacts): HeaderEdits {
  const removed = new Set(['x-forwarded-proto', 'x-forwarded-for', 'cdn-loop', 'expect'])
  for (const name of connectionOptions(head.get('connection'))) removed.add(name)
  for (const [name] of head.fields()) if (ours.test(name)) removed.add(name.toLowerCase())
  // The connector speaks version 13 to whatever is behind it, without being told.
  if (isWebSocket) removed.add('sec-websocket-version')
  const added: Field[] = [
    ['cf-ray', facts.ray],
    ['cf-connecting-ip', facts.address],
    ['cf-ipcountry', unknownCountry],
    ['cf-visitor', JSON.stringify({ scheme: facts.scheme })],
    ['x-forwarded-proto', facts.scheme],
    ['x-forwarded-for', joined(head.get('x-forwarded-for'), facts.address)],
    ['cdn-loop', onceMore(head.get('cdn-loop'))],
  ]
  return { removed: [...removed], added }
}

function joined(before: string | null, next: string): string {
  return before ? `${before}, ${next}` : next
}

/** RFC 8586. The edge counts its own passages in a parameter. */
function onceMore(before: string | null): string {
  const others: string[] = []
  let loops = 0
  for (const entry of (before ?? '').split(',')) {
    const [name = '', ...parameters] = entry.split(';').map((part) => part.trim())
    if (name === '') continue
    if (name.toLowerCase() !== 'cloudflare') others.push(entry.trim())
    else loops = Math.max(loops, Number(/^loops=(\d{1,4})$/.exec(parameters[0] ?? '')?.[1] ?? 1))
  }
  return [...others, `cloudflare; loops=${loops + 1}`].join(', ')
}

/** @param random returns a number in [0, 1) */
export function createRay(random: () => number, location: string): string {
  const digit = (): string => Math.floor(random() * 16).toString(16)
  return `${Array.from({ length: 16 }, digit).join('')}-${location}`
}
