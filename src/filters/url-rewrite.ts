import type { UrlRewrite } from '../config/proxy-config.ts'
import { withUrl } from '../http/request.ts'
import { replaceFullPath, replacePrefix } from './path-modifier.ts'
import type { Filter, RouteContext } from './shape.ts'

/**
 * Changes the Host and the path that the backend sees.
 *
 * The new path is made of the one that was matched. So when both a rule and its backendRef rewrite, the backendRef's
 * path replaces the rule's and is not put on top of it.
 *
 * @see Gateway API HTTPURLRewriteFilter
 */
export function urlRewrite({ hostname, path }: UrlRewrite): Filter {
  const makeTarget = path && targetMaker(path)
  if (hostname === undefined && makeTarget === undefined) return {}
  return {
    request(request, context) {
      const target = makeTarget?.(context)
      return target === undefined && hostname === undefined
        ? request
        : withUrl(request, { target, authority: hostname })
    },
  }
}

function targetMaker(path: NonNullable<UrlRewrite['path']>): (context: RouteContext) => string | undefined {
  if (path.type === 'ReplaceFullPath') {
    const { replaceFullPath: value = '' } = path
    return ({ target }) => replaceFullPath(target, value)
  }
  const { replacePrefixMatch: value = '' } = path
  return ({ target, pathPrefix }) => (pathPrefix === undefined ? undefined : replacePrefix(target, pathPrefix, value))
}
