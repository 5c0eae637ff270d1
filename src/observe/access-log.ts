/** The access log: one JSON line for a finished request; the predecessor's fields first, under its names. */
import { describeError } from '../errors.ts'
import type { RequestRecord } from '../proxy/record.ts'
import type { LineSink } from '../telemetry.ts'
import { backendLabel } from './backend-label.ts'

export interface AccessLogOptions {
  /** Share of requests that are logged, 0 to 1; those answered 5xx always are. */
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
    if (record.status < 500 && sampling < 1 && random() >= sampling) return
    sink.write(formatRecord(record, query))
  }
}

/** @returns a line with its line feed */
export function formatRecord(record: RequestRecord, withQuery: boolean): string {
  const { route, error, backend } = record
  const fields = {
    time: new Date(record.startedAtWallMs + record.durationMs).toISOString(),
    level: 'INFO',
    msg: 'access',
    method: record.method,
    host: shortened(record.host),
    path: shortened(record.path),
    query: withQuery && record.query !== '' ? shortened(record.query) : undefined,
    status: record.status,
    bytes_written: record.bytesSent,
    duration_ms: rounded(record.durationMs),
    user_agent: shortened(record.head.get('user-agent')),
    client: record.client,
    http_version: record.httpVersion,
    bytes_read: record.bytesReceived,
    hostname: record.hostname === '' ? undefined : record.hostname,
    route: route && `${route.kind}/${route.namespace}/${route.name}`,
    rule: route?.rule ?? record.ruleIndex,
    rule_name: record.ruleName,
    backend: backend === undefined ? undefined : backendLabel(backend),
    endpoint: record.endpoint,
    attempts: record.attempts > 0 ? record.attempts : undefined,
    upstream_ms: record.upstreamMs === undefined ? undefined : rounded(record.upstreamMs),
    cf_ray: shortened(record.head.get('cf-ray')),
    upgraded: record.upgraded ? true : undefined,
    flags: record.flags.length > 0 ? record.flags.join('') : undefined,
    error: error && shortened(describeError(error)),
  }
  return `${JSON.stringify(fields)}\n`
}

function shortened(text: string | null | undefined): string | undefined {
  if (text === null || text === undefined) return undefined
  return text.length > longestText ? `${text.slice(0, longestText)}…` : text
}

function rounded(durationMs: number): number {
  return Math.round(durationMs * 1000) / 1000
}
