import { canonicalHostname } from '../config/syntax.ts'

/** RFC 1035 section 2.3.4; a longer host is nobody's name, and not worth looking up. */
const MAX_HOST_LENGTH = 253

/**
 * The host to match on: without port, without the root's dot, in lower case; IPv6 addresses keep their brackets.
 *
 * @param authority a request's Host or `:authority`
 * @returns '' for what cannot be anybody's host name
 */
export function hostOf(authority: string): string {
  const host = canonicalHostname(withoutPort(authority))
  return host.length > MAX_HOST_LENGTH ? '' : host
}

function withoutPort(authority: string): string {
  if (authority.startsWith('[')) return authority.slice(0, authority.indexOf(']') + 1)
  const colon = authority.indexOf(':')
  return colon === -1 ? authority : authority.slice(0, colon)
}

/** Hostname patterns: an exact name, `*.suffix`, or '' for every host. */
export interface HostPatterns<V> {
  readonly exact: ReadonlyMap<string, V>
  /** By what follows the star, the dot included. */
  readonly wildcards: ReadonlyMap<string, V>
  readonly every: V | undefined
}

/**
 * The value of the most specific pattern that covers a host: the exact name, then the longest wildcard, then ''.
 * A wildcard stands for one or more labels.
 *
 * @param host as {@link hostOf} gives it
 * @see Gateway API Hostname
 */
export function findMostSpecific<V>(patterns: HostPatterns<V>, host: string): V | undefined {
  const exact = patterns.exact.get(host)
  if (exact !== undefined) return exact
  if (patterns.wildcards.size > 0) {
    for (let dot = host.indexOf('.', 1); dot !== -1; dot = host.indexOf('.', dot + 1)) {
      const found = patterns.wildcards.get(host.slice(dot))
      if (found !== undefined) return found
    }
  }
  return patterns.every
}

/** Files values under their patterns. */
export function indexPatterns<V>(entries: Iterable<readonly [pattern: string, value: V]>): HostPatterns<V> {
  const exact = new Map<string, V>()
  const wildcards = new Map<string, V>()
  let every: V | undefined
  for (const [pattern, value] of entries) {
    if (pattern === '') every = value
    else if (pattern.startsWith('*.')) wildcards.set(pattern.slice(1), value)
    else exact.set(pattern, value)
  }
  return { exact, wildcards, every }
}

/**
 * Every pattern that covers all hosts of `pattern`, itself included, most specific first: for `a.b.c` these are
 * `a.b.c`, `*.b.c`, `*.c` and ''.
 */
export function coveringPatterns(pattern: string): string[] {
  const patterns = pattern === '' ? [] : [pattern]
  const name = pattern.startsWith('*.') ? pattern.slice(2) : pattern
  // The star's own labels come before the name, so the name as a whole is a wildcard's suffix already.
  for (let dot = name.indexOf('.', 1); dot !== -1; dot = name.indexOf('.', dot + 1)) {
    patterns.push(`*${name.slice(dot)}`)
  }
  return [...patterns, '']
}
