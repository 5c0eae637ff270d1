/** Sorts manifests by kind, and reads each one. Whatever cannot be read is left out, with a reason. */

import type { z } from 'zod'
import { readTlsTargets, type TlsTarget } from './backend-tls.ts'
import { type Diagnostic, type ObjectName, type Place, type Report, reporter } from './diagnostics.ts'
import { type EndpointSlice, readEndpointSlice } from './endpoint-slices.ts'
import { type Grant, type Grants, readGrant } from './grants.ts'
import type { Labels } from './labels.ts'
import { isRecord, type Manifest } from './manifest-files.ts'
import * as schemas from './manifests.ts'
import { plainCopy, printable, read, TooLarge } from './reading.ts'

export interface Found<T> {
  readonly object: T
  readonly report: Report
  /** The manifest as it came, for what is read later and piece by piece. */
  readonly value: Readonly<Record<string, unknown>>
}

export interface Inventory {
  readonly gateways: readonly Found<schemas.Gateway>[]
  readonly httpRoutes: readonly Found<schemas.HttpRoute>[]
  readonly grpcRoutes: readonly Found<schemas.GrpcRoute>[]
  /** By `namespace/name`, like everything below that says no other thing. */
  readonly services: ReadonlyMap<string, Found<schemas.Service>>
  /** By `namespace/name` of the Service they belong to. */
  readonly endpointSlices: ReadonlyMap<string, readonly EndpointSlice[]>
  /** By namespace. */
  readonly grants: Grants
  /** By namespace. */
  readonly tlsTargets: ReadonlyMap<string, readonly TlsTarget[]>
  readonly secrets: ReadonlyMap<string, schemas.Secret>
  /** Labels by the namespace's name, of the namespaces that are among the manifests. */
  readonly namespaces: ReadonlyMap<string, Labels>
}

/** The label by which an EndpointSlice belongs to its Service. */
const serviceNameLabel = 'kubernetes.io/service-name'

/** `Object.groupBy` for what is found one by one. */
function addTo<T>(map: Map<string, T[]>, key: string, item: T): void {
  const items = map.get(key)
  if (items === undefined) map.set(key, [item])
  else items.push(item)
}

export function keyOf({
  metadata,
}: {
  readonly metadata: { readonly namespace: string; readonly name: string }
}): string {
  return `${metadata.namespace}/${metadata.name}`
}

function emptyShelves() {
  return {
    gateways: [] as Found<schemas.Gateway>[],
    httpRoutes: [] as Found<schemas.HttpRoute>[],
    grpcRoutes: [] as Found<schemas.GrpcRoute>[],
    services: new Map<string, Found<schemas.Service>>(),
    endpointSlices: new Map<string, EndpointSlice[]>(),
    grants: new Map<string, Grant[]>(),
    tlsTargets: new Map<string, TlsTarget[]>(),
    secrets: new Map<string, schemas.Secret>(),
    namespaces: new Map<string, Labels>(),
  } satisfies Inventory
}
type Shelves = ReturnType<typeof emptyShelves>

/** A kind we read. To read one more, add one more. */
interface Kind {
  readonly group: string
  readonly versions: readonly string[]
  readonly kind: string
  /** Reads a manifest; what comes back puts it on its shelf. */
  readonly read: (value: Readonly<Record<string, unknown>>, report: Report) => ((shelves: Shelves) => void) | undefined
}

function kind<S extends z.ZodType>(
  group: string,
  versions: readonly string[],
  name: string,
  schema: S,
  put: (shelves: Shelves, found: Found<z.output<S>>) => void,
): Kind {
  return {
    group,
    versions,
    kind: name,
    read(value, report) {
      const object = read(schema, value, { field: '', report, consequence: `the ${name} is left out` })
      return object === undefined ? undefined : (shelves) => put(shelves, { object, report, value })
    },
  }
}

const gatewayVersions = ['v1', 'v1beta1']
const kinds: readonly Kind[] = [
  kind(schemas.gatewayGroup, gatewayVersions, 'GatewayClass', schemas.gatewayClass, () => {}),
  kind(schemas.gatewayGroup, gatewayVersions, 'Gateway', schemas.gateway, ({ gateways }, found) =>
    gateways.push(found),
  ),
  kind(schemas.gatewayGroup, gatewayVersions, 'HTTPRoute', schemas.httpRoute, ({ httpRoutes }, found) =>
    httpRoutes.push(found),
  ),
  kind(schemas.gatewayGroup, ['v1'], 'GRPCRoute', schemas.grpcRoute, ({ grpcRoutes }, found) => grpcRoutes.push(found)),
  kind(
    schemas.gatewayGroup,
    gatewayVersions,
    'ReferenceGrant',
    schemas.referenceGrant,
    ({ grants }, { object, report }) => addTo(grants, object.metadata.namespace, readGrant(object.spec, report)),
  ),
  kind(
    schemas.gatewayGroup,
    ['v1', 'v1alpha3'],
    'BackendTLSPolicy',
    schemas.backendTlsPolicy,
    ({ tlsTargets }, { object: { metadata, spec }, report }) => {
      for (const target of readTlsTargets(spec.targetRefs, report)) addTo(tlsTargets, metadata.namespace, target)
      const message =
        'BackendTLSPolicies are not honoured: the Services it is for are not spoken to, since that would be without TLS'
      report({ level: 'error', message, condition: { type: 'Accepted', reason: 'Invalid' } })
    },
  ),
  kind('', ['v1'], 'Service', schemas.service, ({ services }, found) => services.set(keyOf(found.object), found)),
  kind('', ['v1'], 'Secret', schemas.secret, ({ secrets }, { object }) => secrets.set(keyOf(object), object)),
  kind('', ['v1'], 'Namespace', schemas.namespace, ({ namespaces }, { object }) =>
    namespaces.set(object.metadata.name, new Map(Object.entries(object.metadata.labels))),
  ),
  kind(
    'discovery.k8s.io',
    ['v1'],
    'EndpointSlice',
    schemas.endpointSlice,
    ({ endpointSlices }, { object, value, report }) => {
      const { name, namespace, labels } = object.metadata
      const service = new Map(Object.entries(labels)).get(serviceNameLabel)
      if (service === undefined) {
        const message = 'It belongs to no Service and is ignored'
        report({ level: 'warning', field: 'metadata.labels', message, fix: `Add the label ${serviceNameLabel}` })
        return
      }
      addTo(endpointSlices, `${namespace}/${service}`, readEndpointSlice(name, value, report))
    },
  ),
]

/** Kinds that change what is served, and that we do not read. Silence about them would look like support. */
const unservedKinds: ReadonlyMap<string, string> = new Map([
  ['gateway.networking.k8s.io/TLSRoute', 'TLSRoutes are not served'],
  ['gateway.networking.k8s.io/TCPRoute', 'TCPRoutes are not served'],
  ['gateway.networking.k8s.io/UDPRoute', 'UDPRoutes are not served'],
  ['gateway.networking.k8s.io/ListenerSet', 'ListenerSets are not served'],
  ['networking.k8s.io/Ingress', 'Ingresses are not served: write an HTTPRoute'],
])

/** Groups of Kubernetes itself: their other kinds are what a cluster is made of, and no news. */
const clusterGroups = /^(?:apps|autoscaling|batch|policy|(?:.+\.)?k8s\.io)?$/

export function takeInventory(manifests: readonly Manifest[], diagnostics: Diagnostic[]): Inventory {
  const readable = new Map<string, { place: Place; put: (shelves: Shelves) => void }>()
  for (const manifest of manifests) {
    const place = placeOf(manifest)
    const report = reporter(place, diagnostics)
    const found = readManifest(manifest.value, report)
    if (found === undefined) continue
    const { key, put } = found
    const earlier = readable.get(key)
    if (earlier !== undefined) {
      const where = earlier.place.file === undefined ? 'earlier' : `in ${earlier.place.file}:${earlier.place.line ?? 1}`
      report({
        level: 'warning',
        message: `It also stands ${where}; the last one counts, as with kubectl apply`,
        fix: 'Keep one of them',
      })
    }
    readable.set(key, { place, put })
  }
  const shelves = emptyShelves()
  for (const { put } of readable.values()) put(shelves)
  return shelves
}

function readManifest(raw: unknown, report: Report): { key: string; put: (shelves: Shelves) => void } | undefined {
  if (!isRecord(raw)) {
    report({
      level: 'error',
      message: 'A document is no Kubernetes object and is left out',
      fix: 'Write apiVersion, kind, metadata and spec',
    })
    return undefined
  }
  const { apiVersion, kind: name } = raw
  if (typeof apiVersion !== 'string' || typeof name !== 'string') {
    report({ level: 'error', message: 'An object without apiVersion or kind is left out', fix: 'Give it both' })
    return undefined
  }
  const slash = apiVersion.indexOf('/')
  const [group, version] = slash < 0 ? ['', apiVersion] : [apiVersion.slice(0, slash), apiVersion.slice(slash + 1)]
  const known = kinds.find((kind) => kind.group === group && kind.kind === name)
  if (known === undefined) {
    reportUnknownKind(group, name, report)
    return undefined
  }
  if (!known.versions.includes(version)) {
    const message = `Version ${printable(apiVersion)} of ${name} is not read; the ${name} is left out`
    report({
      level: 'error',
      field: 'apiVersion',
      message,
      fix: `Write ${[...(group === '' ? [] : [group]), known.versions[0]].join('/')}`,
    })
    return undefined
  }
  try {
    const value = plainCopy(raw) as Record<string, unknown>
    const put = known.read(value, report)
    if (put === undefined) return undefined
    const { namespace = 'default', name: ownName } = value['metadata'] as { namespace?: string; name: string }
    return { key: `${group}/${name}/${namespace}/${ownName}`, put }
  } catch (error) {
    if (!(error instanceof TooLarge)) throw error
    report({ level: 'error', message: `The ${name} is too large or nested too deep, and is left out` })
    return undefined
  }
}

function reportUnknownKind(group: string, name: string, report: Report): void {
  const unserved = unservedKinds.get(`${group}/${name}`)
  if (unserved !== undefined) report({ level: 'warning', message: unserved })
  else if (!clusterGroups.test(group) || group.startsWith('gateway.')) {
    report({ level: 'info', message: `Objects of kind ${printable(name)} are ignored` })
  }
}

function placeOf({ value, file, line }: Manifest): Place {
  return {
    ...(isRecord(value) && { object: nameOf(value) }),
    ...(file !== undefined && { file }),
    ...(line !== undefined && { line }),
  }
}

function nameOf({ kind, metadata }: Record<string, unknown>): ObjectName {
  const { namespace, name } = isRecord(metadata) ? metadata : {}
  const text = (value: unknown): string => (typeof value === 'string' && value !== '' ? printable(value) : '?')
  const clusterScoped = kind === 'Namespace' || kind === 'GatewayClass'
  return {
    kind: text(kind),
    ...(!clusterScoped && { namespace: namespace === undefined || namespace === null ? 'default' : text(namespace) }),
    name: text(name),
  }
}
