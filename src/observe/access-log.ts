/** The access log: one JSON line for a finished request; the predecessor's fields first, under its names. */
import { describeError } from '../errors.ts'
import type { RequestRecord } from '../proxy/record.ts'
import type { LineSink } from '../telemetry.ts'
import { backendLabel } from './backend-label.ts'

export interface AccessLogOptions {
  /** Share of requests that are logged, 0 to 1; those answered 5xx, and those that we cut off, always are. */
  readonly sampling: number
  /** Whether query strings are logged. */
  readonly query: boolean
  readonly sink: LineSink
  /** In [0, 1). */
  readonly random?: () => number
}

/** A client chooses how long its target and its fields are; not how large our log gets. */
const longestText = 2048

export function createAccessLog(options: AccessLogOptions): (record: RequestRecord) => void {
  const { sampling, query, sink, random = Math.random } = options
  return (record) => {
    if (record.status < 500 && record.error?.kind !== 'cut-off' && sampling < 1 && random() >= sampling) return
    sink.write(formatRecord(record, query))
  }
}

/** @returns a line with its line feed */
export function formatRecord(record: RequestRecord, withQuery: boolean): string {
  const { error, backend, head } = record
  const route = record.rule?.route
  const ruleName = record.rule?.name
  // Put together by hand: JSON.stringify of an object with as many fields takes three times as long.
  let line =
    `{"time":"${new Date(record.startedAtWallMs + record.durationMs).toISOString()}","level":"INFO","msg":"access"` +
    `,"method":${quoted(record.method)},"host":${quoted(record.host)},"path":${quoted(record.path)}`
  if (withQuery && record.query !== '') line += `,"query":${quoted(record.query)}`
  line += `,"status":${record.status},"bytes_written":${record.bytesSent},"duration_ms":${rounded(record.durationMs)}`
  const userAgent = head.get('user-agent')
  if (userAgent !== null) line += `,"user_agent":${quoted(userAgent)}`
  line += `,"client":${quoted(record.client)},"http_version":"${record.httpVersion}","bytes_read":${record.bytesReceived}`
  if (record.hostname !== '') line += `,"hostname":${quoted(record.hostname)}`
  if (route !== undefined) line += `,"route":${quoted(`${route.kind}/${route.namespace}/${route.name}`)}`
  const rule = route?.rule ?? record.ruleIndex
  if (rule !== undefined) line += `,"rule":${rule}`
  if (ruleName !== undefined) line += `,"rule_name":${quoted(ruleName)}`
  if (backend !== undefined) line += `,"backend":${quoted(backendLabel(backend))}`
  if (record.endpoint !== undefined) line += `,"endpoint":${quoted(record.endpoint)}`
  if (record.attempts > 0) line += `,"attempts":${record.attempts}`
  if (record.upstreamMs !== undefined) line += `,"upstream_ms":${rounded(record.upstreamMs)}`
  const ray = head.get('cf-ray')
  if (ray !== null) line += `,"cf_ray":${quoted(ray)}`
  if (record.upgraded) line += ',"upgraded":true'
  if (record.flags.length > 0) line += `,"flags":"${record.flags.join('')}"`
  if (error !== undefined) line += `,"error":${quoted(describeError(error))}`
  return `${line}}\n`
}

/** Characters that stand for themselves in JSON. */
const plain = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/

/** As a JSON string, cut off where it goes on for too long. */
function quoted(text: string): string {
  const short = text.length > longestText ? `${text.slice(0, longestText)}…` : text
  return plain.test(short) ? `"${short}"` : JSON.stringify(short)
}

function rounded(durationMs: number): number {
  return Math.round(durationMs * 1000) / 1000
}
