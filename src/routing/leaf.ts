import type { Condition, Subject } from './condition.ts'

/** A match whose path holds, with what is still to be asked. */
export interface Candidate {
  readonly conditions: readonly Condition[]
}

interface Placed<C> {
  readonly candidate: C
  /** Its place in the leaf's order. */
  readonly order: number
}

/**
 * Candidates in order of precedence. A short list is asked one by one. In a long one, where candidates differ by the
 * exact value of one header, parameter or method, those are found by that value, so that a thousand tenants on one path
 * cost no more than ten.
 */
export type Leaf<C> =
  | { readonly list: readonly Placed<C>[]; readonly split: undefined }
  | { readonly list: undefined; readonly split: Split<C> }

interface Split<C> {
  /** Any condition with the key that the candidates are split by. */
  readonly reader: Condition
  readonly byValue: ReadonlyMap<string, Leaf<C>>
  readonly rest: Leaf<C>
}

const MAX_LIST = 8

/** @param candidates in order of precedence */
export function buildLeaf<C extends Candidate>(candidates: readonly C[]): Leaf<C> {
  // Nothing behind an unconditional candidate can ever be chosen.
  const last = candidates.findIndex(({ conditions }) => conditions.length === 0)
  const reachable = last === -1 ? candidates : candidates.slice(0, last + 1)
  return split(
    reachable.map((candidate, order) => ({ candidate, order })),
    new Set(),
  )
}

function split<C extends Candidate>(placed: readonly Placed<C>[], used: ReadonlySet<string>): Leaf<C> {
  if (placed.length <= MAX_LIST) return { list: placed, split: undefined }
  const reader = commonestExact(placed, used)
  if (reader === undefined) return { list: placed, split: undefined }
  const groups = new Map<string, Placed<C>[]>()
  const rest: Placed<C>[] = []
  for (const entry of placed) {
    const value = entry.candidate.conditions.find(({ key }) => key === reader.key)?.exact
    if (value === undefined) {
      rest.push(entry)
      continue
    }
    const group = groups.get(value)
    if (group === undefined) groups.set(value, [entry])
    else group.push(entry)
  }
  const usedNow = new Set(used).add(reader.key)
  const byValue = new Map<string, Leaf<C>>()
  for (const [value, group] of groups) byValue.set(value, split(group, usedNow))
  return { list: undefined, split: { reader, byValue, rest: split(rest, usedNow) } }
}

/** The exact condition whose key most candidates have, where at least a list's length of them have it. */
function commonestExact<C extends Candidate>(
  placed: readonly Placed<C>[],
  used: ReadonlySet<string>,
): Condition | undefined {
  const counts = new Map<string, number>()
  let commonest: Condition | undefined
  let most = MAX_LIST - 1
  for (const { candidate } of placed) {
    for (const condition of candidate.conditions) {
      const { key, exact } = condition
      if (exact === undefined || used.has(key)) continue
      const count = (counts.get(key) ?? 0) + 1
      counts.set(key, count)
      if (count > most) {
        most = count
        commonest = condition
      }
    }
  }
  return commonest
}

/** The first candidate whose conditions all hold. */
export function chooseCandidate<C extends Candidate>(leaf: Leaf<C>, subject: Subject): C | undefined {
  return find(leaf, subject)?.candidate
}

function find<C extends Candidate>(leaf: Leaf<C>, subject: Subject): Placed<C> | undefined {
  if (leaf.list !== undefined) {
    for (const placed of leaf.list) if (holdsAll(placed.candidate.conditions, subject)) return placed
    return undefined
  }
  const { reader, byValue, rest } = leaf.split
  let first = find(rest, subject)
  for (const value of reader.read(subject)) {
    const group = byValue.get(value)
    const found = group && find(group, subject)
    if (found !== undefined && (first === undefined || found.order < first.order)) first = found
  }
  return first
}

export function holdsAll(conditions: readonly Condition[], subject: Subject): boolean {
  for (const condition of conditions) if (!condition.holds(subject)) return false
  return true
}
