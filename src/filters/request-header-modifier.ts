import type { HeaderModifier } from '../config/proxy-config.ts'
import { editsOf } from './header-edits.ts'
import type { Filter } from './shape.ts'

/** @see Gateway API HTTPRouteFilter.requestHeaderModifier */
export function requestHeaderModifier(config: HeaderModifier): Filter {
  return { requestEdits: editsOf(config) }
}
