/** A rule's timeouts. @see Gateway API HTTPRouteTimeouts, GEP-1742, GEP-2257 */

import { z } from 'zod'
import { parseDuration } from '../config/duration.ts'
import type { Timeouts } from '../config/proxy-config.ts'
import { read, type Reading, refuse } from './reading.ts'

const duration = z.string().refine((text) => parseDuration(text) !== undefined, {
  error: 'must be a duration like 500ms, 10s or 1m30s, without fractions',
})
const httpRouteTimeouts = z.strictObject({ request: duration.optional(), backendRequest: duration.optional() })

/** @returns `undefined` if they cannot be honoured */
export function convertTimeouts(value: unknown, reading: Reading): Timeouts | undefined {
  const spec = read(httpRouteTimeouts, value, reading)
  if (spec === undefined) return undefined
  const requestMs = spec.request === undefined ? undefined : parseDuration(spec.request)
  const backendMs = spec.backendRequest === undefined ? undefined : parseDuration(spec.backendRequest)
  // A request timeout of zero is none.
  if (requestMs !== undefined && requestMs > 0 && backendMs !== undefined && backendMs > requestMs) {
    refuse(
      { ...reading, field: `${reading.field}.backendRequest` },
      `backendRequest is longer than request; ${reading.consequence}`,
      'Make it at most as long',
    )
    return undefined
  }
  return { requestMs, backendMs }
}
