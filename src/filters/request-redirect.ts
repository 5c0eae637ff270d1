import type { RequestRedirect } from '../config/proxy-config.ts'
import { authorityOf } from '../http/request.ts'
import { createResponse } from '../http/response.ts'
import { replaceFullPath, replacePrefix } from './path-modifier.ts'
import type { Filter, RouteContext } from './shape.ts'

/**
 * Answers with a redirect. What the config does not give comes from the request, or for scheme and port from the
 * Gateway's listener: behind a tunnel the socket knows neither.
 *
 * @see Gateway API HTTPRequestRedirectFilter
 */
export function requestRedirect(config: RequestRedirect): Filter {
  const { path, statusCode = 302 } = config
  const target = path ? targetMaker(path) : (context: RouteContext) => context.target
  return {
    request(_, context) {
      const authority = locationAuthority(config, context)
      const at = target(context)
      // Always absolute, so that a path which begins with "//" cannot become a host.
      return createResponse(statusCode, [['Location', authority + (at === '*' ? '/' : encode(at))]])
    },
  }
}

/** `scheme://host[:port]` */
function locationAuthority(config: RequestRedirect, { received, listener, clientScheme }: RouteContext): string {
  const own = splitAuthority(authorityOf(received))
  const scheme = config.scheme ?? (listener ? (listener.protocol === 'HTTPS' ? 'https' : 'http') : clientScheme)
  const host = config.hostname ?? own.host
  const port = config.port ?? inheritedPort(config, own.port, listener?.port)
  return port === undefined || port === wellKnownPort[scheme] ? `${scheme}://${host}` : `${scheme}://${host}:${port}`
}

const wellKnownPort: Readonly<Record<string, number>> = { http: 80, https: 443 }

/**
 * Gateway API HTTPRequestRedirectFilter.port: a new scheme comes with its own port, otherwise the listener's stays.
 * Without listeners the client's own port is the only one known, and it says nothing about another host.
 */
function inheritedPort(
  { scheme, hostname }: RequestRedirect,
  clientPort: number | undefined,
  listenerPort: number | undefined,
): number | undefined {
  if (scheme !== undefined) return undefined
  return listenerPort ?? (hostname === undefined ? clientPort : undefined)
}

function targetMaker(path: NonNullable<RequestRedirect['path']>): (context: RouteContext) => string {
  const { type, value } = path
  if (type === 'ReplaceFullPath') return ({ target }) => replaceFullPath(target, value)
  // Without a prefix there is nothing to keep. Our converter refuses that; pushed configs may have it.
  return ({ target, pathPrefix }) =>
    pathPrefix === undefined ? replaceFullPath(target, value) : replacePrefix(target, pathPrefix, value)
}

function splitAuthority(authority: string): { host: string; port: number | undefined } {
  const colon = authority.lastIndexOf(':')
  if (colon === -1 || colon < authority.lastIndexOf(']')) return { host: authority, port: undefined }
  const port = authority.slice(colon + 1)
  return { host: authority.slice(0, colon), port: port === '' ? undefined : Number(port) }
}

/** What no URI may hold (RFC 3986 section 2) but a request target in practice does: quotes, braces, obs-text and the like. */
const notOfUri = /[^!#$%&'()*+,\-./0-9:;=?@A-Z[\]_a-z~]/g

function encode(target: string): string {
  return target.replace(notOfUri, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
}
