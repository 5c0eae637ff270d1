import type { ValueMatch } from '../config/proxy-config.ts'
import { compilePatterns } from '../config/regex.ts'
import type { Condition, Subject } from './condition.ts'

const none: readonly string[] = []

/**
 * The conditions on query parameters. Names and values are compared exactly, after form decoding. Of several conditions
 * with one name the first counts; a parameter sent several times satisfies a condition by any of its values.
 *
 * @see Gateway API HTTPQueryParamMatch
 */
export function queryConditions(matches: readonly ValueMatch[]): Condition[] {
  const conditions = new Map<string, Condition>()
  for (const match of matches) {
    if (!conditions.has(match.name)) conditions.set(match.name, queryCondition(match))
  }
  return [...conditions.values()]
}

function queryCondition({ type, name, value, anchored = false }: ValueMatch): Condition {
  const key = `query:${name}`
  const read = (subject: Subject): readonly string[] => parametersOf(subject).get(name) ?? none
  if (type === 'Exact') {
    return { key, exact: value, read, holds: (subject) => read(subject).includes(value) }
  }
  const pattern = compilePatterns([value], anchored)
  return {
    key,
    exact: undefined,
    read,
    holds: (subject) => read(subject).some((sent) => pattern.match(sent).length > 0),
  }
}

function parametersOf(subject: Subject): ReadonlyMap<string, readonly string[]> {
  return (subject.parameters ??= parseQuery(subject.target.slice(subject.pathEnd + 1)))
}

/**
 * Reads `application/x-www-form-urlencoded` text as URLSearchParams does, which costs several times as much on some
 * runtimes and is asked only where there is something to decode.
 *
 * @see https://url.spec.whatwg.org/#urlencoded-parsing
 */
export function parseQuery(query: string): Map<string, string[]> {
  const parameters = new Map<string, string[]>()
  const add = (name: string, value: string): void => {
    const values = parameters.get(name)
    if (values === undefined) parameters.set(name, [value])
    else values.push(value)
  }
  if (/[%+\u0080-\uffff]/.test(query)) {
    // A "?" at the front would be taken for the query's own mark.
    for (const [name, value] of new URLSearchParams(`?${query}`)) add(name, value)
    return parameters
  }
  for (const pair of query.split('&')) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    if (equals === -1) add(pair, '')
    else add(pair.slice(0, equals), pair.slice(equals + 1))
  }
  return parameters
}
