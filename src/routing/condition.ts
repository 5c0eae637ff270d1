/** What a request is asked by the conditions of matches. Made once per request, and only read. */
export interface Subject {
  readonly request: Request
  /** The request's target, as normalised before matching. */
  readonly target: string
  /** Where the target's "?" is; its length when there is none. */
  readonly pathEnd: number
  /** The query's parameters, once one condition has asked for them. */
  parameters: ReadonlyMap<string, readonly string[]> | undefined
}

/** One condition of a match besides its path. A match holds when all of its conditions do. */
export interface Condition {
  /** What it looks at: two conditions with one key read the same thing. */
  readonly key: string
  /** Set when it asks for exactly this value; a routing table can then look it up instead of asking. */
  readonly exact: string | undefined
  /** The values that the request has for the key; any of them may satisfy the condition. */
  read(subject: Subject): readonly string[]
  holds(subject: Subject): boolean
}
