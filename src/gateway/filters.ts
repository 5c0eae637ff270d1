/** Filters of a rule or of a backendRef. @see Gateway API HTTPRouteFilter, GRPCRouteFilter and their CEL rules */

import { z } from 'zod'
import { findFilterFault } from '../config/filter-faults.ts'
import type { Filter } from '../config/proxy-config.ts'
import type { Target } from './backends.ts'
import {
  type BackendObjectReference,
  backendObjectReference,
  headerName,
  portNumber,
  preciseHostname,
} from './manifests.ts'
import { lastPart, printable, read, readItems, type Reading, refuse } from './reading.ts'

export interface FilterScope extends Reading {
  /** Those that the route's kind has. */
  readonly types: ReadonlySet<string>
  /** Whether the rule has exactly one match, and that on a PathPrefix: only then is there a prefix to replace. */
  readonly hasOnePrefix: boolean
  /** Resolves a mirror's target. Reports why there is none, in which case only the mirror is left out. */
  readonly resolveMirror: (reference: BackendObjectReference, field: string) => Target | undefined
}

/* Schemas */

const headerValue = z.strictObject({ name: headerName, value: z.string().min(1).max(4096) })
const headerModifier = z.strictObject({
  set: z.array(headerValue).max(16).optional(),
  add: z.array(headerValue).max(16).optional(),
  remove: z.array(z.string()).max(16).optional(),
})

const pathModifier = z
  .strictObject({
    type: z.enum(['ReplaceFullPath', 'ReplacePrefixMatch']),
    replaceFullPath: z.string().max(1024).optional(),
    replacePrefixMatch: z.string().max(1024).optional(),
  })
  .refine(({ type, replaceFullPath }) => (type === 'ReplaceFullPath') === (replaceFullPath !== undefined), {
    path: ['replaceFullPath'],
    error: 'must be given with type ReplaceFullPath, and only then',
  })
  .refine(({ type, replacePrefixMatch }) => (type === 'ReplacePrefixMatch') === (replacePrefixMatch !== undefined), {
    path: ['replacePrefixMatch'],
    error: 'must be given with type ReplacePrefixMatch, and only then',
  })

const requestRedirect = z.strictObject({
  scheme: z.enum(['http', 'https']).optional(),
  hostname: preciseHostname.optional(),
  port: portNumber.optional(),
  path: pathModifier.optional(),
  statusCode: z.literal([301, 302, 303, 307, 308]).default(302),
})

const urlRewrite = z.strictObject({ hostname: preciseHostname.optional(), path: pathModifier.optional() })

const requestMirror = z
  .strictObject({
    backendRef: backendObjectReference,
    percent: z.int().min(0).max(100).optional(),
    fraction: z.strictObject({ numerator: z.int().min(0), denominator: z.int().min(1).default(100) }).optional(),
  })
  .refine(({ percent, fraction }) => percent === undefined || fraction === undefined, {
    path: ['fraction'],
    error: 'must not be given together with percent',
  })

const aloneIfAny = (list: readonly string[]): boolean => list.length === 1 || !list.includes('*')
const aloneRule = { error: 'must have "*" alone or not at all' }
const origin = z
  .string()
  .max(253)
  .regex(/^(?:\*|https?:\/\/(?:\*|(?:\*\.)?(?:[a-zA-Z0-9-]+\.)*[a-zA-Z0-9-]+)(?::[0-9]{1,5})?)$/, {
    error: 'must be "*", or like https://example.com, https://*.example.com or https://example.com:8443',
  })
const corsMethod = z.enum(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', '*'])
const cors = z.strictObject({
  allowOrigins: z.array(origin).max(64).refine(aloneIfAny, aloneRule).optional(),
  allowCredentials: z.boolean().default(false),
  allowMethods: z.array(corsMethod).max(9).refine(aloneIfAny, aloneRule).optional(),
  allowHeaders: z.array(headerName).max(64).refine(aloneIfAny, aloneRule).optional(),
  exposeHeaders: z.array(headerName).max(64).optional(),
  maxAge: z.int().min(1).max(2_147_483_647).default(5),
})

const anything = z.unknown().optional()
const httpRouteFilter = z.strictObject({
  type: z.string().min(1),
  requestHeaderModifier: anything,
  responseHeaderModifier: anything,
  requestRedirect: anything,
  urlRewrite: anything,
  requestMirror: anything,
  cors: anything,
  extensionRef: anything,
  externalAuth: anything,
})

/* Conversion */

/** Field of the union by type, and whether a list may have it twice. */
const payloads = {
  RequestHeaderModifier: { field: 'requestHeaderModifier', repeats: false },
  ResponseHeaderModifier: { field: 'responseHeaderModifier', repeats: false },
  RequestRedirect: { field: 'requestRedirect', repeats: false },
  URLRewrite: { field: 'urlRewrite', repeats: false },
  RequestMirror: { field: 'requestMirror', repeats: true },
  CORS: { field: 'cors', repeats: false },
} as const
type FilterType = keyof typeof payloads

export const httpFilters: ReadonlySet<string> = new Set(Object.keys(payloads))
/** @see Gateway API GRPCRouteFilterType */
export const grpcFilters: ReadonlySet<string> = new Set<FilterType>([
  'RequestHeaderModifier',
  'ResponseHeaderModifier',
  'RequestMirror',
])

/**
 * Converts a list of filters, all or none: a filter must never be skipped, except a mirror whose target is invalid.
 *
 * @returns `undefined` if the requests that the filters are for must be answered with an error
 */
export function convertFilters(value: unknown, scope: FilterScope): Filter[] | undefined {
  const items = readItems(value, scope, 16)
  if (items === undefined) return undefined
  const filters: Filter[] = []
  const seen = new Set<string>()
  let failed = false
  for (const [i, item] of items.entries()) {
    const filter = convertFilter(item, { ...scope, field: `${scope.field}[${i}]` }, seen)
    if (filter === 'failed') failed = true
    else if (filter !== 'dropped') filters.push(filter)
  }
  return failed ? undefined : filters
}

function convertFilter(item: unknown, scope: FilterScope, seen: Set<string>): Filter | 'failed' | 'dropped' {
  const { field, consequence } = scope
  const spec = read(httpRouteFilter, item, scope)
  if (spec === undefined) return 'failed'
  const { type } = spec
  if (!isSupported(type, scope)) {
    const condition =
      type === 'ExtensionRef'
        ? { type: 'ResolvedRefs', reason: 'InvalidKind' }
        : { type: 'Accepted', reason: 'UnsupportedValue' }
    refuse(
      { ...scope, field: `${field}.type`, condition },
      `Filter ${printable(type)} is not supported; ${consequence}`,
      'Remove it from this rule',
    )
    return 'failed'
  }
  const fail = (at: string, message: string, fix?: string): 'failed' => {
    refuse({ ...scope, field: field + at }, `${message}; ${consequence}`, fix)
    return 'failed'
  }
  const payload = payloads[type]
  if (seen.has(type) && !payload.repeats) return fail('.type', `Filter ${type} can be given only once`)
  seen.add(type)
  if (seen.has('RequestRedirect') && seen.has('URLRewrite')) {
    return fail(
      '.type',
      'RequestRedirect and URLRewrite exclude each other',
      'Let the redirect change hostname and path itself',
    )
  }
  const { type: _, ...union } = spec
  const stray = Object.entries(union).find(([key, value]) => key !== payload.field && value !== undefined)
  if (stray !== undefined) return fail(`.${stray[0]}`, `${stray[0]} does not belong to a filter of type ${type}`)
  if (union[payload.field] === undefined) return fail(`.${payload.field}`, `${payload.field} is missing`)

  const filter = convertPayload(type, union[payload.field], { ...scope, field: `${field}.${payload.field}` })
  if (filter === undefined) return 'failed'
  if (filter === 'dropped') return 'dropped'
  const fault = findFilterFault(filter, field)
  if (fault === undefined) return filter
  const at = manifestField(fault.path, filter)
  refuse({ ...scope, field: at }, `${lastPart(at)} ${fault.message}; ${consequence}`, fault.fix)
  return 'failed'
}

/** A redirect's path modifier has one field for its value in a config, and two in a manifest. */
function manifestField(path: string, { requestRedirect }: Filter): string {
  const field = requestRedirect?.path?.type === 'ReplaceFullPath' ? 'replaceFullPath' : 'replacePrefixMatch'
  return path.replace(/(?<=\.requestRedirect\.path\.)value$/, field)
}

function isSupported(type: string, { types }: FilterScope): type is FilterType {
  return types.has(type)
}

function convertPayload(type: FilterType, value: unknown, scope: FilterScope): Filter | 'dropped' | undefined {
  switch (type) {
    case 'RequestHeaderModifier': {
      const modifier = convertHeaderModifier(value, scope)
      return modifier && { type, requestHeaderModifier: modifier }
    }
    case 'ResponseHeaderModifier': {
      const modifier = convertHeaderModifier(value, scope)
      return modifier && { type, responseHeaderModifier: modifier }
    }
    case 'RequestRedirect':
      return convertRedirect(value, scope)
    case 'URLRewrite':
      return convertRewrite(value, scope)
    case 'RequestMirror':
      return convertMirror(value, scope)
    case 'CORS': {
      const spec = read(cors, value, scope)
      return spec && { type, cors: spec }
    }
  }
}

/** A name may be the target of one action only, whatever its letter case. @see Gateway API HTTPHeaderFilter */
function convertHeaderModifier(value: unknown, scope: FilterScope): z.output<typeof headerModifier> | undefined {
  const spec = read(headerModifier, value, scope)
  if (spec === undefined) return undefined
  const { set = [], add = [], remove = [] } = spec
  const seen = new Set<string>()
  for (const name of [...set.map((header) => header.name), ...add.map((header) => header.name), ...remove]) {
    if (seen.has(name.toLowerCase())) {
      refuse(
        scope,
        `More than one action on header ${printable(name)}; ${scope.consequence}`,
        'Keep one, with several values joined by commas',
      )
      return undefined
    }
    seen.add(name.toLowerCase())
  }
  return spec
}

type PathModifier = z.output<typeof pathModifier>

/** Scheme and port that are not given come from the listener, when the request is there. */
function convertRedirect(value: unknown, scope: FilterScope): Filter | undefined {
  const spec = read(requestRedirect, value, scope)
  if (spec === undefined || !canReplace(spec.path, scope)) return undefined
  const { path, ...same } = spec
  const replacement = path && { type: path.type, value: replacementOf(path, scope) }
  return {
    type: 'RequestRedirect',
    requestRedirect: { ...same, ...(replacement !== undefined && { path: replacement }) },
  }
}

function convertRewrite(value: unknown, scope: FilterScope): Filter | undefined {
  const spec = read(urlRewrite, value, scope)
  if (spec === undefined || !canReplace(spec.path, scope)) return undefined
  const { path, ...same } = spec
  const field = path?.type === 'ReplaceFullPath' ? 'replaceFullPath' : 'replacePrefixMatch'
  const replacement = path && { type: path.type, [field]: replacementOf(path, scope) }
  return { type: 'URLRewrite', urlRewrite: { ...same, ...(replacement !== undefined && { path: replacement }) } }
}

function canReplace(path: PathModifier | undefined, scope: FilterScope): boolean {
  if (path?.type !== 'ReplacePrefixMatch' || scope.hasOnePrefix) return true
  const message = `ReplacePrefixMatch needs a rule with exactly one match, on a PathPrefix; ${scope.consequence}`
  refuse(
    { ...scope, field: `${scope.field}.path.type` },
    message,
    'Give each prefix a rule of its own, or use ReplaceFullPath',
  )
  return false
}

/** A path that does not begin with "/" would run into the authority, or into what is left of the path. */
function replacementOf(path: PathModifier, { field, report }: FilterScope): string {
  const key = path.type === 'ReplaceFullPath' ? 'replaceFullPath' : 'replacePrefixMatch'
  const value = path[key] ?? ''
  if (value === '' || value.startsWith('/')) return value
  report({
    level: 'warning',
    field: `${field}.path.${key}`,
    message: `${key} does not begin with "/"; one is put in front`,
    fix: 'Write the "/"',
  })
  return `/${value}`
}

function convertMirror(value: unknown, scope: FilterScope): Filter | 'dropped' | undefined {
  const spec = read(requestMirror, value, scope)
  if (spec === undefined) return undefined
  const { backendRef, percent, fraction } = spec
  const target = scope.resolveMirror(backendRef, `${scope.field}.backendRef`)
  if (target === undefined) return 'dropped'
  const { url, name, protocol, endpoints } = target
  return {
    type: 'RequestMirror',
    requestMirror: {
      name,
      backendUrl: url,
      ...(percent !== undefined && { percent }),
      ...(fraction !== undefined && { fraction }),
      ...(protocol !== undefined && { protocol }),
      ...(endpoints !== undefined && { endpoints }),
    },
  }
}
