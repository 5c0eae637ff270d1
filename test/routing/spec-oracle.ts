/**
 * A slow, literal reading of the specification, to judge the routing table by. It shares no code with it: every request
 * is held against every match of every rule, and the ladder of precedence is walked as it is written down.
 *
 * @see Gateway API GatewaySpec.listeners, HTTPRouteSpec.hostnames, HTTPRouteRule.matches
 */
import type { Listener, Match, ProxyConfig, Rule } from '../../src/config/proxy-config.ts'

export interface OracleRequest {
  readonly method: string
  /** Without port, in lower case. */
  readonly host: string
  readonly path: string
  readonly query: string
  readonly headers: readonly (readonly [name: string, value: string])[]
}

export interface OracleEntrance {
  readonly gateway?: string | undefined
  readonly port?: number | undefined
}

export interface Verdict {
  readonly ruleIndex: number
  readonly matchIndex: number
  readonly hostname: string
  readonly failed: boolean
}

interface Contender extends Verdict {
  readonly match: Match
}

/** @param isBad whether a match is one that cannot be compiled */
export function judge(
  config: ProxyConfig,
  request: OracleRequest,
  entrance: OracleEntrance | undefined,
  isBad: (match: Match) => boolean,
): Verdict | undefined {
  const serving = config.listeners && servingListeners(config.listeners, request.host, entrance)
  const contenders: Contender[] = []
  config.rules.forEach((rule, ruleIndex) => {
    if (serving !== undefined && !isAttached(rule, serving)) return
    const matches = rule.matches === undefined || rule.matches.length === 0 ? [{}] : rule.matches
    const failed = matches.some(isBad)
    const hostnames = rule.hostnames === undefined || rule.hostnames.length === 0 ? [''] : rule.hostnames
    for (const hostname of hostnames) {
      if (!covers(hostname, request.host)) continue
      matches.forEach((match, matchIndex) => {
        if (!isBad(match) && holds(match, request)) contenders.push({ match, ruleIndex, matchIndex, hostname, failed })
      })
    }
  })
  contenders.sort(byPrecedence)
  return contenders[0]
}

function servingListeners(
  listeners: readonly Listener[],
  host: string,
  entrance: OracleEntrance | undefined,
): readonly Listener[] {
  let candidates = listeners.filter(
    (listener) =>
      (entrance?.gateway === undefined || listener.gateway === entrance.gateway) &&
      (entrance?.port === undefined || listener.port === entrance.port),
  )
  if (entrance?.port === undefined && candidates.some((listener) => listener.protocol === 'HTTP')) {
    candidates = candidates.filter((listener) => listener.protocol === 'HTTP')
  }
  const covering = candidates.filter((listener) => covers(listener.hostname ?? '', host))
  const best = Math.max(...covering.map((listener) => specificity(listener.hostname ?? '')))
  const specific = covering.filter((listener) => specificity(listener.hostname ?? '') === best)
  const lowest = Math.min(...specific.map((listener) => listener.port))
  return specific.filter((listener) => listener.port === lowest)
}

function isAttached(rule: Rule, serving: readonly Listener[]): boolean {
  if (serving.length === 0) return false
  return rule.listeners === undefined || serving.some((listener) => rule.listeners!.includes(listener.name))
}

/** Exact names first, then wildcards with more labels right of the star, then no name. */
function specificity(pattern: string): number {
  if (pattern === '') return 0
  return pattern.startsWith('*.') ? pattern.split('.').length : 1000
}

function covers(pattern: string, host: string): boolean {
  if (pattern === '') return true
  const labels = host.split('.')
  if (!pattern.startsWith('*.')) return pattern === host
  const wanted = pattern.split('.').slice(1)
  return (
    labels.length > wanted.length && wanted.every((label, i) => labels[labels.length - wanted.length + i] === label)
  )
}

function holds(match: Match, request: OracleRequest): boolean {
  if (match.method !== undefined && match.method !== request.method) return false
  if (!holdsPath(match, request.path)) return false
  const headers = firstOfEach(match.headers ?? [], (name) => name.toLowerCase())
  for (const { type, name, value, anchored } of headers) {
    const lines = request.headers.filter(([sent]) => sent.toLowerCase() === name.toLowerCase()).map(([, sent]) => sent)
    const values = lines.length > 1 ? [...lines, lines.join(', ')] : lines
    if (!values.some((sent) => satisfies(type, value, anchored, sent))) return false
  }
  for (const { type, name, value, anchored } of firstOfEach(match.queryParams ?? [], (name) => name)) {
    const values = new URLSearchParams(request.query).getAll(name)
    if (!values.some((sent) => satisfies(type, value, anchored, sent))) return false
  }
  return true
}

function firstOfEach<T extends { name: string }>(entries: readonly T[], fold: (name: string) => string): T[] {
  return entries.filter((entry, i) => entries.findIndex((other) => fold(other.name) === fold(entry.name)) === i)
}

function holdsPath({ path }: Match, sent: string): boolean {
  if (path === undefined) return true
  if (path.type === 'Exact') return path.value === sent
  if (path.type === 'RegularExpression') return satisfies('RegularExpression', path.value, path.anchored, sent)
  const wanted = prefixValue(path.value).split('/')
  const segments = sent.split('/')
  return wanted.every((segment, i) => segments[i] === segment)
}

/** The tests' expressions mean the same to JavaScript. */
function satisfies(type: string, value: string, anchored: boolean | undefined, sent: string): boolean {
  if (type === 'Exact') return value === sent
  return new RegExp(anchored ? `^(?:${value})$` : value, 'u').test(sent)
}

function prefixValue(value: string): string {
  return value.endsWith('/') ? value.slice(0, -1) : value
}

function byPrecedence(a: Contender, b: Contender): number {
  const rungs: ((contender: Contender) => number)[] = [
    ({ hostname }) => (hostname.startsWith('*.') ? 0 : hostname.length),
    ({ hostname }) => hostname.length,
    ({ match }) => Number(match.path?.type === 'Exact'),
    ({ match }) => (match.path?.type === 'RegularExpression' ? 1 + match.path.value.length : 0),
    ({ match }) => (match.path?.type === 'PathPrefix' ? prefixValue(match.path.value).length : 0),
    ({ match }) => Number(match.method !== undefined),
    ({ match }) => firstOfEach(match.headers ?? [], (name) => name.toLowerCase()).length,
    ({ match }) => firstOfEach(match.queryParams ?? [], (name) => name).length,
    ({ ruleIndex }) => -ruleIndex,
    ({ matchIndex }) => -matchIndex,
  ]
  for (const rung of rungs) {
    const difference = rung(b) - rung(a)
    if (difference !== 0) return difference
  }
  return 0
}
