import type { ValueMatch } from '../config/proxy-config.ts'
import { compilePatterns } from '../config/regex.ts'
import { fieldValue, fieldValues } from '../http/values.ts'
import type { Condition, Subject } from './condition.ts'

/**
 * The conditions on headers. Names are compared in any letter case, and of several with one name the first counts;
 * values are compared exactly. A header sent several times satisfies a condition by any of its values, or by all of
 * them joined, as RFC 9110 section 5.3 lets any hop join them.
 *
 * @see Gateway API HTTPHeaderMatch
 */
export function headerConditions(matches: readonly ValueMatch[]): Condition[] {
  const conditions = new Map<string, Condition>()
  for (const match of matches) {
    const name = match.name.toLowerCase()
    if (!conditions.has(name)) conditions.set(name, headerCondition(name, match))
  }
  return [...conditions.values()]
}

function headerCondition(name: string, { type, value, anchored = false }: ValueMatch): Condition {
  const key = `header:${name}`
  const read = ({ request }: Subject): readonly string[] => {
    const values = fieldValues(request, name)
    return values.length > 1 ? [...values, values.join(', ')] : values
  }
  if (type === 'Exact') {
    const holds = ({ request }: Subject): boolean => {
      const joined = fieldValue(request, name)
      if (joined === value) return true
      return joined !== null && joined.includes(value) && fieldValues(request, name).includes(value)
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
