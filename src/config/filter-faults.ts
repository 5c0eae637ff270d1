import { joinPath, type Fault } from './issues.ts'
import type { Cors, Filter, HeaderModifier, RequestRedirect, UrlRewrite } from './proxy-config.ts'
import { isFieldValue, isToken } from '../http/fields.ts'
import { canonicalHostname, hasDotSegment, isPath, isPort, isPreciseHostname } from './syntax.ts'

const REDIRECT_STATUSES: readonly number[] = [301, 302, 303, 307, 308]

/** Gateway API HTTPRouteFilter: these say how a message is framed and where it goes; a header filter must not. */
const OUT_OF_REACH: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/**
 * Why a filter cannot be applied. A mirror's target is not looked at here: a bad one is dropped, while any fault found
 * here fails the whole rule or backend (Gateway API HTTPRouteFilter: a filter must not be skipped).
 *
 * @param path the filter's JSON path
 */
export function findFilterFault(filter: Filter, path: string): Fault | undefined {
  switch (filter.type) {
    case 'RequestHeaderModifier':
      return findModifierFault(filter.requestHeaderModifier, `${path}.requestHeaderModifier`)
    case 'ResponseHeaderModifier':
      return findModifierFault(filter.responseHeaderModifier, `${path}.responseHeaderModifier`)
    case 'RequestRedirect':
      return findRedirectFault(filter.requestRedirect, `${path}.requestRedirect`)
    case 'URLRewrite':
      return findRewriteFault(filter.urlRewrite, `${path}.urlRewrite`)
    case 'RequestMirror':
      return findMirrorFault(filter, `${path}.requestMirror`)
    case 'CORS':
      return findCorsFault(filter.cors, `${path}.cors`)
    default:
      return {
        path: `${path}.type`,
        message: 'is no filter we know',
        fix: 'use RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite, RequestMirror or CORS',
      }
  }
}

function missing(path: string): Fault {
  const field = path.slice(path.lastIndexOf('.') + 1)
  return {
    path,
    message: "must be given for this filter's type",
    fix: `add "${field}" to the filter, or change its type`,
  }
}

function findModifierFault(modifier: HeaderModifier | undefined, path: string): Fault | undefined {
  if (modifier === undefined) return missing(path)
  for (const field of ['set', 'add'] as const) {
    for (const [index, { name, value }] of modifier[field]?.entries() ?? []) {
      const at = joinPath(path, field, index)
      const fault = findNameFault(name, `${at}.name`)
      if (fault !== undefined) return fault
      if (!isFieldValue(value)) {
        return {
          path: `${at}.value`,
          message: 'is nothing a header can hold',
          fix: 'remove line breaks, other controls, blanks at either end, and encode what is not latin1',
        }
      }
    }
  }
  for (const [index, name] of modifier.remove?.entries() ?? []) {
    const fault = findNameFault(name, joinPath(path, 'remove', index))
    if (fault !== undefined) return fault
  }
  return undefined
}

function findNameFault(name: string, path: string): Fault | undefined {
  if (!isToken(name)) return { path, message: 'is no header name', fix: 'use letters, digits and "-"' }
  if (!OUT_OF_REACH.has(name.toLowerCase())) return undefined
  return name.toLowerCase() === 'host'
    ? { path, message: 'Host cannot be changed by a header filter', fix: 'use a URLRewrite filter with a hostname' }
    : { path, message: `${name} belongs to the connection, not to a filter`, fix: 'remove it from this filter' }
}

function findRedirectFault(redirect: RequestRedirect | undefined, path: string): Fault | undefined {
  if (redirect === undefined) return missing(path)
  const { scheme, hostname, port, path: modifier, statusCode } = redirect
  if (scheme !== undefined && scheme !== 'http' && scheme !== 'https') {
    return { path: `${path}.scheme`, message: 'must be http or https', fix: "leave it out to keep the listener's" }
  }
  if (port !== undefined && !isPort(port)) {
    return {
      path: `${path}.port`,
      message: 'must be a port from 1 to 65535',
      fix: "leave it out to keep the listener's",
    }
  }
  if (statusCode !== undefined && !REDIRECT_STATUSES.includes(statusCode)) {
    return {
      path: `${path}.statusCode`,
      message: `must be one of ${REDIRECT_STATUSES.join(', ')}`,
      fix: 'leave it out for 302',
    }
  }
  return (
    findHostnameFault(hostname, `${path}.hostname`) ??
    (modifier && findPathModifierFault(modifier.type, modifier.value, `${path}.path`, 'value'))
  )
}

function findRewriteFault(rewrite: UrlRewrite | undefined, path: string): Fault | undefined {
  if (rewrite === undefined) return missing(path)
  const { hostname, path: modifier } = rewrite
  const fault = findHostnameFault(hostname, `${path}.hostname`)
  if (fault !== undefined || modifier === undefined) return fault
  const field = modifier.type === 'ReplaceFullPath' ? 'replaceFullPath' : 'replacePrefixMatch'
  return findPathModifierFault(modifier.type, modifier[field], `${path}.path`, field)
}

function findHostnameFault(hostname: string | undefined, path: string): Fault | undefined {
  if (hostname === undefined || isPreciseHostname(canonicalHostname(hostname))) return undefined
  return { path, message: 'is no precise hostname', fix: 'use a DNS name without wildcard and without port' }
}

/** An absent or empty value is valid, and means "/" or no prefix at all: Go leaves empty strings out. */
function findPathModifierFault(
  type: string,
  value: string | undefined,
  path: string,
  field: string,
): Fault | undefined {
  if (type !== 'ReplaceFullPath' && type !== 'ReplacePrefixMatch') {
    return {
      path: `${path}.type`,
      message: 'is no type of path modifier',
      fix: 'use ReplaceFullPath or ReplacePrefixMatch',
    }
  }
  if (value === undefined || value === '' || (isPath(value) && !hasDotSegment(value))) return undefined
  return {
    path: `${path}.${field}`,
    message: 'is no absolute path without "." and ".." segments',
    fix: 'start it with "/" and percent-encode what RFC 3986 section 3.3 does not allow, "?" and "#" included',
  }
}

function findMirrorFault(filter: Filter, path: string): Fault | undefined {
  const mirror = filter.requestMirror
  if (mirror === undefined) return missing(path)
  const { percent, fraction } = mirror
  if (percent !== undefined && !(percent >= 0 && percent <= 100)) {
    return {
      path: `${path}.percent`,
      message: 'must be from 0 to 100',
      fix: 'leave it out to mirror every request',
    }
  }
  if (fraction !== undefined) {
    const { numerator, denominator } = fraction
    if (!(denominator >= 1)) {
      return { path: `${path}.fraction.denominator`, message: 'must be 1 or more', fix: 'leave it out for 100' }
    }
    if (!(numerator >= 0 && numerator <= denominator)) {
      return {
        path: `${path}.fraction.numerator`,
        message: 'must be from 0 to the denominator',
        fix: 'leave the fraction out to mirror every request',
      }
    }
  }
  return undefined
}

/** An origin is compared and echoed, so it has to be one visible ASCII word. */
const ORIGIN = /^[!-+\--~]{1,2048}$/

function findCorsFault(cors: Cors | undefined, path: string): Fault | undefined {
  if (cors === undefined) return missing(path)
  if (cors.maxAge !== undefined && cors.maxAge < 0) {
    return { path: `${path}.maxAge`, message: 'must be 0 or more seconds', fix: 'leave it out for 5 seconds' }
  }
  for (const [index, origin] of cors.allowOrigins?.entries() ?? []) {
    if (!ORIGIN.test(origin)) {
      return {
        path: joinPath(path, 'allowOrigins', index),
        message: 'is no origin',
        fix: 'write it as "https://example.com", "https://*.example.com:8443" or "*"',
      }
    }
  }
  for (const field of ['allowMethods', 'allowHeaders', 'exposeHeaders'] as const) {
    for (const [index, name] of cors[field]?.entries() ?? []) {
      if (!isToken(name)) {
        return {
          path: joinPath(path, field, index),
          message: field === 'allowMethods' ? 'is no HTTP method' : 'is no header name',
          fix: 'give one name per entry, or "*"',
        }
      }
    }
  }
  return undefined
}
