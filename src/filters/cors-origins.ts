/**
 * Which origins a CORS filter names.
 *
 * `https://example.com` is one origin; `https://*.example.com` any host below example.com, at any depth; `https://*` any
 * host; `*` any origin at all, `null` among them. An absent port is the scheme's own.
 *
 * @see Gateway API CORSOrigin; RFC 6454 section 6.2
 */
export function compileOrigins(patterns: readonly string[]): (origin: string) => boolean {
  if (patterns.includes('*')) return () => true
  const exact = new Set<string>()
  const wildcards: Origin[] = []
  for (const pattern of patterns) {
    const parsed = parseOrigin(pattern)
    if (parsed === undefined) exact.add(pattern.toLowerCase())
    else if (parsed.host === '*' || parsed.host.startsWith('*.'))
      wildcards.push({ ...parsed, host: parsed.host.slice(1) })
    else exact.add(textOf(parsed))
  }
  return (origin) => {
    const parsed = parseOrigin(origin)
    if (parsed === undefined) return exact.has(origin.toLowerCase())
    return exact.has(textOf(parsed)) || wildcards.some((wildcard) => covers(wildcard, parsed))
  }
}

interface Origin {
  readonly scheme: string
  /** Lower case; of a wildcard what follows the star. */
  readonly host: string
  readonly port: number | undefined
}

function covers(wildcard: Origin, { scheme, host, port }: Origin): boolean {
  return (
    scheme === wildcard.scheme &&
    port === wildcard.port &&
    host.length > wildcard.host.length &&
    host.endsWith(wildcard.host)
  )
}

const wellKnownPort: Readonly<Record<string, number>> = { http: 80, https: 443 }

/** Undefined for what is no scheme, host and port: `null`, or a pattern that no browser would ever send. */
function parseOrigin(text: string): Origin | undefined {
  const found = /^([a-z][a-z0-9+.-]*):\/\/(\[[0-9a-f:.]+\]|[^/?#@:[\]]+)(?::(\d{1,5}))?$/.exec(text.toLowerCase())
  if (!found) return undefined
  const [, scheme = '', host = '', port] = found
  return { scheme, host, port: port === undefined ? wellKnownPort[scheme] : Number(port) }
}

function textOf({ scheme, host, port }: Origin): string {
  return `${scheme}://${host}:${port ?? ''}`
}
