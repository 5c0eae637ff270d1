/** Changes to a head, as data. A rule whose filters are plain data compiles to one of these when its config is applied. */
import type { Field } from '../runtime.ts'

/** Delete every field of `removed`, then append `added`. To set a field: remove it and add it. */
export interface HeaderEdits {
  /** Lower case. */
  readonly removed: readonly string[]
  /** Valid field names and values (`isToken`, `isFieldValue`), in order. */
  readonly added: readonly Field[]
}

export const noEdits: HeaderEdits = { removed: [], added: [] }

/** The edits that have the effect of `first` and then `second`. */
export function composeEdits(first: HeaderEdits, second: HeaderEdits): HeaderEdits {
  if (first.added.length === 0 && first.removed.length === 0) return second
  if (second.added.length === 0 && second.removed.length === 0) return first
  const removed = first.removed.length === 0 ? second.removed : [...first.removed, ...second.removed]
  const kept =
    second.removed.length === 0
      ? first.added
      : first.added.filter(([name]) => !second.removed.includes(name.toLowerCase()))
  return { removed, added: [...kept, ...second.added] }
}
