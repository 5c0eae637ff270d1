/** Header values of either kind of message, engine's or platform's. */
import { engineRequest } from './request.ts'
import { engineResponse } from './response.ts'

/**
 * The values of all fields of a name.
 *
 * @param lowerName in lower case
 * @returns one entry per field line for an engine's message; the combined value for a platform's, which keeps no lines
 */
export function fieldValues(message: Request | Response, lowerName: string): readonly string[] {
  const head = (engineRequest(message as Request) ?? engineResponse(message as Response))?.head
  if (head) return head.values(lowerName)
  if (lowerName === 'set-cookie') return message.headers.getSetCookie()
  const value = message.headers.get(lowerName)
  return value === null ? [] : [value]
}
