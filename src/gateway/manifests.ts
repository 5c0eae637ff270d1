/**
 * The kinds we read, as schemas with the defaulting of their CRDs.
 *
 * An API server has checked all this before a controller sees an object; of a file nobody has checked anything. Lists
 * whose items can fail on their own (rules, matches, filters, backendRefs, listeners) are `unknown[]` here and read item
 * by item, so that a bad one does not take a good one with it.
 *
 * @see Gateway API v1 types and their CEL rules; Kubernetes core/v1 Service, Secret, Namespace; discovery/v1 EndpointSlice
 */

import { z } from 'zod'

export const gatewayGroup = 'gateway.networking.k8s.io'

const dnsLabel = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/
const dnsName = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const dottedNumbers = /^[0-9]+(\.[0-9]+)*$/

const labelRule = 'must be lower-case letters, digits and "-"'
const nameRule = 'must be a lower-case DNS name'

export const dnsSubdomain = z.string().min(1).max(253).regex(dnsName, { error: nameRule })
export const namespaceName = z.string().min(1).max(63).regex(dnsLabel, { error: labelRule })
export const sectionName = dnsSubdomain
export const portNumber = z.int().min(1).max(65_535)
const group = z
  .string()
  .max(253)
  .regex(/^$|^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, { error: 'must be empty or a lower-case DNS name' })
const kindName = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$/, { error: 'must be letters, digits and "-"' })

/** Gateway API Hostname: a lower-case name, with or without a first label `*`, and never an address. */
export const hostname = z
  .string()
  .min(1)
  .max(253)
  .refine((text) => dnsName.test(text.startsWith('*.') ? text.slice(2) : text) && !dottedNumbers.test(text), {
    error: 'must be a lower-case DNS name, optionally starting with "*.", and no address',
  })

/** Gateway API PreciseHostname. */
export const preciseHostname = hostname.refine((text) => !text.startsWith('*'), { error: 'must not have a wildcard' })

/** Field names are tokens of RFC 9110, without the pseudo-header's colon. */
export const headerName = z
  .string()
  .min(1)
  .max(256)
  .regex(/^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$/, { error: 'must be a header name' })

const metadataFields = {
  labels: z.record(z.string(), z.string()).default({}),
  creationTimestamp: z.string().optional(),
}
const namespaced = z.object({ name: dnsSubdomain, namespace: namespaceName.default('default'), ...metadataFields })
const clusterScoped = z.object({ name: dnsSubdomain, ...metadataFields })

/** Fields that are there in every object and say nothing to a data plane. */
const envelope = { apiVersion: z.string(), kind: z.string(), status: z.unknown().optional() }
const list = z.array(z.unknown())
const ignored = z.unknown().optional()

/* Gateway API */

export const gatewayClass = z.strictObject({
  ...envelope,
  metadata: clusterScoped,
  spec: z.strictObject({ controllerName: z.string(), parametersRef: ignored, description: ignored }),
})

export const gateway = z.strictObject({
  ...envelope,
  metadata: namespaced,
  spec: z.strictObject({
    gatewayClassName: dnsSubdomain,
    listeners: list,
    tls: z
      .strictObject({
        backend: ignored,
        frontend: z
          .object({ default: ignored, perPort: z.array(z.object({ port: portNumber, tls: ignored })).default([]) })
          .optional(),
      })
      .optional(),
    addresses: ignored,
    infrastructure: z.object({ parametersRef: ignored }).optional(),
    allowedListeners: ignored,
    defaultScope: ignored,
  }),
})

const labelSelector = z.strictObject({
  matchLabels: z.record(z.string(), z.string()).default({}),
  matchExpressions: z
    .array(
      z
        .strictObject({
          key: z.string().min(1),
          operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
          values: z.array(z.string()).default([]),
        })
        .refine(({ operator, values }) => (operator === 'In' || operator === 'NotIn') === values.length > 0, {
          error: 'needs values with In and NotIn, and must have none with Exists and DoesNotExist',
        }),
    )
    .default([]),
})

const secretReference = z.strictObject({
  group: group.default(''),
  kind: kindName.default('Secret'),
  name: dnsSubdomain,
  namespace: namespaceName.optional(),
})

export const listener = z.strictObject({
  name: sectionName,
  hostname: hostname.optional(),
  port: portNumber,
  protocol: z.string().min(1).max(255),
  tls: z
    .strictObject({
      mode: z.enum(['Terminate', 'Passthrough']).default('Terminate'),
      certificateRefs: z.array(secretReference).max(64).default([]),
      options: z.record(z.string(), z.string()).default({}),
    })
    .optional(),
  allowedRoutes: z
    .strictObject({
      namespaces: z
        .strictObject({
          from: z.enum(['Same', 'All', 'Selector']).default('Same'),
          selector: labelSelector.optional(),
        })
        .prefault({}),
      kinds: z
        .array(z.strictObject({ group: group.default(gatewayGroup), kind: kindName }))
        .max(8)
        .default([]),
    })
    .prefault({}),
})

export const httpRoute = z.strictObject({
  ...envelope,
  metadata: namespaced,
  spec: z.strictObject({
    parentRefs: list.default([]),
    useDefaultGateways: ignored,
    hostnames: list.default([]),
    /** The CRD's default is one rule with one PathPrefix `/` match, which is what an empty rule means. */
    rules: list.min(1).default([{}]),
  }),
})

export const grpcRoute = z.strictObject({
  ...envelope,
  metadata: namespaced,
  spec: z.strictObject({
    parentRefs: list.default([]),
    useDefaultGateways: ignored,
    hostnames: list.default([]),
    /** Without rules it matches nothing. */
    rules: list.default([]),
  }),
})

export const parentRef = z.strictObject({
  group: group.default(gatewayGroup),
  kind: kindName.default('Gateway'),
  namespace: namespaceName.optional(),
  name: dnsSubdomain,
  sectionName: sectionName.optional(),
  port: portNumber.optional(),
})

export const httpRouteRule = z.strictObject({
  name: ignored,
  matches: ignored,
  filters: ignored,
  backendRefs: ignored,
  timeouts: ignored,
  retry: ignored,
  sessionPersistence: ignored,
})

export const grpcRouteRule = z.strictObject({
  name: ignored,
  matches: ignored,
  filters: ignored,
  backendRefs: ignored,
  sessionPersistence: ignored,
})

/** Gateway API BackendObjectReference. That a Service needs a port is checked where Services are resolved. */
const backendObjectFields = {
  group: group.default(''),
  kind: kindName.default('Service'),
  name: dnsSubdomain,
  namespace: namespaceName.optional(),
  port: portNumber.optional(),
}
export const backendObjectReference = z.strictObject(backendObjectFields)
export const weight = z.int().min(0).max(1_000_000).default(1)
/** Of an HTTPRoute or a GRPCRoute. */
export const backendRef = z.strictObject({ ...backendObjectFields, weight, filters: ignored })

export const referenceGrant = z.strictObject({
  ...envelope,
  metadata: namespaced,
  spec: z.strictObject({ from: list, to: list }),
})
export const grantFrom = z.strictObject({ group, kind: kindName, namespace: namespaceName })
export const grantTo = z.strictObject({ group, kind: kindName, name: z.string().min(1).max(253).optional() })

/** Only what it is for: see `backend-tls.ts`. */
export const backendTlsPolicy = z.object({ metadata: namespaced, spec: z.object({ targetRefs: list }) })

/* Kubernetes' own kinds: only what we look at. Their other fields are many, and none of our business. */

export const namespace = z.object({ metadata: clusterScoped })

export const service = z.object({
  metadata: namespaced,
  spec: z.object({
    type: z.string().default('ClusterIP'),
    clusterIP: z.string().optional(),
    ipFamilies: z.array(z.enum(['IPv4', 'IPv6'])).default([]),
    ports: z
      .array(
        z.object({
          name: z.string().default(''),
          protocol: z.string().default('TCP'),
          port: portNumber,
          targetPort: z
            .union([portNumber, z.string().min(1)], { error: 'must be a port number or a port name' })
            .optional(),
          appProtocol: z.string().optional(),
        }),
      )
      .default([]),
  }),
})

export const endpointSlice = z.object({ metadata: namespaced })

export const endpointSliceContent = z.object({
  addressType: z.enum(['IPv4', 'IPv6', 'FQDN']),
  ports: z
    .array(z.object({ name: z.string().default(''), protocol: z.string().default('TCP'), port: portNumber.optional() }))
    .default([]),
  endpoints: list.default([]),
})

export const endpoint = z.object({
  addresses: z.array(z.string().min(1).max(253)).min(1),
  /** `ready` that is not given means ready. */
  conditions: z.object({ ready: z.boolean().default(true) }).prefault({}),
  targetRef: z
    .object({ kind: z.string().default(''), namespace: z.string().default(''), name: z.string().default('') })
    .optional(),
})

export const secret = z.object({
  metadata: namespaced,
  type: z.string().default('Opaque'),
  data: z.record(z.string(), z.string()).default({}),
  stringData: z.record(z.string(), z.string()).default({}),
})

export type Gateway = z.output<typeof gateway>
export type GatewayListener = z.output<typeof listener>
export type LabelSelector = z.output<typeof labelSelector>
export type SecretReference = z.output<typeof secretReference>
export type HttpRoute = z.output<typeof httpRoute>
export type GrpcRoute = z.output<typeof grpcRoute>
export type ParentRef = z.output<typeof parentRef>
export type BackendObjectReference = z.output<typeof backendObjectReference>
export type GrantFrom = z.output<typeof grantFrom>
export type GrantTo = z.output<typeof grantTo>
export type Service = z.output<typeof service>
export type ServicePort = Service['spec']['ports'][number]
export type EndpointSliceContent = z.output<typeof endpointSliceContent>
export type Secret = z.output<typeof secret>
