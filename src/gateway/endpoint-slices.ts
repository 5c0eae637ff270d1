/** An EndpointSlice: the addresses behind a Service, of one family. @see Kubernetes discovery/v1 EndpointSlice */

import ipaddr from 'ipaddr.js'
import type { Report } from './diagnostics.ts'
import { dnsSubdomain, endpoint, type EndpointSliceContent, endpointSliceContent } from './manifests.ts'
import { printable, read } from './reading.ts'

/** A slice that could not be read is there nevertheless, without ports and endpoints. */
export interface EndpointSlice {
  readonly name: string
  readonly family: AddressFamily
  readonly ports: EndpointSliceContent['ports']
  readonly ready: readonly ReadyEndpoint[]
}

export type AddressFamily = EndpointSliceContent['addressType']

export interface ReadyEndpoint {
  readonly address: string
  /** The same for a pod in every slice that it stands in. */
  readonly identity: string
}

export function readEndpointSlice(name: string, value: unknown, report: Report): EndpointSlice {
  const content = read(endpointSliceContent, value, { field: '', report, consequence: 'none of its endpoints is used' })
  if (content === undefined) return { name, family: 'IPv4', ports: [], ready: [] }
  const { addressType: family, ports, endpoints } = content
  return {
    name,
    family,
    ports,
    ready: endpoints.flatMap((item, i) => readEndpoint(item, family, `endpoints[${i}]`, report)),
  }
}

/** Of an endpoint's addresses, which are interchangeable, the first is taken. */
function readEndpoint(value: unknown, family: AddressFamily, field: string, report: Report): ReadyEndpoint[] {
  const spec = read(endpoint, value, { field, report, consequence: 'this endpoint is not used' })
  if (spec === undefined || !spec.conditions.ready) return []
  const address = spec.addresses[0] ?? ''
  const problem = addressProblem(address, family)
  if (problem !== undefined) {
    const message = `${printable(address)} ${problem}; this endpoint is not used`
    report({ level: 'error', field: `${field}.addresses[0]`, message })
    return []
  }
  const { kind, namespace, name } = spec.targetRef ?? { kind: '', namespace: '', name: '' }
  return [{ address, identity: name === '' ? address : `${kind} ${namespace}/${name}` }]
}

/**
 * The API server refuses addresses that lead back to the node (loopback, link-local) or nowhere. We let loopback pass:
 * who writes files for a laptop means it. Where a config may make us dial is decided again when we dial.
 */
function addressProblem(address: string, family: AddressFamily): string | undefined {
  switch (family) {
    case 'IPv4':
      if (!ipaddr.IPv4.isValidFourPartDecimal(address)) return 'is no IPv4 address'
      return rangeProblem(ipaddr.IPv4.parse(address).range())
    case 'IPv6':
      if (!ipaddr.IPv6.isValid(address) || address.includes('%')) return 'is no IPv6 address'
      return rangeProblem(ipaddr.process(address).range())
    case 'FQDN':
      return dnsSubdomain.safeParse(address).success ? undefined : 'is no lower-case DNS name'
  }
}

function rangeProblem(range: string): string | undefined {
  return ['unspecified', 'linkLocal', 'multicast', 'broadcast'].includes(range)
    ? 'is an address that is never dialled'
    : undefined
}
