import type { HeaderModifier } from '../config/proxy-config.ts'
import { editsOf } from './header-edits.ts'
import type { Filter } from './shape.ts'

/** Changes what a backend answered, whatever the status; not what the gateway itself answers. @see Gateway API HTTPRouteFilter.responseHeaderModifier */
export function responseHeaderModifier(config: HeaderModifier): Filter {
  return { responseEdits: editsOf(config) }
}
