/** From a Service's port to the addresses behind it. @see Kubernetes discovery/v1 EndpointSlice */

import ipaddr from 'ipaddr.js'
import type { BackendEndpoint } from '../config/proxy-config.ts'
import type { Report } from './diagnostics.ts'
import type { EndpointSlice } from './inventory.ts'
import { dnsSubdomain, endpoint, type EndpointSliceContent, type Service, type ServicePort } from './manifests.ts'
import { printable, read } from './reading.ts'

/** What a ProxyConfig can hold for one backend. */
const mostEndpoints = 20_000

/**
 * The ready endpoints of a Service's port, in the slices' order by name.
 *
 * A pod of a dual-stack Service stands in a slice of each family. It is one endpoint: the Service's first family is
 * taken, then IPv4, IPv6, names. Of an endpoint's addresses, which are interchangeable, the first is taken.
 */
export function readyEndpoints(
  service: Service,
  port: ServicePort,
  slices: readonly EndpointSlice[],
): BackendEndpoint[] {
  const found = new Map<string, BackendEndpoint>()
  const families = [...new Set([...service.spec.ipFamilies, 'IPv4', 'IPv6', 'FQDN'])]
  const byName = [...slices].sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const family of families) {
    for (const { content, report } of byName) {
      if (content?.addressType !== family) continue
      const targetPort = portOf(content, port, service)
      if (targetPort === undefined) continue
      for (const [i, value] of content.endpoints.entries())
        addEndpoint(value, `endpoints[${i}]`, content, targetPort, found, report)
    }
  }
  return [...found.values()].slice(0, mostEndpoints)
}

/** Names of the slices' ports, for somebody who wonders why none fits. */
export function portNames(slices: readonly EndpointSlice[]): string[] {
  return [
    ...new Set(
      slices.flatMap(
        ({ content }) => content?.ports.map(({ name }) => (name === '' ? '(no name)' : printable(name))) ?? [],
      ),
    ),
  ]
}

/** Slices and Services know a port by the same name; a single port may have none. */
function portOf({ ports }: EndpointSliceContent, wanted: ServicePort, { spec }: Service): number | undefined {
  const found = ports.find(({ name, protocol }) => name === wanted.name && protocol === 'TCP')
  if (found === undefined) return undefined
  if (found.port !== undefined) return found.port
  // A port without a number means every port, and then the Service says which.
  return spec.ports.includes(wanted) ? numericTargetPort(wanted) : undefined
}

/** The number that a Service's traffic goes to; a name would have to be looked up in a Pod. */
export function numericTargetPort({ port, targetPort = port }: ServicePort): number | undefined {
  return typeof targetPort === 'number' ? targetPort : undefined
}

function addEndpoint(
  value: unknown,
  field: string,
  { addressType }: EndpointSliceContent,
  port: number,
  found: Map<string, BackendEndpoint>,
  report: Report,
): void {
  const spec = read(endpoint, value, { field, report, consequence: 'this endpoint is not used' })
  if (spec === undefined || !spec.conditions.ready) return
  const address = spec.addresses[0] ?? ''
  const problem = addressProblem(address, addressType)
  if (problem !== undefined) {
    report({
      level: 'error',
      field: `${field}.addresses[0]`,
      message: `${printable(address)} ${problem}; this endpoint is not used`,
    })
    return
  }
  const { kind, namespace, name } = spec.targetRef ?? { kind: '', namespace: '', name: '' }
  const identity = name === '' ? address : `${kind} ${namespace}/${name}`
  // A target may listen on several ports of one name only by several slices; then each is an endpoint.
  const key = `${identity} ${port}`
  if (!found.has(key)) found.set(key, { address, port })
}

/**
 * The API server refuses addresses that lead back to the node (loopback, link-local) or nowhere. We let loopback pass:
 * who writes files for a laptop means it. Where a config may make us dial is decided again when we dial.
 */
function addressProblem(address: string, family: EndpointSliceContent['addressType']): string | undefined {
  switch (family) {
    case 'IPv4':
      return ipaddr.IPv4.isValidFourPartDecimal(address)
        ? rangeProblem(ipaddr.IPv4.parse(address).range())
        : 'is no IPv4 address'
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
