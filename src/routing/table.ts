/**
 * Which rule gets a request.
 *
 * A table is compiled from a config and never changed. Looking something up takes one map by host, one by exact path,
 * one per depth of existing prefixes, and whatever regular expressions the host has; it does not depend on the number
 * of rules.
 */
import { joinPath, type ConfigIssue } from '../config/issues.ts'
import { findMatchFault } from '../config/match-faults.ts'
import type { Listener, Match, ProxyConfig, Rule } from '../config/proxy-config.ts'
import { failRule, sealRule } from '../config/seal.ts'
import { canonicalHostname, isHostname } from '../config/syntax.ts'
import { authorityOf, targetOf } from '../http/request.ts'
import type { Condition, Subject } from './condition.ts'
import { headerConditions } from './header.ts'
import { coveringPatterns, findMostSpecific, hostOf, indexPatterns, type HostPatterns } from './hostname.ts'
import {
  listenersAt,
  onLowestPort,
  usableListeners,
  type Candidate as ListenerCandidate,
  type Entrance,
} from './listeners.ts'
import { methodCondition } from './method.ts'
import { trimPrefix } from './path.ts'
import { buildPathIndex, findByPath, type Candidate, type PathIndex } from './path-index.ts'
import { queryConditions } from './query.ts'

export type { Entrance } from './listeners.ts'

/** Which rule a request belongs to, and by what. */
export interface RouteMatch<T> {
  /** What `build` made of the rule. */
  readonly target: T
  /** The rule, made safe: a rule or backend that cannot be served as written has `unavailableStatus` 500. */
  readonly rule: Rule
  readonly ruleIndex: number
  /** Which of the rule's matches held; 0 for a rule without any. */
  readonly matchIndex: number
  /** The pattern of the rule that covers the host; '' when the rule names none. */
  readonly hostname: string
  /** The PathPrefix that held, without trailing slash; `undefined` when another kind of path match held. */
  readonly pathPrefix: string | undefined
  /** `undefined` when the config has no listeners. */
  readonly listener: Listener | undefined
  /** The rule has another match that could not be compiled: the request is to be answered with 500. */
  readonly failed?: true | undefined
}

export interface RoutingTable<T> {
  /** For no entrance at all. */
  readonly bare: HostPatterns<Chain<T>>
  readonly sources: Sources<T>
  readonly byEntrance: WeakMap<Entrance, HostPatterns<Chain<T>>>
  readonly byName: Map<string, HostPatterns<Chain<T>>>
}

export interface Compiled<T> {
  readonly table: RoutingTable<T>
  /** What is wrong with the config's rules and listeners, and what happens to them. */
  readonly diagnostics: ConfigIssue[]
}

/** A match in its place, which is its own answer. */
interface Entry<T> extends Candidate, RouteMatch<T> {}

const unconditional: readonly Condition[] = []

/** The paths of each hostname that covers a host, most specific first. */
type Chain<T> = readonly PathIndex<Entry<T>>[]

/** A rule of the config, ready to be placed. */
interface CompiledRule<T> {
  readonly rule: Rule
  readonly target: T
  readonly index: number
  readonly failed: true | undefined
  readonly matches: readonly Omit<Candidate, 'ruleIndex'>[]
}

/** Rules by the pattern of their hostnames, in config order. */
type ByPattern<T> = Map<string, CompiledRule<T>[]>

interface Sources<T> {
  readonly listeners: readonly ListenerCandidate[] | undefined
  /** Rules of every listener. */
  readonly unattached: ByPattern<T>
  /** Rules of one listener, by its place in the config. */
  readonly attached: readonly ByPattern<T>[]
}

/**
 * Compiles a config. One bad rule never blocks a good one: a match that cannot be compiled matches nothing and lets the
 * other matches of its rule answer 500; whatever else is wrong with a rule fails as `sealRule` says.
 *
 * @param build makes of each rule what its matches hand out; called once per rule, in order, with the rule made safe
 * @param entrances what requests will come in by, as far as known; others are compiled when they first appear
 */
export function compile<T>(
  config: ProxyConfig,
  build: (rule: Rule, index: number) => T,
  entrances: readonly Entrance[] = [],
): Compiled<T> {
  const diagnostics: ConfigIssue[] = []
  const listeners = config.listeners && usableListeners(config.listeners, diagnostics)
  const listenersByName = new Map<string, number[]>()
  for (const [index, { name }] of config.listeners?.entries() ?? []) {
    listenersByName.set(name, [...(listenersByName.get(name) ?? []), index])
  }
  const unattached: ByPattern<T> = new Map()
  const attached: ByPattern<T>[] = (config.listeners ?? []).map(() => new Map())
  for (const [index, rule] of config.rules.entries()) {
    const compiled = compileRule(rule, index, build, diagnostics)
    const patterns = patternsOf(rule, index, diagnostics)
    for (const place of placesOf(rule, index, listenersByName, diagnostics)) {
      const byPattern = place === undefined ? unattached : attached[place]!
      for (const pattern of patterns) {
        const rules = byPattern.get(pattern)
        if (rules === undefined) byPattern.set(pattern, [compiled])
        else rules.push(compiled)
      }
    }
  }
  const sources: Sources<T> = { listeners, unattached, attached }
  const table: RoutingTable<T> = {
    bare: compileEntrance(sources, undefined),
    sources,
    byEntrance: new WeakMap(),
    byName: new Map(),
  }
  for (const entrance of entrances) hostsAt(table, entrance)
  return { table, diagnostics }
}

/**
 * Finds the rule that a request belongs to.
 *
 * @param request its target as `normalizeTarget` left it: what is matched here is what is to be forwarded
 * @param entrance what the address that it came in by stands for; every HTTP listener when absent
 * @returns `undefined` when no rule of the most specific listener matches
 */
export function match<T>(table: RoutingTable<T>, request: Request, entrance?: Entrance): RouteMatch<T> | undefined {
  const hosts = entrance === undefined ? table.bare : hostsAt(table, entrance)
  const authority = authorityOf(request)
  const chain = hosts.exact.get(authority) ?? findMostSpecific(hosts, hostOf(authority))
  if (chain === undefined) return undefined
  const target = targetOf(request)
  const queryAt = target.indexOf('?')
  const pathEnd = queryAt === -1 ? target.length : queryAt
  const subject: Subject = { request, target, pathEnd, parameters: undefined }
  for (const index of chain) {
    const found = findByPath(index, subject)
    if (found !== undefined) return found
  }
  return undefined
}

function hostsAt<T>(table: RoutingTable<T>, entrance: Entrance): HostPatterns<Chain<T>> {
  const known = table.byEntrance.get(entrance)
  if (known !== undefined) return known
  const name = `${entrance.gateway ?? ''}=${entrance.port ?? ''}`
  const hosts = table.byName.get(name) ?? compileEntrance(table.sources, entrance)
  table.byName.set(name, hosts)
  table.byEntrance.set(entrance, hosts)
  return hosts
}

function compileRule<T>(
  given: Rule,
  index: number,
  build: (rule: Rule, index: number) => T,
  diagnostics: ConfigIssue[],
): CompiledRule<T> {
  const path = `rules[${index}]`
  const sealed = sealRule(given, path)
  diagnostics.push(...sealed.issues)
  const matches: Omit<Candidate, 'ruleIndex'>[] = []
  let failed: true | undefined
  for (const [matchIndex, match] of given.matches?.entries() ?? []) {
    const fault = findMatchFault(match, joinPath(path, 'matches', matchIndex))
    if (fault === undefined) {
      matches.push(compileMatch(match, matchIndex))
      continue
    }
    failed = true
    diagnostics.push({
      ...fault,
      message: `${fault.message}; this match is left out, and the other matches of its rule are answered with 500`,
    })
  }
  if (given.matches === undefined || given.matches.length === 0) matches.push(compileMatch({}, 0))
  const rule = failed ? failRule(sealed.rule) : sealed.rule
  return { rule, target: build(rule, index), index, failed, matches }
}

function compileMatch({ path, method, headers, queryParams }: Match, matchIndex: number): Omit<Candidate, 'ruleIndex'> {
  const ofHeaders = headerConditions(headers ?? [])
  const ofQuery = queryConditions(queryParams ?? [])
  const ofMethod = method === undefined ? [] : [methodCondition(method)]
  const conditions: readonly Condition[] = [...ofMethod, ...ofHeaders, ...ofQuery]
  const type = (path?.type ?? 'PathPrefix') as Candidate['type']
  const value = path?.value ?? '/'
  return {
    type,
    path: type === 'PathPrefix' ? trimPrefix(value) : value,
    anchored: path?.anchored ?? false,
    afterPrefixes: path?.afterPrefixes ?? false,
    // One shared empty list: the commonest answer needs no read of its own.
    conditions: conditions.length === 0 ? unconditional : conditions,
    hasMethod: method !== undefined,
    headerCount: ofHeaders.length,
    queryCount: ofQuery.length,
    matchIndex,
  }
}

/** The rule's hostname patterns; '' when it has none. What is no hostname covers no host. */
function patternsOf(rule: Rule, index: number, diagnostics: ConfigIssue[]): ReadonlySet<string> {
  if (rule.hostnames === undefined || rule.hostnames.length === 0) return new Set([''])
  const patterns = new Set<string>()
  for (const [at, hostname] of rule.hostnames.entries()) {
    const pattern = canonicalHostname(hostname)
    if (isHostname(pattern)) patterns.add(pattern)
    else {
      diagnostics.push({
        path: joinPath('rules', index, 'hostnames', at),
        message: 'is no hostname; it covers no host',
        fix: 'use a DNS name without port, optionally with "*." in front; leave hostnames out for every host',
      })
    }
  }
  return patterns
}

/** The places of the listeners that a rule is attached to; `[undefined]` for all of them. */
function placesOf(
  rule: Rule,
  index: number,
  listenersByName: ReadonlyMap<string, readonly number[]>,
  diagnostics: ConfigIssue[],
): Iterable<number | undefined> {
  if (rule.listeners === undefined) return [undefined]
  const places = new Set<number>()
  for (const [at, name] of rule.listeners.entries()) {
    const named = listenersByName.get(name)
    for (const place of named ?? []) places.add(place)
    if (named === undefined) {
      diagnostics.push({
        path: joinPath('rules', index, 'listeners', at),
        message: 'is no listener of this config; the rule is not served by it',
        fix: "use the name of one of the config's listeners",
      })
    }
  }
  return places
}

/**
 * What an entrance serves, by host. Of every pattern that a rule or a listener has, it is known beforehand which
 * listeners decide for its hosts and which patterns cover them, so that a request needs one look-up for both.
 */
function compileEntrance<T>(sources: Sources<T>, entrance: Entrance | undefined): HostPatterns<Chain<T>> {
  const indexes = new Map<string, PathIndex<Entry<T>>>()
  const chainOf = (pattern: string, serving: readonly ListenerCandidate[] | undefined): Chain<T> => {
    const group = serving?.map(({ index }) => index).join() ?? ''
    const chain: PathIndex<Entry<T>>[] = []
    for (const covering of coveringPatterns(pattern)) {
      const key = `${group}/${covering}`
      let index = indexes.get(key)
      if (index === undefined) {
        const entries = entriesOf(sources, covering, serving)
        if (entries.length === 0) continue
        index = buildPathIndex(entries)
        indexes.set(key, index)
      }
      chain.push(index)
    }
    return chain
  }

  if (sources.listeners === undefined) {
    const patterns = [...sources.unattached.keys()]
    return indexPatterns(patterns.map((pattern) => [pattern, chainOf(pattern, undefined)] as const))
  }
  const candidates = listenersAt(sources.listeners, entrance)
  const byPattern = Map.groupBy(candidates, ({ pattern }) => pattern)
  const patterns = new Set([...byPattern.keys(), ...sources.unattached.keys()])
  for (const { index } of candidates) for (const pattern of sources.attached[index]!.keys()) patterns.add(pattern)
  const chains: [string, Chain<T>][] = []
  for (const pattern of patterns) {
    const decisive = coveringPatterns(pattern).find((covering) => byPattern.has(covering))
    if (decisive !== undefined) chains.push([pattern, chainOf(pattern, onLowestPort(byPattern.get(decisive)!))])
  }
  return indexPatterns(chains)
}

/** The matches of all rules with one hostname pattern that are served by some listeners, or by all for `undefined`. */
function entriesOf<T>(
  { unattached, attached }: Sources<T>,
  pattern: string,
  serving: readonly ListenerCandidate[] | undefined,
): Entry<T>[] {
  const entries: Entry<T>[] = []
  const place = (rules: readonly CompiledRule<T>[], listener: Listener | undefined): void => {
    for (const { rule, target, index, failed, matches } of rules) {
      for (const match of matches) {
        const { conditions, type, path, anchored, afterPrefixes, hasMethod, headerCount, queryCount, matchIndex } =
          match
        entries.push({
          // What each request reads, side by side; a spread would put most of it into memory of its own.
          conditions,
          target,
          ruleIndex: index,
          hostname: pattern,
          rule,
          listener,
          failed,
          pathPrefix: type === 'PathPrefix' ? path : undefined,
          // What only the building of the table reads.
          type,
          path,
          anchored,
          afterPrefixes,
          hasMethod,
          headerCount,
          queryCount,
          matchIndex,
        })
      }
    }
  }
  place(unattached.get(pattern) ?? [], serving?.[0]?.listener)
  for (const { index, listener } of serving ?? []) place(attached[index]!.get(pattern) ?? [], listener)
  return entries
}
