import type { HeaderModifier } from '../config/proxy-config.ts'
import { composeEdits, type HeaderEdits, noEdits } from '../http/edits.ts'

/**
 * A header modifier as edits: first `set`, then `add`, then `remove`.
 *
 * Gateway API lets a name occur in one action only. Where it occurs in several, this order decides, and of two `set` the
 * later, as it always did for configs that are pushed to us.
 *
 * @param modifier with valid names and values
 * @see Gateway API HTTPHeaderFilter
 */
export function editsOf({ set = [], add = [], remove = [] }: HeaderModifier): HeaderEdits {
  const steps: HeaderEdits[] = [
    ...set.map(({ name, value }) => ({ removed: [name.toLowerCase()], added: [[name, value] as const] })),
    ...add.map(({ name, value }) => ({ removed: [], added: [[name, value] as const] })),
    ...remove.map((name) => ({ removed: [name.toLowerCase()], added: [] })),
  ]
  return steps.reduce(composeEdits, noEdits)
}
