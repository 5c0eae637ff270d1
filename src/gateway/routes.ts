/** A route, as the rules that serve it. @see Gateway API HTTPRouteSpec, GRPCRouteSpec */

import type { Rule } from '../config/proxy-config.ts'
import { type Attachment, attachRoute, type Parents } from './attach.ts'
import type { Claims } from './claims.ts'
import type { ResolveBackend } from './backends.ts'
import type { Report } from './diagnostics.ts'
import type { Found } from './inventory.ts'
import { gatewayGroup, type GrpcRoute, type HttpRoute } from './manifests.ts'
import { readItems } from './reading.ts'
import type { ConvertRule, RuleBody, Scene } from './rule.ts'

/** What is served by routes. */
export interface Stage {
  readonly parents: Parents
  readonly claims: Claims
  readonly resolveBackend: ResolveBackend
}

/** A rule is there once for every distinct set of hostnames that the route serves, in the order of the route. */
export function convertRoute(
  { object, report }: Found<HttpRoute | GrpcRoute>,
  kind: 'HTTPRoute' | 'GRPCRoute',
  convertRule: ConvertRule,
  { parents, claims, resolveBackend }: Stage,
): Rule[] {
  const { metadata, spec } = object
  const { namespace, name } = metadata
  const { parentRefs, hostnames } = spec
  const attached = attachRoute({ kind, namespace, parentRefs, hostnames }, parents, report)
  const scenes = groupByHostnames(claims.claim(attached, { kind, namespace, name }, report))
  const reading = { field: 'spec.rules', report, consequence: 'the route is left out' }
  const items = readItems(spec.rules, reading, 16) ?? []
  const context = { route: { group: gatewayGroup, kind, namespace, name }, resolveBackend, report }
  const bodies = items.map((item, i) => convertRule(item, i, context)).filter((body) => body !== undefined)
  warnOfRefusal(bodies, report)
  return bodies.flatMap((body) => scenes.map((scene): Rule => ({ route: body.route, ...scene, ...body })))
}

/** What a cluster would refuse in a route as a whole, though we can serve it. */
function warnOfRefusal(bodies: readonly RuleBody[], report: Report): void {
  const names = bodies.map(({ name }) => name).filter((name) => name !== undefined)
  if (new Set(names).size < names.length) {
    report({ level: 'warning', field: 'spec.rules', message: 'Two rules have the same name', fix: 'Name each once' })
  }
  const matches = bodies.reduce((sum, body) => sum + (body.matches?.length ?? 0), 0)
  if (matches > 128) {
    const message = `A cluster accepts at most 128 matches in a route, not ${matches}`
    report({ level: 'warning', field: 'spec.rules', message, fix: 'Divide the route' })
  }
}

/** Listeners on which a route serves the same hosts share its rules. */
function groupByHostnames(attachments: readonly Attachment[]): Scene[] {
  const scenes = new Map<string, { listeners: string[]; hostnames: string[] }>()
  for (const { listener, hostnames } of attachments) {
    const key = [...hostnames].sort().join(' ')
    const scene = scenes.get(key)
    if (scene === undefined) scenes.set(key, { listeners: [listener.name], hostnames: [...hostnames] })
    else scene.listeners.push(listener.name)
  }
  return [...scenes.values()].map(({ listeners, hostnames }) => ({
    listeners,
    ...(hostnames.length > 0 && { hostnames }),
  }))
}
