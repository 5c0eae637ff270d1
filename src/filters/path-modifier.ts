/**
 * The path arithmetic that redirects and rewrites share. Works on the text of a target: what is not replaced keeps its
 * bytes, percent-encoded or not, and so does the query.
 *
 * @see Gateway API HTTPPathModifier
 */

/** Another path, with the query of `target`. An empty path is "/". `*` (RFC 9112 section 3.2.4) has no path to replace. */
export function replaceFullPath(target: string, path: string): string {
  return target === '*' ? target : (path || '/') + queryOf(target)
}

/**
 * Another prefix. A trailing slash of the prefix or of its replacement does not count; one that follows the prefix in
 * the target does:
 *
 * | path     | prefix         | replacement      | result   |
 * |----------|----------------|------------------|----------|
 * | /foo/bar | /foo or /foo/  | /xyz or /xyz/    | /xyz/bar |
 * | /foo     | /foo           | /xyz             | /xyz     |
 * | /foo/    | /foo           | /xyz             | /xyz/    |
 * | /foo/bar | /foo           | "" or /          | /bar     |
 * | /foo     | /foo           | "" or /          | /        |
 *
 * @param prefix that matched, whole segments of the target's path
 */
export function replacePrefix(target: string, prefix: string, replacement: string): string {
  const matched = withoutTrailingSlash(prefix)
  if (!target.startsWith(matched)) return target
  const next = target[matched.length]
  if (next !== undefined && next !== '/' && next !== '?') return target
  const rest = target.slice(matched.length)
  const start = withoutTrailingSlash(replacement)
  return start === '' && !rest.startsWith('/') ? `/${rest}` : start + rest
}

function withoutTrailingSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path
}

/** The query with its question mark, or ''. */
function queryOf(target: string): string {
  const at = target.indexOf('?')
  return at === -1 ? '' : target.slice(at)
}
