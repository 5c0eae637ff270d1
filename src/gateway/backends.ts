/** From a reference to what is dialled, or to why nothing is. @see Gateway API BackendObjectReference, GEP-1911 */

import type { Backend, BackendEndpoint } from '../config/proxy-config.ts'
import { demandsTls } from './backend-tls.ts'
import type { Report } from './diagnostics.ts'
import { numericTargetPort, portNames, readyEndpoints } from './endpoints.ts'
import { isPermitted, type Referrer } from './grants.ts'
import type { EndpointSlice } from './endpoint-slices.ts'
import type { Found, Inventory } from './inventory.ts'
import type { BackendObjectReference, Service, ServicePort } from './manifests.ts'
import { printable } from './reading.ts'

/** Where requests go. `endpoints` that are absent mean: ask DNS for the URL's host; none in the list mean 503. */
export interface Target {
  /** `namespace/service:port` */
  readonly name: string
  readonly url: string
  readonly protocol?: 'h2c'
  readonly websocket?: true
  readonly endpoints?: BackendEndpoint[]
}

/** Why a reference is invalid. Its share of the requests is answered with 500 (gRPC: UNAVAILABLE). @see GEP-1364 */
export interface Failure {
  readonly reason: 'InvalidKind' | 'BackendNotFound' | 'RefNotPermitted' | 'UnsupportedProtocol'
  /** As a target's, if the reference says enough. */
  readonly name?: string
  readonly field: string
  readonly message: string
  readonly fix?: string
}

export type Resolution =
  | { readonly target: Target; readonly failure?: undefined }
  | { readonly failure: Failure; readonly target?: undefined }

/** Resolves a reference that stands at `field` of an object described by `from`; `report` belongs to that object. */
export type ResolveBackend = (
  reference: BackendObjectReference,
  from: Referrer,
  field: string,
  report: Report,
) => Resolution

/** What a reference that leads nowhere has as its URL, which the config needs and nobody dials (RFC 6761, `invalid`). */
export const nowhere = 'http://backend.invalid'

/**
 * Makes a resolver for one conversion. What is wrong with a Service itself is reported once and on the Service, however
 * many routes use it; what is wrong with a reference belongs to the route, the rule and the backendRef that holds it.
 */
export function createBackendResolver(inventory: Inventory, clusterDomain: string): ResolveBackend {
  const known = new Map<ServicePort, BackendEndpoint[] | undefined>()

  const endpointsOf = (
    found: Found<Service>,
    key: string,
    port: ServicePort,
    host: string,
  ): BackendEndpoint[] | undefined => {
    if (!known.has(port)) known.set(port, findEndpoints(found, inventory.endpointSlices.get(key) ?? [], port, host))
    return known.get(port)
  }

  return (reference, from, field, report) => {
    const { group, kind, name, port: number } = reference
    const namespace = reference.namespace ?? from.namespace
    const key = `${namespace}/${name}`
    const isService = group === '' && kind === 'Service'
    const label = isService && number !== undefined ? `${key}:${number}` : undefined
    const fail = (reason: Failure['reason'], at: string, message: string, fix?: string): Resolution => ({
      failure: {
        reason,
        field: field + at,
        message,
        ...(label !== undefined && { name: label }),
        ...(fix !== undefined && { fix }),
      },
    })
    if (!isService) {
      return fail(
        'InvalidKind',
        '.kind',
        `A backend of kind ${printable(group === '' ? kind : `${kind}.${group}`)} is not supported`,
        'Use a Service',
      )
    }
    // Before looking: without permission nobody learns whether it exists.
    if (!isPermitted(inventory.grants, from, { group, kind, namespace, name })) {
      const message = `No ReferenceGrant in namespace ${namespace} lets ${from.kind}s of namespace ${from.namespace} use Service ${name}`
      return fail('RefNotPermitted', '', message, `Add a ReferenceGrant to namespace ${namespace}`)
    }
    const found = inventory.services.get(key)
    if (found === undefined) return fail('BackendNotFound', '.name', `There is no Service ${key}`)
    const { spec } = found.object
    if (spec.type === 'ExternalName') {
      // CVE-2021-25740: it would let whoever may write a Service reach what only the gateway may.
      return fail(
        'InvalidKind',
        '.name',
        `Service ${key} is of type ExternalName, which is not supported`,
        'Write an EndpointSlice for it',
      )
    }
    if (number === undefined)
      return fail('BackendNotFound', '.port', 'A reference to a Service needs a port', offer(spec.ports))
    const port = spec.ports.find((candidate) => candidate.port === number && candidate.protocol === 'TCP')
    if (port === undefined) {
      const other = spec.ports.find((candidate) => candidate.port === number)
      return other === undefined
        ? fail('BackendNotFound', '.port', `Service ${key} has no port ${number}`, offer(spec.ports))
        : fail('BackendNotFound', '.port', `Port ${number} of Service ${key} is ${printable(other.protocol)}, not TCP`)
    }
    if (demandsTls(inventory.tlsTargets.get(namespace) ?? [], name, port.name)) {
      const message = `A BackendTLSPolicy demands TLS for port ${number} of Service ${key}, which is not supported`
      return fail('UnsupportedProtocol', '.port', message)
    }
    const protocol = from.kind === 'GRPCRoute' ? grpcProtocolOf(port) : protocolOf(port)
    if (protocol === 'unsupported') {
      const why = from.kind === 'GRPCRoute' ? 'which cannot carry gRPC' : 'which needs a BackendTLSPolicy'
      const message = `Port ${number} of Service ${key} has appProtocol ${printable(port.appProtocol ?? '')}, ${why}`
      return fail('UnsupportedProtocol', '.port', message)
    }
    if (protocol === 'unknown') {
      report({
        level: 'warning',
        field,
        message: `Port ${number} of Service ${key} has appProtocol ${printable(port.appProtocol ?? '')}; it is spoken to in HTTP/${from.kind === 'GRPCRoute' ? '2' : '1.1'} without TLS`,
      })
    }
    const host = `${name}.${namespace}.svc.${clusterDomain}`
    const endpoints = endpointsOf(found, key, port, host)
    return {
      target: {
        name: `${key}:${number}`,
        url: `http://${host}:${number}`,
        ...((protocol === 'h2c' || from.kind === 'GRPCRoute') && { protocol: 'h2c' as const }),
        ...(protocol === 'websocket' && { websocket: true }),
        ...(endpoints !== undefined && { endpoints }),
      },
    }
  }
}

/** One share of a rule's traffic. */
export function backendOf(resolution: Resolution, weight: number): Backend {
  const { target, failure } = resolution
  if (failure === undefined) return { ...target, weight }
  return { ...(failure.name !== undefined && { name: failure.name }), url: nowhere, weight, unavailableStatus: 500 }
}

/**
 * A Service with EndpointSlices has the endpoints they say. One without any is a Service whose slices are not among the
 * manifests: its name is dialled, which is right inside the cluster that runs it. A headless one has no port of its
 * own, so that the name goes with the target port.
 */
function findEndpoints(
  found: Found<Service>,
  slices: readonly EndpointSlice[],
  port: ServicePort,
  host: string,
): BackendEndpoint[] | undefined {
  const { object: service, report } = found
  const field = `spec.ports[${service.spec.ports.indexOf(port)}]`
  if (slices.length > 0) {
    const endpoints = readyEndpoints(service, port, slices)
    if (endpoints.length === 0) {
      const named = slices.some(({ ports }) => ports.some(({ name }) => name === port.name))
      const message = `No endpoint is ready for port ${port.port}; its share of the requests is answered with 503`
      const fix = `A port ${port.name === '' ? 'without a name' : `named ${printable(port.name)}`} is wanted; its EndpointSlices have ${portNames(slices).join(', ') || 'none'}`
      report({ level: 'warning', field, message, ...(!named && { fix }) })
    }
    return endpoints
  }
  const headless = service.spec.clusterIP === 'None'
  const target = numericTargetPort(port)
  if (headless && target === undefined) {
    const message =
      'It is headless, has no EndpointSlice, and its target port is a name; its share of the requests is answered with 503'
    report({
      level: 'warning',
      field: `${field}.targetPort`,
      message,
      fix: 'Add its EndpointSlices, or write the port as a number',
    })
    return []
  }
  const message = `No EndpointSlice for it is among the manifests: ${host} is looked up in DNS`
  report({ level: 'info', field, message, fix: 'To send requests to addresses of your own, add an EndpointSlice' })
  return headless && target !== undefined ? [{ address: host, port: target }] : undefined
}

/**
 * What a port's appProtocol means for HTTP. `https` and others GEP-1911 leaves open: without a BackendTLSPolicy there
 * is nothing to verify a certificate with, so they are spoken to like any port, and said so.
 */
function protocolOf({ appProtocol }: ServicePort): 'h2c' | 'websocket' | 'unsupported' | 'unknown' | undefined {
  switch (appProtocol) {
    case undefined:
    case '':
    case 'http':
    case 'HTTP':
      return undefined
    case 'kubernetes.io/h2c':
      return 'h2c'
    case 'kubernetes.io/ws':
      return 'websocket'
    case 'kubernetes.io/wss':
      return 'unsupported'
    default:
      return 'unknown'
  }
}

/** gRPC is HTTP/2: with prior knowledge where nothing is said, and never by way of a WebSocket. */
function grpcProtocolOf({ appProtocol }: ServicePort): 'h2c' | 'unsupported' | 'unknown' {
  switch (appProtocol) {
    case undefined:
    case '':
    case 'http':
    case 'HTTP':
    case 'grpc':
    case 'kubernetes.io/h2c':
      return 'h2c'
    case 'kubernetes.io/ws':
    case 'kubernetes.io/wss':
      return 'unsupported'
    default:
      return 'unknown'
  }
}

function offer(ports: readonly ServicePort[]): string {
  const tcp = ports.filter(({ protocol }) => protocol === 'TCP').map(({ port }) => port)
  return tcp.length === 0 ? 'It has no TCP port' : `It has ${tcp.join(', ')}`
}
