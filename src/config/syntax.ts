/** The alphabets that a config's hosts and paths must keep to before they may reach a routing table or a wire. */

/** One label of a DNS name, with the underscore that real zones use. */
const NAME = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/
const IPV6_LITERAL = /^\[[0-9a-f:.]{2,45}\]$/

/** A host without wildcard and port: a lower-case DNS name, an IPv4 address, or an IPv6 address in brackets. */
export function isPreciseHostname(text: string): boolean {
  return NAME.test(text) || IPV6_LITERAL.test(text)
}

/** A hostname as listeners and routes give it: precise, or `*.` and a name. Lower case, no trailing dot. */
export function isHostname(text: string): boolean {
  return isPreciseHostname(text.startsWith('*.') ? text.slice(2) : text)
}

/** What a Hostname is after the differences that DNS ignores are gone: letter case and the root's dot. */
export function canonicalHostname(text: string): string {
  const lower = text.toLowerCase()
  return lower.endsWith('.') ? lower.slice(0, -1) : lower
}

/** An address to dial: an IPv4 or IPv6 address, or a name. */
const ADDRESS = /^(?:[0-9A-Fa-f:.]{2,45}|[0-9A-Za-z_](?:[0-9A-Za-z_.-]{0,251}[0-9A-Za-z_.])?)$/

export function isDialAddress(text: string): boolean {
  return ADDRESS.test(text)
}

export function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535
}

/** What may stand in a path: RFC 3986's pchar and "/", with whole percent triples. */
const PATH = /^\/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*$/
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i

/** An absolute path that can stand in a request target as it is: no query, no fragment. */
export function isPath(text: string): boolean {
  return PATH.test(text)
}

/** Whether a segment of the path is `.` or `..`, percent-encoded or not. */
export function hasDotSegment(path: string): boolean {
  return DOT_SEGMENT.test(path)
}
