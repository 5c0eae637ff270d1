/** What Kubernetes says, as what the data plane is to do. */

import type { Listener, ProxyConfig } from '../config/proxy-config.ts'
import { createBackendResolver } from './backends.ts'
import { createClaims } from './claims.ts'
import type { Diagnostic } from './diagnostics.ts'
import { convertGrpcRule } from './grpc-rules.ts'
import { convertHttpRule } from './http-rules.ts'
import { type Found, type Inventory, keyOf, takeInventory } from './inventory.ts'
import { type GatewayModel, modelGateway } from './listeners.ts'
import type { Manifest } from './manifest-files.ts'
import type { GrpcRoute, HttpRoute } from './manifests.ts'
import { convertRoute, type Stage } from './routes.ts'

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
 * - Where HTTPRoutes and GRPCRoutes want the same host of a listener, the oldest route's kind has it.
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
  const stage: Stage = {
    parents: { gateways, namespaces: inventory.namespaces },
    claims: createClaims(),
    resolveBackend: createBackendResolver(inventory, options.clusterDomain ?? 'cluster.local'),
  }
  const routes = [
    ...inventory.httpRoutes.map((found) => ({ found, kind: 'HTTPRoute' as const, convertRule: convertHttpRule })),
    ...inventory.grpcRoutes.map((found) => ({ found, kind: 'GRPCRoute' as const, convertRule: convertGrpcRule })),
  ].sort((a, b) => byAge(a.found, b.found))
  const rules = routes.flatMap(({ found, kind, convertRule }) => convertRoute(found, kind, convertRule, stage))
  const hasGrpcRoute = rules.some(({ route }) => route?.kind === 'GRPCRoute')
  const listeners = [...gateways.values()].flatMap((gateway) => gateway?.listeners ?? []).filter(({ served }) => served)
  return {
    config: {
      version: options.version ?? 1,
      listeners: listeners.map(({ listener }): Listener => listener),
      rules,
      ...(hasGrpcRoute && { hasGrpcRoute }),
    },
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

type Route = HttpRoute | GrpcRoute

/** @see Gateway API HTTPRouteRule.matches: the oldest route, then the first in alphabetical order of namespace/name */
function byAge(a: Found<Route>, b: Found<Route>): number {
  return compare(createdAt(a), createdAt(b)) || compare(keyOf(a.object), keyOf(b.object))
}

function createdAt({ object }: Found<Route>): number {
  const createdMs = Date.parse(object.metadata.creationTimestamp ?? '')
  return Number.isNaN(createdMs) ? Infinity : createdMs
}

function compare<T extends string | number>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0
}
