/** What Kubernetes says, as what the data plane is to do. */

import type { Listener, ProxyConfig } from '../config/proxy-config.ts'
import type { Parents } from './attach.ts'
import { createBackendResolver } from './backends.ts'
import type { Diagnostic } from './diagnostics.ts'
import { convertHttpRoute } from './http-routes.ts'
import { type Found, type Inventory, keyOf, takeInventory } from './inventory.ts'
import { type GatewayModel, modelGateway } from './listeners.ts'
import type { Manifest } from './manifest-files.ts'
import type { HttpRoute } from './manifests.ts'

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
  if (options.gatewayClass !== undefined && [...gateways.values()].every((gateway) => gateway === undefined)) {
    const message = `No Gateway among the manifests is of class ${options.gatewayClass}, so nothing is served`
    diagnostics.push({ level: 'warning', message })
  }
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
