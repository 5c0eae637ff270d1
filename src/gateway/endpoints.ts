/** From a Service's port to the addresses behind it. */

import type { BackendEndpoint } from '../config/proxy-config.ts'
import type { EndpointSlice } from './endpoint-slices.ts'
import type { Service, ServicePort } from './manifests.ts'
import { printable } from './reading.ts'

/** What a ProxyConfig can hold for one backend. */
const mostEndpoints = 20_000

/**
 * The ready endpoints of a Service's port, in the slices' order by name.
 *
 * A pod of a dual-stack Service stands in a slice of each family. It is one endpoint: the Service's first family is
 * taken, then IPv4, IPv6, names.
 */
export function readyEndpoints(
  service: Service,
  port: ServicePort,
  slices: readonly EndpointSlice[],
): BackendEndpoint[] {
  const found = new Map<string, BackendEndpoint>()
  const families = new Set([...service.spec.ipFamilies, 'IPv4', 'IPv6', 'FQDN'])
  const byName = [...slices].sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const family of families) {
    for (const slice of byName) {
      const target = slice.family === family ? targetPortOf(slice, port) : undefined
      if (target === undefined) continue
      for (const { address, identity } of slice.ready) {
        // One pod can be behind a port by two numbers, in two slices, while it is rolled out.
        const key = `${identity} ${target}`
        if (!found.has(key)) found.set(key, { address, port: target })
      }
    }
  }
  return [...found.values()].slice(0, mostEndpoints)
}

/** Names of the slices' ports, for somebody who wonders why none fits. */
export function portNames(slices: readonly EndpointSlice[]): string[] {
  const names = new Set(slices.flatMap(({ ports }) => ports.map(({ name }) => name)))
  return [...names].map((name) => (name === '' ? '(no name)' : printable(name)))
}

/** The number that a Service's traffic goes to; a name would have to be looked up in a Pod. */
export function numericTargetPort({ port, targetPort = port }: ServicePort): number | undefined {
  return typeof targetPort === 'number' ? targetPort : undefined
}

/** Slices and Services know a port by the same name; a single port may have none. */
function targetPortOf({ ports }: EndpointSlice, wanted: ServicePort): number | undefined {
  const found = ports.find(({ name, protocol }) => name === wanted.name && protocol === 'TCP')
  // A port without a number means every port, and then the Service says which.
  return found === undefined ? undefined : (found.port ?? numericTargetPort(wanted))
}
