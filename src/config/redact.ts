import type { WireConfig } from './proxy-config.ts'

type WireRule = NonNullable<WireConfig['rules']>[number]
type WireMatch = NonNullable<WireRule['matches']>[number]
type WireFilter = NonNullable<WireRule['filters']>[number]
type WireBackend = NonNullable<WireRule['backends']>[number]
type WireTls = NonNullable<WireBackend['tls']>
interface Named {
  name?: string | undefined
  value?: string | undefined
}

/** Stands where a secret was. Not base64, so that a redacted config cannot be applied by mistake. */
const REDACTED = '[redacted]'

/** Names whose values are credentials, or so likely that hiding them is the better mistake. */
const CREDENTIAL =
  /auth|cookie|token|secret|passw|api[-_]?key|access[-_]?key|credential|session|signature|jwt|private|bearer/i

/** Whether a header or a query parameter of this name carries a credential. */
export function isCredentialName(name: string): boolean {
  return CREDENTIAL.test(name)
}

/**
 * The same config, fit to be shown: without private keys, without the values of credential headers and parameters
 * (in filters and in matches), without user information and queries in URLs.
 *
 * @param wire what `toWire` made
 */
export function redact(wire: WireConfig): WireConfig {
  return wire.rules === undefined ? wire : { ...wire, rules: wire.rules.map(redactRule) }
}

function redactRule(rule: WireRule): WireRule {
  return {
    ...rule,
    ...(rule.matches && { matches: rule.matches.map(redactMatch) }),
    ...(rule.filters && { filters: rule.filters.map(redactFilter) }),
    ...(rule.backends && { backends: rule.backends.map(redactBackend) }),
  }
}

function redactMatch(match: WireMatch): WireMatch {
  return {
    ...match,
    ...(match.headers && { headers: match.headers.map(redactNamed) }),
    ...(match.queryParams && { queryParams: match.queryParams.map(redactNamed) }),
  }
}

function redactFilter(filter: WireFilter): WireFilter {
  const { requestHeaderModifier, responseHeaderModifier, requestMirror } = filter
  return {
    ...filter,
    ...(requestHeaderModifier && { requestHeaderModifier: redactModifier(requestHeaderModifier) }),
    ...(responseHeaderModifier && { responseHeaderModifier: redactModifier(responseHeaderModifier) }),
    ...(requestMirror && {
      requestMirror: {
        ...requestMirror,
        backendUrl: redactUrl(requestMirror.backendUrl),
        ...(requestMirror.tls && { tls: redactTls(requestMirror.tls) }),
      },
    }),
  }
}

function redactModifier(modifier: NonNullable<WireFilter['requestHeaderModifier']>): typeof modifier {
  return {
    ...modifier,
    ...(modifier.set && { set: modifier.set.map(redactNamed) }),
    ...(modifier.add && { add: modifier.add.map(redactNamed) }),
  }
}

function redactBackend(backend: WireBackend): WireBackend {
  return {
    ...backend,
    url: redactUrl(backend.url),
    ...(backend.tls && { tls: redactTls(backend.tls) }),
    ...(backend.filters && { filters: backend.filters.map(redactFilter) }),
  }
}

function redactTls(tls: WireTls): WireTls {
  return tls.clientKeyPem === undefined ? tls : { ...tls, clientKeyPem: REDACTED }
}

function redactNamed<T extends Named>(entry: T): T {
  return entry.name !== undefined && isCredentialName(entry.name) ? { ...entry, value: REDACTED } : entry
}

/** By text, since what is no URL may hold a secret as well. */
function redactUrl(url: string | undefined): string | undefined {
  return url?.replace(/^([^/?#]*\/\/)?[^/?#]*@/, `$1${REDACTED}@`).replace(/\?.*/s, `?${REDACTED}`)
}
