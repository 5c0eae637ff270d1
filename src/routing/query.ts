import type { ValueMatch } from '../config/proxy-config.ts'
import { compilePatterns } from '../config/regex.ts'
import type { Condition, Subject } from './condition.ts'

const none: readonly string[] = []
const ENCODED = /[%+\u0080-\uffff]/

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
    // What needs no decoding can be searched for as it stands, which spares most requests the parsing.
    const plain = value !== '' && !/[%+&=\u0080-\uffff]/.test(name) && !/[%+&\u0080-\uffff]/.test(value)
    const pair = `${name}=${value}`
    const holds = (subject: Subject): boolean => {
      if (!plain || subject.parameters !== undefined) return read(subject).includes(value)
      return hasPair(subject, pair) || (mayNeedDecoding(subject) && read(subject).includes(value))
    }
    return { key, exact: value, read, holds }
  }
  const pattern = compilePatterns([value], anchored)
  return {
    key,
    exact: undefined,
    read,
    holds: (subject) => read(subject).some((sent) => pattern.match(sent).length > 0),
  }
}

/** Whether `name=value` stands in the query as it is. */
function hasPair({ target, pathEnd }: Subject, pair: string): boolean {
  for (let at = target.indexOf(pair, pathEnd + 1); at !== -1; at = target.indexOf(pair, at + 1)) {
    const end = at + pair.length
    if ((at === pathEnd + 1 || target[at - 1] === '&') && (end === target.length || target[end] === '&')) return true
  }
  return false
}

function mayNeedDecoding({ target, pathEnd }: Subject): boolean {
  return ENCODED.test(target.slice(pathEnd + 1))
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
  if (ENCODED.test(query)) {
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
