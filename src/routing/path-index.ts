/**
 * The matches of one hostname, indexed by path: exact paths in one map; prefixes in another, which is asked for each
 * depth that a prefix has, deepest first; regular expressions run together in two passes over the path.
 */
import { compilePatterns, type PatternSet } from '../config/regex.ts'
import type { Condition, Subject } from './condition.ts'
import { buildLeaf, chooseCandidate, holdsAll, type Leaf } from './leaf.ts'
import { depthOf } from './path.ts'
import { compareMatches, type Ranked } from './precedence.ts'

/** One match, ready to be asked. */
export interface Candidate extends Ranked {
  /** Of a RegularExpression: whether the whole path has to match. */
  readonly anchored: boolean
  /** Of a RegularExpression: whether it is asked behind the prefixes. */
  readonly afterPrefixes: boolean
  readonly conditions: readonly Condition[]
}

export interface PathIndex<C extends Candidate> {
  readonly exact: ReadonlyMap<string, Leaf<C>> | undefined
  readonly expressions: Expressions<C> | undefined
  readonly prefixes: Prefixes<C> | undefined
  readonly lateExpressions: Expressions<C> | undefined
  /** PathPrefix "/". */
  readonly root: Leaf<C> | undefined
}

interface Prefixes<C extends Candidate> {
  readonly byPath: ReadonlyMap<string, Leaf<C>>
  /** Whether a prefix of this many segments exists. */
  readonly hasDepth: readonly boolean[]
  readonly minDepth: number
  readonly maxDepth: number
}

interface Expressions<C> {
  /** In order of precedence. */
  readonly candidates: readonly C[]
  readonly searches: readonly { readonly patterns: PatternSet; readonly places: readonly number[] }[]
}

export function buildPathIndex<C extends Candidate>(candidates: readonly C[]): PathIndex<C> {
  const exact: C[] = []
  const prefixes: C[] = []
  const root: C[] = []
  const expressions: C[] = []
  const lateExpressions: C[] = []
  for (const candidate of candidates) {
    if (candidate.type === 'Exact') exact.push(candidate)
    else if (candidate.type === 'RegularExpression')
      (candidate.afterPrefixes ? lateExpressions : expressions).push(candidate)
    else if (candidate.path === '') root.push(candidate)
    else prefixes.push(candidate)
  }
  return {
    exact: exact.length === 0 ? undefined : leavesByPath(exact),
    expressions: expressions.length === 0 ? undefined : buildExpressions(expressions),
    prefixes: prefixes.length === 0 ? undefined : buildPrefixes(prefixes),
    lateExpressions: lateExpressions.length === 0 ? undefined : buildExpressions(lateExpressions),
    root: root.length === 0 ? undefined : buildLeaf(root.sort(compareMatches)),
  }
}

function leavesByPath<C extends Candidate>(candidates: readonly C[]): Map<string, Leaf<C>> {
  const byPath = new Map<string, C[]>()
  for (const candidate of candidates) {
    const same = byPath.get(candidate.path)
    if (same === undefined) byPath.set(candidate.path, [candidate])
    else same.push(candidate)
  }
  const leaves = new Map<string, Leaf<C>>()
  for (const [path, same] of byPath) leaves.set(path, buildLeaf(same.sort(compareMatches)))
  return leaves
}

function buildPrefixes<C extends Candidate>(candidates: readonly C[]): Prefixes<C> {
  const byPath = leavesByPath(candidates)
  const hasDepth: boolean[] = []
  for (const path of byPath.keys()) hasDepth[depthOf(path)] = true
  const maxDepth = hasDepth.length - 1
  for (let depth = 0; depth < maxDepth; depth++) hasDepth[depth] ??= false
  return { byPath, hasDepth, minDepth: hasDepth.indexOf(true), maxDepth }
}

function buildExpressions<C extends Candidate>(unordered: C[]): Expressions<C> {
  const candidates = unordered.sort(compareMatches)
  const searches = []
  for (const anchored of [true, false]) {
    const places = candidates.flatMap((candidate, place) => (candidate.anchored === anchored ? [place] : []))
    if (places.length === 0) continue
    const sources = places.map((place) => candidates[place]!.path)
    searches.push({ patterns: compilePatterns(sources, anchored), places })
  }
  return { candidates, searches }
}

/** The match of highest precedence that holds for the subject's path. */
export function findByPath<C extends Candidate>(index: PathIndex<C>, subject: Subject): C | undefined {
  const { exact, expressions, prefixes, lateExpressions, root } = index
  if (exact !== undefined || expressions !== undefined) {
    const path = pathOf(subject)
    const leaf = exact?.get(path)
    const found =
      (leaf && chooseCandidate(leaf, subject)) ?? (expressions && findByExpression(expressions, path, subject))
    if (found !== undefined) return found
  }
  return (
    (prefixes && findByPrefix(prefixes, subject)) ??
    (lateExpressions && findByExpression(lateExpressions, pathOf(subject), subject)) ??
    (root && chooseCandidate(root, subject))
  )
}

function pathOf({ target, pathEnd }: Subject): string {
  return pathEnd === target.length ? target : target.slice(0, pathEnd)
}

function findByExpression<C extends Candidate>(
  { candidates, searches }: Expressions<C>,
  path: string,
  subject: Subject,
): C | undefined {
  let first = candidates.length
  for (const { patterns, places } of searches) {
    for (const found of patterns.match(path)) {
      const place = places[found]!
      if (place >= first) break
      if (holdsAll(candidates[place]!.conditions, subject)) first = place
    }
  }
  return candidates[first]
}

function findByPrefix<C extends Candidate>(
  { byPath, hasDepth, minDepth, maxDepth }: Prefixes<C>,
  subject: Subject,
): C | undefined {
  const { target, pathEnd } = subject
  let depth = 0
  let end = 0
  while (depth < maxDepth && end < pathEnd) {
    end = target.indexOf('/', end + 1)
    if (end === -1 || end > pathEnd) end = pathEnd
    depth++
  }
  for (; depth >= minDepth; depth--) {
    if (hasDepth[depth]) {
      const leaf = byPath.get(target.slice(0, end))
      const found = leaf && chooseCandidate(leaf, subject)
      if (found !== undefined) return found
    }
    // Segments are short, and lastIndexOf() is a call out of compiled code.
    while (--end > 0 && target.charCodeAt(end) !== 47 /* / */);
  }
  return undefined
}
