/** What a connector's HTTP/2 response says, unpacked and checked. */
import type { EngineResponse } from '../../http/response.ts'
import type { Field } from '../../runtime.ts'
import { deserializeFields, responseHeadersName, responseMeta, responseMetaName } from '../response-headers.ts'
import { type ReportViolation, type StreamAnswer } from './link.ts'

/** @param isWebSocket of the request: 200 to it means 101 when the origin's own fields say so */
export function readStreamAnswer(
  response: EngineResponse,
  isWebSocket: boolean,
  report: ReportViolation,
): StreamAnswer | undefined {
  const { head, status } = response
  const meta = head.get(responseMetaName)
  const body = response.holder.take()
  if (meta === responseMeta.connector || meta === responseMeta.rateLimited) {
    if (status !== 502) report(`answer: the connector's own failure has status ${status}`)
    if (head.has(responseHeadersName)) report("answer: the connector's own failure has serialised fields")
    body?.cancel()
    const rateLimited = meta === responseMeta.rateLimited
    return { source: 'connector', rateLimited, status: 502, fields: [], body: undefined }
  }
  const serialised = head.get(responseHeadersName)
  const fields = serialised === null ? undefined : deserializeFields(serialised)
  if (meta !== responseMeta.origin || fields === undefined) {
    report(meta === null ? `answer: no ${responseMetaName}` : 'answer: fields that cannot be read')
    body?.cancel()
    return undefined
  }
  if (isWebSocket && status === 200 && isSwitch(fields)) {
    return { source: 'origin', rateLimited: false, status: 101, fields, body }
  }
  const [outside, inside] = [head.get('content-length'), valueOf(fields, 'content-length')]
  if (outside !== inside) report('answer: content-length differs between the frame and the serialised fields')
  return { source: 'origin', rateLimited: false, status, fields, body }
}

function isSwitch(fields: readonly Field[]): boolean {
  return valueOf(fields, 'upgrade')?.toLowerCase() === 'websocket'
}

function valueOf(fields: readonly Field[], lowerName: string): string | null {
  return fields.find(([name]) => name.toLowerCase() === lowerName)?.[1] ?? null
}
