/** A GRPCRoute rule's matches. A gRPC request is a POST to `/service/method`. @see Gateway API GRPCRouteMatch, GEP-1016 */

import { z } from 'zod'
import { findMatchFault } from '../config/match-faults.ts'
import type { Match, PathMatch } from '../config/proxy-config.ts'
import { headerName } from './manifests.ts'
import { anchor, everything, firstOfEach, type Matches, valueMatch } from './matches.ts'
import { lastPart, read, readItems, type Reading, refuse } from './reading.ts'

const methodMatch = z
  .strictObject({
    type: z.enum(['Exact', 'RegularExpression']).default('Exact'),
    service: z.string().max(1024).default(''),
    method: z.string().max(1024).default(''),
  })
  .refine(({ service, method }) => service !== '' || method !== '', { error: 'must name a service, a method, or both' })
type MethodMatch = z.output<typeof methodMatch>

const grpcRouteMatch = z.strictObject({
  method: methodMatch.optional(),
  headers: z.array(valueMatch(headerName, 4096)).max(16).default([]),
})

/** What type Exact takes. @see Gateway API GRPCMethodMatch and its CEL rules */
const serviceName = /^\.?[a-z_][a-z_0-9]*(?:\.[a-z_][a-z_0-9]*)*$/i
const methodName = /^[a-z_][a-z_0-9]*$/i

export function convertGrpcMatches(value: unknown, reading: Reading): Matches {
  const items = readItems(value, reading, 64)
  if (items === undefined) return { matches: [], failed: true }
  if (items.length === 0) return { matches: [everything], failed: false }
  const matches = items
    .map((item, i) => convertMatch(item, { ...reading, field: `${reading.field}[${i}]` }))
    .filter((match) => match !== undefined)
  return { matches, failed: matches.length < items.length }
}

function convertMatch(value: unknown, reading: Reading): Match | undefined {
  const spec = read(grpcRouteMatch, value, reading)
  if (spec === undefined) return undefined
  const { method, headers } = spec
  if (method !== undefined && !isUsable(method, { ...reading, field: `${reading.field}.method` })) return undefined
  const match: Match = {
    path: method === undefined ? everything.path! : pathOf(method),
    ...(headers.length > 0 && { headers: headers.map(anchor) }),
  }
  const fault = findMatchFault(match, reading.field)
  if (fault !== undefined) {
    // A header's value may be a credential, so that no part of it is quoted.
    const what = fault.message.replace(/: `.*$/s, '')
    refuse({ ...reading, field: fault.path }, `${lastPart(fault.path)} ${what}; ${reading.consequence}`, fault.fix)
    return undefined
  }
  if (match.headers === undefined) return match
  return { ...match, headers: firstOfEach(match.headers, ({ name }) => name.toLowerCase(), 'headers', reading) }
}

/** Each pattern by itself: `a)|(b` must not reach out of its place. */
function isUsable({ type, service, method }: MethodMatch, reading: Reading): boolean {
  const fail = (at: 'service' | 'method', message: string, fix?: string): false => {
    refuse({ ...reading, field: `${reading.field}.${at}` }, `${at} ${message}; ${reading.consequence}`, fix)
    return false
  }
  if (type === 'Exact') {
    if (service !== '' && !serviceName.test(service))
      return fail('service', 'must be identifiers joined by dots, like package.Service')
    if (method !== '' && !methodName.test(method)) return fail('method', 'must be an identifier, like GetItem')
    return true
  }
  for (const [at, value] of [
    ['service', service],
    ['method', method],
  ] as const) {
    const fault = value === '' ? undefined : findMatchFault({ path: { type, value } }, '')
    if (fault !== undefined) return fail(at, fault.message, fault.fix)
  }
  return true
}

/** A service outranks a method, so that a method alone comes after the services, which are prefixes. */
function pathOf({ type, service, method }: MethodMatch): PathMatch {
  if (type === 'RegularExpression') {
    const pattern = (text: string): string => (text === '' ? '[^/]+' : `(?:${text})`)
    return { type, value: `/${pattern(service)}/${pattern(method)}`, anchored: true }
  }
  if (service === '')
    return { type: 'RegularExpression', value: `/[^/]+/${method}`, anchored: true, afterPrefixes: true }
  return method === '' ? { type: 'PathPrefix', value: `/${service}/` } : { type, value: `/${service}/${method}` }
}
