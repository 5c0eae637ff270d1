/** An HTTPRoute rule's matches. @see Gateway API HTTPRouteMatch */

import { z } from 'zod'
import { findMatchFault } from '../config/match-faults.ts'
import type { Match } from '../config/proxy-config.ts'
import { headerName } from './manifests.ts'
import { fieldPath, lastPart, printable, read, readItems, type Reading, refuse } from './reading.ts'

export const valueMatch = (name: z.ZodString, longest: number) =>
  z.strictObject({
    type: z.enum(['Exact', 'RegularExpression']).default('Exact'),
    name,
    value: z.string().min(1).max(longest),
  })

const httpRouteMatch = z.strictObject({
  path: z
    .strictObject({
      type: z.enum(['Exact', 'PathPrefix', 'RegularExpression']).default('PathPrefix'),
      value: z.string().max(1024).default('/'),
    })
    .prefault({}),
  method: z.enum(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']).optional(),
  headers: z.array(valueMatch(headerName, 4096)).max(16).default([]),
  queryParams: z.array(valueMatch(headerName, 1024)).max(16).default([]),
})

export interface Matches {
  /** At least one, if `failed` is false. */
  readonly matches: readonly Match[]
  /** A match could not be read. It matches nothing; what the others match must be answered with an error. */
  readonly failed: boolean
}

/** A rule without matches matches every request, as the CRD's default does. */
export const everything: Match = { path: { type: 'PathPrefix', value: '/' } }

export function convertMatches(value: unknown, reading: Reading): Matches {
  const items = readItems(value, reading, 64)
  if (items === undefined) return { matches: [], failed: true }
  if (items.length === 0) return { matches: [everything], failed: false }
  const matches = items
    .map((item, i) => convertMatch(item, { ...reading, field: `${reading.field}[${i}]` }))
    .filter((match) => match !== undefined)
  return { matches, failed: matches.length < items.length }
}

function convertMatch(value: unknown, reading: Reading): Match | undefined {
  const spec = read(httpRouteMatch, value, reading)
  if (spec === undefined) return undefined
  const { path, method, headers, queryParams } = spec
  const match: Match = {
    path: anchor(path),
    ...(method !== undefined && { method }),
    ...(headers.length > 0 && { headers: headers.map(anchor) }),
    ...(queryParams.length > 0 && { queryParams: queryParams.map(anchor) }),
  }
  const fault = findMatchFault(match, reading.field) ?? findPathFault(match, reading.field)
  if (fault !== undefined) {
    const message = `${describe(match, fault)}; ${reading.consequence}`
    refuse({ ...reading, field: fault.path }, message, fault.fix)
    return undefined
  }
  return {
    ...match,
    ...(match.headers && { headers: firstOfEach(match.headers, ({ name }) => name.toLowerCase(), 'headers', reading) }),
    ...(match.queryParams && {
      queryParams: firstOfEach(match.queryParams, ({ name }) => name, 'queryParams', reading),
    }),
  }
}

/** A regular expression has to match the whole of what it is compared with. */
export function anchor<T extends { type: string }>(condition: T): T & { anchored?: true } {
  return condition.type === 'RegularExpression' ? { ...condition, anchored: true } : condition
}

/** Of conditions on one name only the first counts. @see Gateway API HTTPHeaderMatch.name, HTTPQueryParamMatch.name */
export function firstOfEach<T>(
  conditions: readonly T[],
  nameOf: (condition: T) => string,
  list: string,
  { field, report }: Reading,
): T[] {
  const seen = new Set<string>()
  return conditions.filter((condition, i) => {
    const name = nameOf(condition)
    if (seen.has(name)) {
      report({
        level: 'warning',
        field: `${field}.${list}[${i}]`,
        message: 'The name occurs before in this match; only the first one counts',
      })
      return false
    }
    seen.add(name)
    return true
  })
}

interface Fault {
  readonly path: string
  readonly message: string
  readonly fix?: string
}

/** What HTTPPathMatch's CEL rules refuse beyond what no request could carry. */
function findPathFault({ path }: Match, field: string): Fault | undefined {
  if (path === undefined || path.type === 'RegularExpression' || !/\/\/|%2f/i.test(path.value)) return undefined
  return {
    path: fieldPath(field, ['path', 'value']),
    message: 'must not have "//" or an encoded slash',
    fix: 'Use a RegularExpression match for it',
  }
}

/** A path may be quoted. What a header or a parameter is compared with may be a credential. */
function describe({ path }: Match, fault: Fault): string {
  if (fault.path.endsWith('.path.value')) return `Path ${printable(path?.value ?? '')} ${fault.message}`
  return `${lastPart(fault.path)} ${fault.message.replace(/: `.*$/s, '')}`
}
