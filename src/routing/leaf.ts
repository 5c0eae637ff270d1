import type { Condition, Subject } from './condition.ts'

/** A match whose path holds, with what is still to be asked. */
export interface Candidate {
  readonly conditions: readonly Condition[]
}

/**
 * Candidates in order of precedence. A single one stands for itself, which saves the commonest look-up a few cold reads
 * of memory. A short list is asked one by one. In a long one, where candidates differ by the exact value of one header,
 * parameter or method, those are found by that value, so that a thousand tenants on one path cost no more than ten.
 */
export type Leaf<C extends Candidate> = C | List<C> | Split<C>

interface List<C> {
  readonly conditions: undefined
  readonly placed: readonly Placed<C>[]
}

interface Split<C extends Candidate> {
  readonly conditions: undefined
  readonly placed: undefined
  /** Any condition with the key that the candidates are split by. */
  readonly reader: Condition
  readonly byValue: ReadonlyMap<string, List<C> | Split<C>>
  readonly rest: List<C> | Split<C>
}

interface Placed<C> {
  readonly candidate: C
  /** Its place in the leaf's order. */
  readonly order: number
}

const MAX_LIST = 8

/** @param candidates one or more, in order of precedence */
export function buildLeaf<C extends Candidate>(candidates: readonly C[]): Leaf<C> {
  // Nothing behind an unconditional candidate can ever be chosen.
  const last = candidates.findIndex(({ conditions }) => conditions.length === 0)
  const reachable = last === -1 ? candidates : candidates.slice(0, last + 1)
  if (reachable.length === 1) return reachable[0]!
  return split(
    reachable.map((candidate, order) => ({ candidate, order })),
    new Set(),
  )
}

function split<C extends Candidate>(placed: readonly Placed<C>[], used: ReadonlySet<string>): List<C> | Split<C> {
  const reader = placed.length <= MAX_LIST ? undefined : commonestExact(placed, used)
  if (reader === undefined) return { conditions: undefined, placed }
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
  const byValue = new Map<string, List<C> | Split<C>>()
  for (const [value, group] of groups) byValue.set(value, split(group, usedNow))
  return { conditions: undefined, placed: undefined, reader, byValue, rest: split(rest, usedNow) }
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
  if (leaf.conditions !== undefined) return holdsAll(leaf.conditions, subject) ? leaf : undefined
  return find(leaf, subject)?.candidate
}

function find<C extends Candidate>(leaf: List<C> | Split<C>, subject: Subject): Placed<C> | undefined {
  if (leaf.placed !== undefined) {
    for (const placed of leaf.placed) if (holdsAll(placed.candidate.conditions, subject)) return placed
    return undefined
  }
  const { reader, byValue, rest } = leaf
  let first = find(rest, subject)
  for (const value of reader.read(subject)) {
    const group = byValue.get(value)
    const found = group && find(group, subject)
    if (found !== undefined && (first === undefined || found.order < first.order)) first = found
  }
  return first
}

export function holdsAll(conditions: readonly Condition[], subject: Subject): boolean {
  for (let i = 0; i < conditions.length; i++) if (!conditions[i]!.holds(subject)) return false
  return true
}
