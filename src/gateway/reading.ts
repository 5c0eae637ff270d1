/** Reads one piece of a manifest through its schema, and says in words what does not fit. */

import type { z } from 'zod'
import type { Condition, Report } from './diagnostics.ts'
import { isRecord } from './manifest-files.ts'

/** Far more than any object that fits into etcd has, and few enough to be copied without being noticed. */
const mostValues = 250_000
const deepestNesting = 64

export class TooLarge extends Error {}

/**
 * A copy of a manifest as the API server would see it: a field that is `null` counts as absent. Aliases are expanded
 * here, so the number of values is bounded.
 *
 * @throws TooLarge if it has too many values or is nested too deep
 */
export function plainCopy(value: unknown): unknown {
  let left = mostValues
  const copy = (from: unknown, depth: number): unknown => {
    if (--left < 0 || depth > deepestNesting) throw new TooLarge()
    if (Array.isArray(from)) return from.map((item) => copy(item, depth + 1))
    if (!isRecord(from)) return from
    const to: Record<string, unknown> = {}
    for (const [key, child] of Object.entries(from)) {
      if (child !== null && child !== undefined && key !== '__proto__') to[key] = copy(child, depth + 1)
    }
    return to
  }
  return copy(value, 0)
}

export interface Reading {
  /** Where the value stands: `spec.rules[0]`. */
  readonly field: string
  readonly report: Report
  /** What follows for whoever wrote it: "the rule answers 500". */
  readonly consequence: string
  readonly condition?: Condition
}

/**
 * Reads a value through a schema. Unknown fields are reported as warnings and ignored, as the API server prunes them;
 * anything else that does not fit is an error.
 *
 * @returns the value with its defaults filled in, or `undefined` if it does not fit
 */
export function read<S extends z.ZodType>(schema: S, value: unknown, reading: Reading): z.output<S> | undefined {
  const first = schema.safeParse(value, { error: explain })
  if (first.success) return first.data
  const { issues } = first.error
  const unknownKeys = issues.filter((issue) => issue.code === 'unrecognized_keys')
  for (const { keys, path } of unknownKeys) {
    for (const key of keys) {
      const field = fieldPath(reading.field, [...path, key])
      reading.report({
        level: 'warning',
        field,
        message: 'There is no such field; it is ignored',
        fix: 'Check its spelling and its place',
      })
    }
  }
  if (unknownKeys.length === issues.length) return read(schema, withoutKeys(value, unknownKeys), reading)

  for (const issue of issues) {
    if (issue.code === 'unrecognized_keys') continue
    const field = fieldPath(reading.field, issue.path)
    refuse({ ...reading, field }, `${lastPart(field)} ${issue.message}; ${reading.consequence}`)
  }
  return undefined
}

/** How far beyond a cluster's limits we go: far enough for files, and not so far that lists of lists explode. */
const leniency = 8

/**
 * Reads a list whose items are read one by one, so that one bad item does not take the others with it.
 *
 * @param limit how many items the CRD allows. More are served as well, but a cluster would refuse the object.
 * @returns no items for a list that is absent; `undefined` for what is no list, or too long
 */
export function readItems(value: unknown, reading: Reading, limit: number): readonly unknown[] | undefined {
  if (value === undefined) return []
  const { field, report, consequence } = reading
  if (!Array.isArray(value)) {
    refuse(reading, `${lastPart(field)} must be a list; ${consequence}`)
    return undefined
  }
  if (value.length > leniency * limit) {
    refuse(reading, `${value.length} ${lastPart(field)} are too many; ${consequence}`)
    return undefined
  }
  if (value.length > limit) {
    report({
      level: 'warning',
      field,
      message: `A cluster accepts at most ${limit} ${lastPart(field)} here, not ${value.length}`,
    })
  }
  return value
}

/** Reports that what stands at `reading.field` cannot be served. */
export function refuse({ field, report, condition }: Reading, message: string, fix?: string): void {
  report({
    level: 'error',
    field,
    message,
    ...(fix !== undefined && { fix: sentence(fix) }),
    ...(condition !== undefined && { condition }),
  })
}

export function fieldPath(base: string, path: readonly PropertyKey[]): string {
  let field = base
  for (const part of path) {
    if (typeof part === 'number') field += `[${part}]`
    else field += field === '' ? printable(String(part)) : `.${printable(String(part))}`
  }
  return field
}

/** A key or a name as it may stand in a log line, whatever somebody put into it. */
export function printable(text: string): string {
  const short = text.length > 80 ? `${text.slice(0, 77)}...` : text
  return short.replace(/[^\x20-\x7e]/g, '?')
}

/** Findings of the config's own checks begin in lower case. */
function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** What a message calls a field whose whole path stands beside it. */
export function lastPart(field: string): string {
  return field.slice(field.lastIndexOf('.') + 1)
}

function withoutKeys(value: unknown, issues: readonly z.core.$ZodIssueUnrecognizedKeys[]): unknown {
  const copy = structuredClone(value)
  for (const { path, keys } of issues) {
    let parent: unknown = copy
    for (const part of path) parent = (parent as Record<PropertyKey, unknown>)[part]
    for (const key of keys) delete (parent as Record<string, unknown>)[key]
  }
  return copy
}

/** Zod's findings in the words of somebody who edits YAML. Values are not repeated: one of them could be a secret. */
function explain(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? 'is missing' : `must be ${typeNames[issue.expected] ?? issue.expected}`
    case 'invalid_value':
      return issue.input === undefined ? 'is missing' : `must be one of ${issue.values.map(String).join(', ')}`
    case 'too_big':
      return boundOf('at most', issue.origin, Number(issue.maximum))
    case 'too_small':
      return issue.origin === 'string' && issue.minimum === 1
        ? 'must not be empty'
        : boundOf('at least', issue.origin, Number(issue.minimum))
    default:
      return undefined
  }
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
}

function boundOf(bound: 'at least' | 'at most', origin: string, limit: number): string {
  if (origin === 'array') return `must have ${bound} ${limit} ${limit === 1 ? 'item' : 'items'}`
  return `must be ${bound} ${limit}${origin === 'string' ? ' characters long' : ''}`
}
