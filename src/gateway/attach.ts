/** Which route attaches to which listener, and for which hosts. @see Gateway API ParentReference, AllowedRoutes */

import type { Listener } from '../config/proxy-config.ts'
import type { Report } from './diagnostics.ts'
import { effectiveHostnames } from './hostnames.ts'
import { type Labels, selects } from './labels.ts'
import type { GatewayModel, ListenerModel } from './listeners.ts'
import { gatewayGroup, hostname, parentRef, type ParentRef } from './manifests.ts'
import { read, readItems } from './reading.ts'

/** One listener that serves the route, and the hosts it serves there; none means every host. */
export interface Attachment {
  readonly listener: Listener
  readonly hostnames: readonly string[]
}

export interface AttachingRoute {
  /** Of the Gateway API group. */
  readonly kind: string
  readonly namespace: string
  readonly parentRefs: readonly unknown[]
  readonly hostnames: readonly unknown[]
}

export interface Parents {
  /** By `namespace/name`; `undefined` for a Gateway that is somebody else's. */
  readonly gateways: ReadonlyMap<string, GatewayModel | undefined>
  readonly namespaces: ReadonlyMap<string, Labels>
}

/** Attaches a route to every listener that it names and that lets it in. In manifest order, each listener once. */
export function attachRoute(route: AttachingRoute, parents: Parents, report: Report): Attachment[] {
  const hostnames = readHostnames(route.hostnames, report)
  if (route.parentRefs.length === 0) {
    report({
      level: 'warning',
      field: 'spec.parentRefs',
      message: 'It names no Gateway, so no listener serves it',
      fix: 'Add a parentRef',
    })
  }
  const reading = { field: 'spec.parentRefs', report, consequence: 'the route is not attached' }
  const items = readItems(route.parentRefs, reading, 32) ?? []
  const refs = items.map((value, i) => read(parentRef, value, { ...reading, field: `spec.parentRefs[${i}]` }))
  const attachments = new Map<string, Attachment>()
  for (const [i, ref] of refs.entries()) {
    if (ref === undefined || hostnames === undefined) continue
    const field = `spec.parentRefs[${i}]`
    if (refs.slice(0, i).some((earlier) => earlier !== undefined && isSameParent(earlier, ref, route.namespace))) {
      const message = 'The parent is named before; a cluster accepts it only with another sectionName or port each time'
      report({ level: 'warning', field, message })
    }
    for (const attachment of attachTo(ref, route, hostnames, parents, field, report))
      attachments.set(attachment.listener.name, attachment)
  }
  return [...attachments.values()]
}

/** Whether two references are to one parent, and do not tell apart which part of it they mean. */
function isSameParent(a: ParentRef, b: ParentRef, home: string): boolean {
  const same = a.group === b.group && a.kind === b.kind && a.name === b.name
  const whole = [a, b].some((ref) => ref.sectionName === undefined && ref.port === undefined)
  const part = a.sectionName === b.sectionName && a.port === b.port
  return same && (a.namespace ?? home) === (b.namespace ?? home) && (whole || part)
}

/** @returns `undefined` if there were hostnames and none is left: to serve every host instead would be worse than none */
function readHostnames(values: readonly unknown[], report: Report): readonly string[] | undefined {
  const reading = {
    report,
    consequence: 'the route does not serve it',
    condition: { type: 'Accepted', reason: 'UnsupportedValue' },
  }
  const names = readItems(values, { ...reading, field: 'spec.hostnames' }, 16)
    ?.map((value, i) => read(hostname, value, { ...reading, field: `spec.hostnames[${i}]` }))
    .filter((name) => name !== undefined)
  return values.length > 0 && names?.length === 0 ? undefined : names
}

function attachTo(
  ref: ParentRef,
  route: AttachingRoute,
  hostnames: readonly string[],
  parents: Parents,
  field: string,
  report: Report,
): Attachment[] {
  const namespace = ref.namespace ?? route.namespace
  if (ref.group !== gatewayGroup || ref.kind !== 'Gateway') {
    report({
      level: 'warning',
      field,
      message: `A parent of kind ${ref.kind} is not supported; the route is not attached to it`,
    })
    return []
  }
  const key = `${namespace}/${ref.name}`
  const gateway = parents.gateways.get(key)
  const refuse = (reason: string, message: string, fix?: string): Attachment[] => {
    const condition = { type: 'Accepted', reason }
    report({ level: 'error', field, message, condition, ...(fix !== undefined && { fix }) })
    return []
  }
  if (gateway === undefined) {
    // Somebody else's Gateway is none of our business; one that is not there, nobody serves.
    if (!parents.gateways.has(key))
      report({ level: 'error', field, message: `There is no Gateway ${key}; the route is not attached to it` })
    return []
  }

  const candidates = gateway.listeners.filter(
    ({ section, listener }) =>
      (ref.sectionName ?? section) === section && (ref.port ?? listener.port) === listener.port,
  )
  if (candidates.length === 0) {
    const wanted = [
      ref.sectionName === undefined ? [] : `named ${ref.sectionName}`,
      ref.port === undefined ? [] : `on port ${ref.port}`,
    ].flat()
    const offered = gateway.listeners.map(({ section, listener }) => `${section} (port ${listener.port})`).join(', ')
    const message = `Gateway ${key} has no listener${wanted.map((part) => ` ${part}`).join('')}`
    return refuse('NoMatchingParent', message, offered === '' ? undefined : `It has ${offered}`)
  }

  const allowing = candidates.filter((candidate) => allows(candidate, gateway, route, parents.namespaces))
  if (allowing.length === 0) {
    const names = candidates.map(({ section }) => section).join(', ')
    const message = `Listener ${names} of Gateway ${key} does not allow ${route.kind}s of namespace ${route.namespace}`
    return refuse('NotAllowedByListeners', message, adviceFor(candidates, route, parents.namespaces))
  }

  const attachments: Attachment[] = []
  let intersecting = 0
  for (const { served, listener } of allowing) {
    const effective = effectiveHostnames(listener.hostname, hostnames)
    if (effective === undefined) continue
    intersecting++
    if (served) attachments.push({ listener, hostnames: effective })
  }
  if (intersecting === 0) {
    const offered = allowing.map(({ listener }) => listener.hostname).join(', ')
    return refuse('NoMatchingListenerHostname', `No hostname of the route fits Gateway ${key}, which serves ${offered}`)
  }
  if (attachments.length === 0) {
    report({
      level: 'error',
      field,
      message: `No listener of Gateway ${key} that the route fits is served`,
      fix: "See the Gateway's own findings",
    })
  }
  return attachments
}

function allows(
  { allowedRoutes }: ListenerModel,
  gateway: GatewayModel,
  route: AttachingRoute,
  namespaces: Parents['namespaces'],
): boolean {
  const { namespaces: allowed, kinds } = allowedRoutes
  if (kinds.length > 0 && !kinds.some(({ group, kind }) => group === gatewayGroup && kind === route.kind)) return false
  switch (allowed.from) {
    case 'All':
      return true
    case 'Same':
      return gateway.namespace === route.namespace
    case 'Selector':
      return allowed.selector !== undefined && selects(allowed.selector, labelsOf(route.namespace, namespaces))
  }
}

/** Kubernetes itself gives every namespace this label. */
function labelsOf(namespace: string, namespaces: Parents['namespaces']): Labels {
  return new Map([...(namespaces.get(namespace) ?? []), ['kubernetes.io/metadata.name', namespace]])
}

function adviceFor(
  candidates: readonly ListenerModel[],
  route: AttachingRoute,
  namespaces: Parents['namespaces'],
): string {
  const bySelector = candidates.some(({ allowedRoutes }) => allowedRoutes.namespaces.from === 'Selector')
  return bySelector && !namespaces.has(route.namespace)
    ? `Namespace ${route.namespace} is not among the manifests, so its labels are not known: add it`
    : "See the listener's allowedRoutes"
}
