/** What decides which of two matches comes first, when both hold for a request and their hostnames rank the same. */
export interface Ranked {
  readonly type: 'Exact' | 'RegularExpression' | 'PathPrefix'
  /** The path's value; a PathPrefix without its trailing slash. */
  readonly path: string
  readonly hasMethod: boolean
  readonly headerCount: number
  readonly queryCount: number
  /** Where its rule stands in the config: oldest route first, then by name, then in the route's own order. */
  readonly ruleIndex: number
  /** Where it stands in its rule. */
  readonly matchIndex: number
}

/** RegularExpression's place is left to us. */
const typeOrder: Readonly<Record<Ranked['type'], number>> = { Exact: 0, RegularExpression: 1, PathPrefix: 2 }

/**
 * Orders matches by precedence, one rung of the ladder a line.
 *
 * @returns negative when `a` comes first
 * @see Gateway API HTTPRouteRule.matches
 */
export function compareMatches(a: Ranked, b: Ranked): number {
  return (
    typeOrder[a.type] - typeOrder[b.type] ||
    b.path.length - a.path.length ||
    Number(b.hasMethod) - Number(a.hasMethod) ||
    b.headerCount - a.headerCount ||
    b.queryCount - a.queryCount ||
    a.ruleIndex - b.ruleIndex ||
    a.matchIndex - b.matchIndex
  )
}
