import type { RequestMirror } from '../config/proxy-config.ts'
import { teeRequest } from '../http/tee.ts'
import type { Filter } from './shape.ts'

/**
 * Sends a copy of the request, as it is at this point of the list, to another backend whose answer nobody sees. Several
 * mirrors choose independently of each other.
 *
 * @see Gateway API HTTPRequestMirrorFilter, GEP-3171
 */
export function requestMirror(target: RequestMirror): Filter {
  const share = shareOf(target)
  if (share <= 0) return {}
  return {
    request(request, context) {
      if (share < 1 && context.random() >= share) return request
      const { primary, copy } = teeRequest(request, { exchange: context.exchange })
      context.mirror(copy, target)
      return primary
    },
  }
}

/** From 0 (never) to 1 (always). */
function shareOf({ percent, fraction }: RequestMirror): number {
  if (fraction) return fraction.numerator / fraction.denominator
  return percent === undefined ? 1 : percent / 100
}
