/**
 * ProxyConfig: what the data plane is told to do.
 *
 * The types are inferred from the schema, so there is one truth. What is here is checked for *shape* alone. The rule
 * for where a mistake is caught:
 *
 * - What only a broken sender can produce rejects the config: a wrong JSON type, a negative version, a duration or
 *   base64 text that cannot be read, listeners that contradict each other, absurd sizes.
 * - What the author of one route can write never does: a regular expression, a filter's type and values, a path, a
 *   header's name, a URL, a status. It passes here as it is, and `seal.ts` makes that match, backend or rule fail
 *   closed, with a diagnostic, when the config is compiled.
 */
import * as v from 'valibot'
import { describeKind, joinPath, type ConfigIssue } from './issues.ts'
import { parseGoDuration } from './go-duration.ts'
import { canonicalHostname, isHostname } from './syntax.ts'
import { canonicalize } from './wire.ts'

/** Far above what Gateway API's own limits can add up to in one data plane; below what would exhaust a process. */
const MAX_RULES = 200_000
const MAX_LISTENERS = 10_000
const MAX_PER_RULE = 1024
const MAX_ENDPOINTS = 20_000

const advice = {
  duration: 'is not a Go duration',
  base64: 'is not base64',
  version: 'must be a whole number from 0 to 9007199254740991',
  integer: 'must be a whole number',
  port: 'must be a port from 1 to 65535',
  protocol: 'must be HTTP or HTTPS',
  hostname: 'is no hostname',
  listenerName: 'must not be empty',
} as const

const fixes: Readonly<Record<string, string>> = {
  [advice.duration]: 'write it like "5s", "1m30s" or "500ms", in quotes',
  [advice.base64]: 'encode the PEM text as standard base64',
  [advice.hostname]: 'use a lower-case DNS name, optionally with "*." in front',
  [advice.listenerName]: 'give every listener its own name',
}

/** A value of a known set that a newer sender may have extended: `seal.ts` fails closed on what we do not know. */
const open = <T extends string>() => v.string() as unknown as v.GenericSchema<string, T | (string & {})>
const kind = <T extends string>() => v.optional(open<T>(), '')

/** Go leaves out, or writes as its zero value, what is not set. */
const text = v.optional(v.string(), '')
const optionalText = v.optional(
  v.pipe(
    v.string(),
    v.transform((value) => (value === '' ? undefined : value)),
  ),
)
const integer = v.pipe(v.number(), v.safeInteger(advice.integer))
const optionalInteger = v.optional(
  v.pipe(
    integer,
    v.transform((value) => (value === 0 ? undefined : value)),
  ),
)
const flag = v.optional(v.boolean())

const listOf = <T extends v.GenericSchema>(item: T, max: number) =>
  v.optional(v.pipe(v.array(item), v.maxLength(max, `must not have more than ${max} entries`)))

/** To whole milliseconds; 0 and below mean "no limit" and become 0. */
const duration = v.optional(
  v.pipe(
    v.string(advice.duration),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      const durationMs = parseGoDuration(dataset.value)
      if (durationMs === undefined) {
        addIssue({ message: advice.duration })
        return NEVER
      }
      return Math.max(durationMs, 0)
    }),
  ),
)

/** Go's []byte: base64 on the wire; here the PEM text, one code unit per byte. */
const pemBytes = v.optional(
  v.pipe(
    v.string(advice.base64),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      try {
        return atob(dataset.value)
      } catch {
        addIssue({ message: advice.base64 })
        return NEVER
      }
    }),
  ),
)

const pathMatch = v.object({
  type: kind<'Exact' | 'PathPrefix' | 'RegularExpression'>(),
  value: text,
  /** Of a RegularExpression: the whole path must match. Absent: anywhere in it, as the predecessor searched. */
  anchored: flag,
  /** Of a RegularExpression: it ranks behind every PathPrefix but "/", as a method without its service does (GRPCRoute). */
  afterPrefixes: flag,
})

const valueMatch = v.object({
  type: kind<'Exact' | 'RegularExpression'>(),
  name: text,
  value: text,
  anchored: flag,
})

const match = v.object({
  path: v.optional(pathMatch),
  /** Absent: any. */
  method: optionalText,
  headers: listOf(valueMatch, MAX_PER_RULE),
  queryParams: listOf(valueMatch, MAX_PER_RULE),
})

const tls = v.object({
  /** PEM certificates to trust instead of the system's. */
  caBundle: optionalText,
  serverName: optionalText,
  subjectAltNames: listOf(v.string(), MAX_PER_RULE),
  subjectAltNameUris: listOf(v.string(), MAX_PER_RULE),
  clientCertPem: pemBytes,
  clientKeyPem: pemBytes,
})

const endpoint = v.object({ address: text, port: v.optional(integer, 0) })

const headerValue = v.object({ name: text, value: text })

const headerModifier = v.object({
  set: listOf(headerValue, MAX_PER_RULE),
  add: listOf(headerValue, MAX_PER_RULE),
  remove: listOf(v.string(), MAX_PER_RULE),
})

const requestRedirect = v.object({
  scheme: optionalText,
  hostname: optionalText,
  port: v.optional(integer),
  path: v.optional(v.object({ type: kind<'ReplaceFullPath' | 'ReplacePrefixMatch'>(), value: text })),
  /** Absent: 302. */
  statusCode: optionalInteger,
})

const urlRewrite = v.object({
  hostname: optionalText,
  path: v.optional(
    v.object({
      type: kind<'ReplaceFullPath' | 'ReplacePrefixMatch'>(),
      replaceFullPath: v.optional(v.string()),
      replacePrefixMatch: v.optional(v.string()),
    }),
  ),
})

const requestMirror = v.object({
  /** "namespace/service:port": the mirror's label in logs and metrics. */
  name: optionalText,
  backendUrl: text,
  /** 0 to 100; absent: every request, unless there is a fraction. */
  percent: v.optional(v.number()),
  /** Wins over percent, which can only be its rounded twin. */
  fraction: v.optional(v.object({ numerator: v.optional(integer, 0), denominator: v.optional(integer, 100) })),
  tls: v.optional(tls),
  protocol: v.optional(open<'' | 'h2c'>()),
  endpoints: listOf(endpoint, MAX_ENDPOINTS),
})

const cors = v.object({
  allowOrigins: listOf(v.string(), MAX_PER_RULE),
  allowCredentials: flag,
  allowMethods: listOf(v.string(), MAX_PER_RULE),
  allowHeaders: listOf(v.string(), MAX_PER_RULE),
  exposeHeaders: listOf(v.string(), MAX_PER_RULE),
  /** Seconds; absent: 5. */
  maxAge: optionalInteger,
})

const filter = v.object({
  type: kind<
    'RequestHeaderModifier' | 'ResponseHeaderModifier' | 'RequestRedirect' | 'URLRewrite' | 'RequestMirror' | 'CORS'
  >(),
  requestHeaderModifier: v.optional(headerModifier),
  responseHeaderModifier: v.optional(headerModifier),
  requestRedirect: v.optional(requestRedirect),
  urlRewrite: v.optional(urlRewrite),
  requestMirror: v.optional(requestMirror),
  cors: v.optional(cors),
})

const backend = v.object({
  /** "namespace/service:port": the backend's label in logs and metrics. */
  name: optionalText,
  url: text,
  /** Share of the rule's traffic; Go's zero value when absent: no traffic. */
  weight: v.optional(integer, 0),
  protocol: v.optional(open<'' | 'h2c'>()),
  tls: v.optional(tls),
  filters: listOf(filter, MAX_PER_RULE),
  websocket: flag,
  /** Chosen, but never dialled: the share is answered with this status. */
  unavailableStatus: optionalInteger,
  /** Dialled instead of the url's host. Absent: resolve that host. Empty: nothing is ready, 503. */
  endpoints: listOf(endpoint, MAX_ENDPOINTS),
})

const timeouts = v.pipe(
  v.object({ request: duration, backend: duration }),
  v.transform(({ request, backend }) => ({ requestMs: request, backendMs: backend })),
)

const retry = v.pipe(
  v.object({ codes: listOf(integer, MAX_PER_RULE), attempts: v.optional(integer), backoff: duration }),
  v.transform(({ codes, attempts, backoff }) => ({ codes, attempts, backoffMs: backoff })),
)

const route = v.object({
  kind: text,
  namespace: text,
  name: text,
  /** The rule's index in the route. */
  rule: v.optional(integer, 0),
})

const rule = v.object({
  name: optionalText,
  route: v.optional(route),
  /** Names of the listeners the rule is attached to. Absent: all of them. */
  listeners: listOf(v.string(), MAX_LISTENERS),
  /** Absent or empty: every host. */
  hostnames: listOf(v.string(), MAX_PER_RULE),
  /** Absent or empty: every path. */
  matches: listOf(match, MAX_PER_RULE),
  filters: listOf(filter, MAX_PER_RULE),
  backends: listOf(backend, MAX_PER_RULE),
  timeouts: v.optional(timeouts),
  /** Every request of the rule is answered with this status, before any filter. */
  unavailableStatus: optionalInteger,
  retry: v.optional(retry),
})

const listener = v.object({
  /** Unique in the config; the converter writes "namespace/gateway/section". */
  name: v.pipe(v.string(), v.minLength(1, advice.listenerName)),
  /** "namespace/gateway". */
  gateway: optionalText,
  port: v.pipe(v.number(), v.integer(advice.port), v.minValue(1, advice.port), v.maxValue(65_535, advice.port)),
  protocol: v.picklist(['HTTP', 'HTTPS'], advice.protocol),
  /** Absent: every host. */
  hostname: v.optional(
    v.pipe(
      v.string(),
      v.transform(canonicalHostname),
      v.check((value) => value === '' || isHostname(value), advice.hostname),
      v.transform((value) => (value === '' ? undefined : value)),
    ),
  ),
})

const proxyConfig = v.object({
  version: v.optional(v.pipe(v.number(), v.safeInteger(advice.version), v.minValue(0, advice.version)), 0),
  /** Their order is the tie-break among matches of equal rank. */
  rules: v.optional(v.pipe(v.array(rule), v.maxLength(MAX_RULES, `must not have more than ${MAX_RULES} rules`)), []),
  hasGrpcRoute: flag,
  /** Absent: one listener for every host and port. */
  listeners: v.optional(
    v.pipe(
      v.array(listener),
      v.maxLength(MAX_LISTENERS, `must not have more than ${MAX_LISTENERS} listeners`),
      v.rawCheck(({ dataset, addIssue }) => {
        if (!dataset.typed) return
        const seen = new Set<string>()
        for (const { name } of dataset.value) {
          if (seen.has(name)) addIssue({ message: `two listeners are named ${JSON.stringify(name.slice(0, 256))}` })
          seen.add(name)
        }
      }),
    ),
  ),
})

export type ProxyConfig = v.InferOutput<typeof proxyConfig>
export type Listener = v.InferOutput<typeof listener>
export type Rule = v.InferOutput<typeof rule>
export type Match = v.InferOutput<typeof match>
export type PathMatch = v.InferOutput<typeof pathMatch>
/** A condition on a header or a query parameter. */
export type ValueMatch = v.InferOutput<typeof valueMatch>
export type Filter = v.InferOutput<typeof filter>
export type HeaderModifier = v.InferOutput<typeof headerModifier>
export type HeaderValue = v.InferOutput<typeof headerValue>
export type RequestRedirect = v.InferOutput<typeof requestRedirect>
export type UrlRewrite = v.InferOutput<typeof urlRewrite>
export type RequestMirror = v.InferOutput<typeof requestMirror>
export type Cors = v.InferOutput<typeof cors>
export type Backend = v.InferOutput<typeof backend>
export type BackendTls = v.InferOutput<typeof tls>
export type BackendEndpoint = v.InferOutput<typeof endpoint>
export type Timeouts = v.InferOutput<typeof timeouts>
export type Retry = v.InferOutput<typeof retry>
export type RouteIdentity = v.InferOutput<typeof route>

/** The JSON that `parseProxyConfig` reads: durations as Go prints them, PEM bytes as base64. */
export type WireConfig = v.InferInput<typeof proxyConfig>

export type ParsedConfig =
  | { readonly config: ProxyConfig; readonly warnings: readonly ConfigIssue[]; readonly issues?: undefined }
  | { readonly issues: readonly ConfigIssue[]; readonly config?: undefined; readonly warnings?: undefined }

/** How many issues one answer lists; nobody reads the ten-thousandth. */
const MAX_ISSUES = 50
/** Above this many JSON values only the first issue is looked for: each one found costs memory. */
const MAX_VALUES_FOR_ALL_ISSUES = 100_000

/**
 * Reads a ProxyConfig from parsed JSON, as Go's encoding/json would: keys in any letter case, `null` for whatever is
 * not set, unknown fields ignored (but warned about here).
 *
 * @param json what `JSON.parse` returned; anything at all, it never throws
 * @returns the config, normalised: no nulls, durations in milliseconds, PEM decoded; or why there is none
 */
export function parseProxyConfig(json: unknown): ParsedConfig {
  const { value, warnings, misfits, count } = canonicalize(proxyConfig, json)
  if (misfits.length > 0) return { issues: misfits }
  const quick = v.safeParse(proxyConfig, value, { abortEarly: true, abortPipeEarly: true })
  if (quick.success) return { config: quick.output, warnings: [...warnings, ...warnAboutRetries(quick.output)] }
  const { issues = quick.issues } =
    count > MAX_VALUES_FOR_ALL_ISSUES ? quick : v.safeParse(proxyConfig, value, { abortPipeEarly: true })
  return { issues: issues.slice(0, MAX_ISSUES).map(toConfigIssue) }
}

/** How many warnings of one kind there are, as of unknown fields. */
const MAX_RETRY_WARNINGS = 100

/** `retry` is read and kept for a version that makes use of it. */
function warnAboutRetries({ rules }: ProxyConfig): readonly ConfigIssue[] {
  const found = rules.flatMap(({ retry }, index) => (retry === undefined ? [] : [joinPath('rules', index, 'retry')]))
  const warnings = found.slice(0, MAX_RETRY_WARNINGS).map((path): ConfigIssue => ({
    path,
    message: 'has no effect in this version: answers of a backend are not tried again',
    fix: 'remove it, or let the client try again',
  }))
  const left = found.length - warnings.length
  return left === 0 ? warnings : [...warnings, { path: '', message: `${left} more "retry" have no effect` }]
}

function toConfigIssue(issue: v.BaseIssue<unknown>): ConfigIssue {
  const path = joinPath(...(issue.path ?? []).map((step) => step.key as string | number))
  // Valibot quotes what it received; a secret may stand where an object should.
  const written = issue.kind !== 'schema' || issue.type === 'picklist'
  const message = written
    ? issue.message
    : `must be ${describeExpected(issue.expected)}, got ${describeKind(issue.input)}`
  const fix = fixes[issue.message]
  return fix === undefined ? { path, message } : { path, message, fix }
}

function describeExpected(expected: string | null): string {
  switch (expected) {
    case 'Array':
      return 'a list'
    case 'Object':
      return 'an object'
    case 'boolean':
      return 'true or false'
    default:
      // A missing key comes as its own quoted name.
      return expected === null || expected.startsWith('"') ? 'given' : `a ${expected}`
  }
}
