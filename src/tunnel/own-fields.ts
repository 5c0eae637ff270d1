/** What the edge and the connector tell each other in a request's fields; neither eyeballs nor backends may see it. */
import { equalsFold } from '../http/fields.ts'
import { type Head, kind, kindBits } from '../http/head.ts'
import { tcpSourceName, upgradeName } from './request-class.ts'

const ownFields: readonly string[] = [upgradeName, tcpSourceName, 'cf-cloudflared-request-headers', 'cf-trace-id']
const beginnings: readonly string[] = ['cf-cloudflared-', 'cf-trace-id']

/** Those that a head has. Most have none, which one look at its lines tells. */
export function ownFieldsOf(head: Head): readonly string[] {
  if (head.edits === undefined && !head.lines.some((line) => mayBeOwn(head, line))) return none
  return ownFields.filter((name) => head.has(name))
}

function mayBeOwn({ text }: Head, line: number): boolean {
  if ((line & kind.cloudflare) === 0) return false
  return beginnings.some((beginning) => equalsFold(text, line >>> kindBits, beginning))
}

const none: readonly string[] = []
