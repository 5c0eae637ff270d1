/** Header values of either kind of message, engine's or platform's. */
import type { Head } from './head.ts'
import { engineRequest } from './request.ts'
import { engineResponse } from './response.ts'

function headOf(message: Request | Response): Head | undefined {
  return (engineRequest(message as Request) ?? engineResponse(message as Response))?.head
}

/**
 * What `message.headers.get(lowerName)` says, without making a `Headers` of an engine's message.
 *
 * @param lowerName in lower case
 */
export function fieldValue(message: Request | Response, lowerName: string): string | null {
  const head = headOf(message)
  return head ? head.get(lowerName) : message.headers.get(lowerName)
}

/**
 * The values of all fields of a name.
 *
 * @param lowerName in lower case
 * @returns one entry per field line for an engine's message; the combined value for a platform's, which keeps no lines
 */
export function fieldValues(message: Request | Response, lowerName: string): readonly string[] {
  const head = headOf(message)
  if (head) return head.values(lowerName)
  if (lowerName === 'set-cookie') return message.headers.getSetCookie()
  const value = message.headers.get(lowerName)
  return value === null ? [] : [value]
}
