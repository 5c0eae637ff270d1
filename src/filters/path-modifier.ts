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
 * Another prefix. Where something follows the prefix, a trailing slash of the prefix or of its replacement does not
 * count; what follows keeps its own:
 *
 * | path     | prefix         | replacement      | result          |
 * |----------|----------------|------------------|-----------------|
 * | /foo/bar | /foo or /foo/  | /xyz or /xyz/    | /xyz/bar        |
 * | /foo/    | /foo           | /xyz             | /xyz/           |
 * | /foo     | /foo           | /xyz or /xyz/    | the replacement |
 * | /        | /              | /xyz or /xyz/    | the replacement |
 * | /foo/bar | /foo           | "" or /          | /bar            |
 * | /foo     | /foo           | "" or /          | /               |
 *
 * @param prefix that matched, whole segments of the target's path
 */
export function replacePrefix(target: string, prefix: string, replacement: string): string {
  const matched = withoutTrailingSlash(prefix)
  const query = queryOf(target)
  const path = target.slice(0, target.length - query.length)
  if (path !== matched && !path.startsWith(`${matched}/`)) return target
  if (path === matched || path === '/') return (replacement || '/') + query
  return withoutTrailingSlash(replacement) + path.slice(matched.length) + query
}

function withoutTrailingSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path
}

/** The query with its question mark, or ''. */
function queryOf(target: string): string {
  const at = target.indexOf('?')
  return at === -1 ? '' : target.slice(at)
}
