/**
 * What a path is when it is matched, and when it is forwarded: the same bytes.
 *
 * - `resolve`: `.` and `..` segments are resolved as RFC 3986 section 5.2.4 says, in their `%2e` forms too.
 * - `reject`: a path with such a segment is refused.
 * - `off`: the path stays as it came.
 *
 * Nothing else is decoded or merged: `//`, `%2F` and `%61` stay. A backslash, which some servers take for a slash, is
 * refused unless normalisation is off. Controls, blanks and "#" are no part of a request target (RFC 9112 section 3.2)
 * and always refused.
 */
export type PathNormalization = 'resolve' | 'reject' | 'off'

// oxlint-disable-next-line no-control-regex
const ILLEGAL = /[#\u0000-\u0020\u007f]/
const ENCODED_DOT = /%2e/gi
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i

/**
 * Normalises an origin-form target (`/path?query`, or `*`) before it is matched.
 *
 * @returns the target to match and to forward; the very same string when there is nothing to do; `undefined` when the
 *   request is to be answered with 400
 */
export function normalizeTarget(target: string, mode: PathNormalization): string | undefined {
  if (target.charCodeAt(0) !== 47 /* / */) return target === '*' ? target : undefined
  if (isClean(target)) return target
  if (ILLEGAL.test(target)) return undefined
  const queryAt = target.indexOf('?')
  if (queryAt === -1) return normalizePath(target, mode)
  const path = normalizePath(target.slice(0, queryAt), mode)
  return path === undefined ? undefined : path + target.slice(queryAt)
}

/** A quick look, since nearly every target is: no segment begins with a dot or "%2", and nothing in it is ever refused. */
function isClean(target: string): boolean {
  let before = 0
  for (let i = 0; i < target.length; i++) {
    const c = target.charCodeAt(i)
    if (
      c <= 35
        ? c !== 33 && c !== 34
        : c === 92 || c === 127 || (before === 47 && (c === 46 || (c === 37 && target.charCodeAt(i + 1) === 50)))
    )
      return false
    before = c
  }
  return true
}

/**
 * Normalises an absolute path, without query.
 *
 * @returns the path to match and to forward; `undefined` when it is to be refused
 */
export function normalizePath(path: string, mode: PathNormalization): string | undefined {
  if (!path.startsWith('/') || ILLEGAL.test(path)) return undefined
  if (mode === 'off') return path
  if (path.includes('\\')) return undefined
  if (!DOT_SEGMENT.test(path)) return path
  return mode === 'reject' ? undefined : removeDotSegments(path)
}

/** RFC 3986 section 5.2.4. A path that climbs above the root stays there. */
function removeDotSegments(path: string): string {
  const segments: string[] = []
  const given = path.slice(1).split('/')
  for (const [index, segment] of given.entries()) {
    const dots = segment.length > 6 ? '' : segment.replaceAll(ENCODED_DOT, '.')
    if (dots !== '.' && dots !== '..') {
      segments.push(segment)
      continue
    }
    if (dots === '..') segments.pop()
    if (index === given.length - 1) segments.push('')
  }
  return `/${segments.join('/')}`
}

/** A PathPrefix's value as it is compared: a trailing slash does not count. "/" becomes ''. Gateway API HTTPPathMatch. */
export function trimPrefix(value: string): string {
  return value.endsWith('/') ? value.slice(0, -1) : value
}

/** How many slashes a path has: the number of its segments, an empty last one included. */
export function depthOf(path: string): number {
  let depth = 0
  for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) depth++
  return depth
}
