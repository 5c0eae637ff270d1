/** What Kubernetes says, as what the data plane is to do. */

import type { Listener, ProxyConfig, Rule } from '../config/proxy-config.ts'
import { type Attachment, attachRoute, type Parents } from './attach.ts'
import { createBackendResolver, type ResolveBackend } from './backends.ts'
import type { Diagnostic } from './diagnostics.ts'
import { convertHttpRule, type Scene } from './http-rules.ts'
import { type Found, type Inventory, keyOf, takeInventory } from './inventory.ts'
import { type GatewayModel, modelGateway } from './listeners.ts'
import type { Manifest } from './manifest-files.ts'
import { gatewayGroup, type HttpRoute } from './manifests.ts'
import { readItems } from './reading.ts'

export interface ConvertOptions {
  /** Serve the Gateways of this class only; absent: every Gateway. */
  readonly gatewayClass?: string
  /** The DNS domain of the cluster, below which Services have their names. Default `cluster.local`. */
  readonly clusterDomain?: string
  /** The config's version, a whole number of 1 or more. Default 1. */
  readonly version?: number
}

export interface Conversion {
  readonly config: ProxyConfig
  /** In the order of the manifests, with what concerns a Service or a Secret where it was first used. */
  readonly diagnostics: Diagnostic[]
}

/**
 * Converts Gateway API manifests, and the Kubernetes objects they refer to, to a config.
 *
 * Pure, and never throws, whatever the manifests hold: what can be served is served, what cannot fails closed (a rule
 * or a backend's share answers 500, a listener or an object is left out), and a diagnostic names it and the fix.
 *
 * - Rules stand in the order that breaks ties: the oldest route first, then by `namespace/name`, then as in the route.
 *   A route without a `creationTimestamp` counts as newer than all that have one.
 * - A rule is emitted once for every distinct set of hostnames that it serves, with the listeners it serves it on.
 * - Of an object that occurs several times, the last one counts.
 */
export function convert(manifests: readonly Manifest[], options: ConvertOptions = {}): Conversion {
  const diagnostics: Diagnostic[] = []
  const inventory = takeInventory(manifests, diagnostics)
  const gateways = modelGateways(inventory, options.gatewayClass)
  const parents: Parents = { gateways, namespaces: inventory.namespaces }
  const resolveBackend = createBackendResolver(inventory, options.clusterDomain ?? 'cluster.local')

  const rules = [...inventory.httpRoutes]
    .sort(byAge)
    .flatMap((route) => convertHttpRoute(route, parents, resolveBackend))
  const listeners = [...gateways.values()].flatMap((gateway) => gateway?.listeners ?? []).filter(({ served }) => served)
  return {
    config: { version: options.version ?? 1, listeners: listeners.map(({ listener }): Listener => listener), rules },
    diagnostics,
  }
}

/** By `namespace/name`, in that order; `undefined` for a Gateway of another class. */
function modelGateways(inventory: Inventory, gatewayClass: string | undefined): Map<string, GatewayModel | undefined> {
  const sorted = [...inventory.gateways].sort((a, b) => compare(keyOf(a.object), keyOf(b.object)))
  return new Map(
    sorted.map((found) => {
      const ours = gatewayClass === undefined || found.object.spec.gatewayClassName === gatewayClass
      return [keyOf(found.object), ours ? modelGateway(found, inventory) : undefined]
    }),
  )
}

function convertHttpRoute(
  { object, report }: Found<HttpRoute>,
  parents: Parents,
  resolveBackend: ResolveBackend,
): Rule[] {
  const { metadata, spec } = object
  const kind = 'HTTPRoute'
  const attachments = attachRoute(
    { kind, namespace: metadata.namespace, parentRefs: spec.parentRefs, hostnames: spec.hostnames },
    parents,
    report,
  )
  const items = readItems(spec.rules, { field: 'spec.rules', report, consequence: 'the route is left out' }, 16) ?? []
  const route = { group: gatewayGroup, kind, namespace: metadata.namespace, name: metadata.name }
  const bodies = items.map((item, index) => convertHttpRule(item, index, { route, resolveBackend, report }))
  const places = groupByHostnames(attachments)
  return bodies.flatMap((body) =>
    body === undefined ? [] : places.map((place): Rule => ({ route: body.route, ...place, ...body })),
  )
}

/** Listeners on which a route serves the same hosts share its rules. */
function groupByHostnames(attachments: readonly Attachment[]): Scene[] {
  const places = new Map<string, { listeners: string[]; hostnames: string[] }>()
  for (const { listener, hostnames } of attachments) {
    const key = [...hostnames].sort().join(' ')
    const place = places.get(key)
    if (place === undefined) places.set(key, { listeners: [listener.name], hostnames: [...hostnames] })
    else place.listeners.push(listener.name)
  }
  return [...places.values()].map(({ listeners, hostnames }) => ({
    listeners,
    ...(hostnames.length > 0 && { hostnames }),
  }))
}

/** @see Gateway API HTTPRouteRule.matches: the oldest route, then the first in alphabetical order of namespace/name */
function byAge(a: Found<HttpRoute>, b: Found<HttpRoute>): number {
  return compare(createdAt(a), createdAt(b)) || compare(keyOf(a.object), keyOf(b.object))
}

function createdAt({ object }: Found<HttpRoute>): number {
  const createdMs = Date.parse(object.metadata.creationTimestamp ?? '')
  return Number.isNaN(createdMs) ? Infinity : createdMs
}

function compare<T extends string | number>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0
}
