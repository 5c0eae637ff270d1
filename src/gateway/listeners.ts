/** A Gateway's listeners: which of them can be served. @see Gateway API GatewaySpec.listeners and its CEL rules */

import type { Listener } from '../config/proxy-config.ts'
import { certificateProblem } from './certificates.ts'
import type { Condition, Report } from './diagnostics.ts'
import { isPermitted } from './grants.ts'
import { type Found, type Inventory, keyOf } from './inventory.ts'
import * as schemas from './manifests.ts'
import { read, readItems } from './reading.ts'

export interface GatewayModel {
  readonly namespace: string
  readonly name: string
  readonly listeners: readonly ListenerModel[]
}

export interface ListenerModel {
  readonly section: string
  /** A listener that is not served can still be the one that a route asks for. */
  readonly served: boolean
  readonly listener: Listener
  readonly allowedRoutes: schemas.GatewayListener['allowedRoutes']
}

interface Candidate {
  readonly field: string
  readonly spec: schemas.GatewayListener
}

/** Names of listeners are unique in a config: `namespace/gateway/section`. */
export function modelGateway({ object, report }: Found<schemas.Gateway>, inventory: Inventory): GatewayModel {
  const { namespace, name } = object.metadata
  const candidates: Candidate[] = []
  const reading = { report, consequence: 'the listener is not served', condition: notAccepted('Invalid') }
  const items = readItems(object.spec.listeners, { ...reading, field: 'spec.listeners' }, 64)
  for (const [i, value] of items?.entries() ?? []) {
    const field = `spec.listeners[${i}]`
    const spec = read(schemas.listener, value, { ...reading, field })
    if (spec !== undefined) candidates.push({ field, spec })
  }
  if (items?.length === 0) {
    const { condition } = reading
    report({ level: 'error', field: 'spec.listeners', message: 'A Gateway needs a listener', condition })
  }
  if (object.spec.infrastructure?.parametersRef !== undefined) {
    report({
      level: 'warning',
      field: 'spec.infrastructure.parametersRef',
      message: 'Parameters are not supported; they are ignored',
    })
  }

  const refused = new Set<Candidate>()
  const refuse = (candidate: Candidate, path: string, message: string, condition: Condition, fix?: string): void => {
    refused.add(candidate)
    const field = candidate.field + path
    report({
      level: 'error',
      field,
      message: `${message}; the listener is not served`,
      condition,
      ...(fix !== undefined && { fix }),
    })
  }

  refuseConflicts(candidates, refuse)
  for (const candidate of candidates) refuseUnservable(candidate, object, inventory, report, refuse)

  const gateway = keyOf(object)
  return {
    namespace,
    name,
    listeners: candidates.map((candidate) => {
      const { name: section, port, protocol, hostname, allowedRoutes } = candidate.spec
      const listener: Listener = {
        name: `${gateway}/${section}`,
        gateway,
        port,
        protocol: protocol === 'HTTPS' ? 'HTTPS' : 'HTTP',
        ...(hostname !== undefined && { hostname }),
      }
      return { section, served: !refused.has(candidate), listener, allowedRoutes }
    }),
  }
}

type Refuse = (candidate: Candidate, path: string, message: string, condition: Condition, fix?: string) => void

function notAccepted(reason: string): Condition {
  return { type: 'Accepted', reason }
}

/**
 * Listeners of one Gateway that cannot be told apart have no winner: none of them is served.
 *
 * On one port all are HTTP, or all are HTTPS or TLS, and each has its own hostname. TCP we do not support, so it alone
 * is refused where it shares a port; UDP has ports of its own.
 */
function refuseConflicts(candidates: readonly Candidate[], refuse: Refuse): void {
  const others = (
    one: Candidate,
    alike: (a: schemas.GatewayListener, b: schemas.GatewayListener) => boolean,
  ): readonly string[] =>
    candidates.filter((other) => other !== one && alike(one.spec, other.spec)).map(({ spec }) => spec.name)

  for (const candidate of candidates) {
    const family = protocolFamily(candidate.spec.protocol)
    if (others(candidate, (a, b) => a.name === b.name).length > 0) {
      const message = `Another listener is also named ${candidate.spec.name}`
      refuse(candidate, '.name', message, notAccepted('Invalid'), 'Give each listener its own name')
    }
    if (family === undefined) continue
    const strangers = others(
      candidate,
      (a, b) => a.port === b.port && ![undefined, family].includes(protocolFamily(b.protocol)),
    )
    if (strangers.length > 0) {
      const message = `On port ${candidate.spec.port} listener ${strangers.join(', ')} has a protocol that does not go with ${candidate.spec.protocol}`
      refuse(
        candidate,
        '.protocol',
        message,
        { type: 'Conflicted', reason: 'ProtocolConflict' },
        'Use one port for each protocol',
      )
    }
    const twins = others(
      candidate,
      (a, b) => a.port === b.port && protocolFamily(b.protocol) === family && a.hostname === b.hostname,
    )
    if (twins.length > 0) {
      const message = `Listener ${twins.join(', ')} has the same port and hostname`
      refuse(
        candidate,
        '.hostname',
        message,
        { type: 'Conflicted', reason: 'HostnameConflict' },
        'Give each its own hostname or port',
      )
    }
  }
}

function protocolFamily(protocol: string): 'HTTP' | 'TLS' | undefined {
  if (protocol === 'HTTP') return 'HTTP'
  return protocol === 'HTTPS' || protocol === 'TLS' ? 'TLS' : undefined
}

function refuseUnservable(
  candidate: Candidate,
  gateway: schemas.Gateway,
  inventory: Inventory,
  report: Report,
  refuse: Refuse,
): void {
  const { protocol, tls, allowedRoutes } = candidate.spec
  const unknownKinds = allowedRoutes.kinds.filter((allowed) => !routeKinds.has(`${allowed.group}/${allowed.kind}`))
  if (protocol !== 'HTTP' && protocol !== 'HTTPS') {
    refuse(
      candidate,
      '.protocol',
      `Protocol ${protocol.replace(/[^\w./-]/g, '?')} is not supported`,
      notAccepted('UnsupportedProtocol'),
      'Use HTTP or HTTPS',
    )
    return
  }
  if (unknownKinds.length > 0) {
    report({
      level: 'error',
      field: `${candidate.field}.allowedRoutes.kinds`,
      message: `An ${protocol} listener cannot serve routes of kind ${unknownKinds.map((allowed) => allowed.kind).join(', ')}`,
      condition: { type: 'ResolvedRefs', reason: 'InvalidRouteKinds' },
    })
  }
  if (protocol === 'HTTP') {
    // Somebody meant this listener to be encrypted.
    if (tls !== undefined)
      refuse(
        candidate,
        '.tls',
        'An HTTP listener has no TLS',
        notAccepted('Invalid'),
        'Use protocol HTTPS, or remove tls',
      )
    return
  }
  if (tls?.mode === 'Passthrough') {
    refuse(candidate, '.tls.mode', 'An HTTPS listener terminates TLS', notAccepted('Invalid'), 'Use mode Terminate')
    return
  }
  if (demandsClientCertificate(gateway, candidate.spec.port)) {
    refuse(
      candidate,
      '',
      'Client certificates, which spec.tls.frontend demands, cannot be verified',
      notAccepted('UnsupportedValue'),
    )
    return
  }
  refuseWithoutCertificate(candidate, gateway, inventory, report, refuse)
}

const routeKinds: ReadonlySet<string> = new Set([
  `${schemas.gatewayGroup}/HTTPRoute`,
  `${schemas.gatewayGroup}/GRPCRoute`,
])

/** An entry for the port replaces the default, also by saying nothing. @see Gateway API GatewayFrontendTLS */
function demandsClientCertificate({ spec }: schemas.Gateway, port: number): boolean {
  const frontend = spec.tls?.frontend
  const own = frontend?.perPort.find((entry) => entry.port === port)
  const effective: unknown = own === undefined ? frontend?.default : own.tls
  return typeof effective === 'object' && effective !== null && 'validation' in effective
}

/** One usable certificate is enough to serve the listener; every other reference is still reported. */
function refuseWithoutCertificate(
  candidate: Candidate,
  gateway: schemas.Gateway,
  inventory: Inventory,
  report: Report,
  refuse: Refuse,
): void {
  const references = candidate.spec.tls?.certificateRefs ?? []
  if (references.length === 0) {
    const condition = { type: 'ResolvedRefs', reason: 'InvalidCertificateRef' }
    refuse(candidate, '.tls.certificateRefs', 'An HTTPS listener needs a certificate', condition, tlsSecretFix)
    return
  }
  const problems = references.map((reference) => referenceProblem(reference, gateway, inventory))
  const usable = problems.includes(undefined)
  for (const [i, problem] of problems.entries()) {
    if (problem === undefined) continue
    const { message, reason, fix } = problem
    const path = `.tls.certificateRefs[${i}]`
    const condition = { type: 'ResolvedRefs', reason }
    if (usable) report({ level: 'error', field: candidate.field + path, message, condition, fix })
    else refuse(candidate, path, message, condition, fix)
  }
}

const tlsSecretFix = 'Name a Secret of type kubernetes.io/tls'

interface ReferenceProblem {
  readonly message: string
  readonly reason: 'InvalidCertificateRef' | 'RefNotPermitted'
  readonly fix: string
}

function referenceProblem(
  reference: schemas.SecretReference,
  gateway: schemas.Gateway,
  inventory: Inventory,
): ReferenceProblem | undefined {
  const { group, kind, name } = reference
  const home = gateway.metadata.namespace
  const namespace = reference.namespace ?? home
  const invalid = (message: string): ReferenceProblem => ({
    message,
    reason: 'InvalidCertificateRef',
    fix: tlsSecretFix,
  })
  if (group !== '' || kind !== 'Secret') {
    return invalid(`A certificate is kept in a Secret, not in a ${group === '' ? kind : `${kind}.${group}`}`)
  }
  // Before looking: without permission nobody learns whether it exists.
  const from = { group: schemas.gatewayGroup, kind: 'Gateway', namespace: home }
  if (!isPermitted(inventory.grants, from, { group, kind, namespace, name })) {
    return {
      message: `No ReferenceGrant in namespace ${namespace} lets Gateways of namespace ${home} use Secret ${name}`,
      reason: 'RefNotPermitted',
      fix: `Add a ReferenceGrant to namespace ${namespace}`,
    }
  }
  const secret = inventory.secrets.get(`${namespace}/${name}`)
  if (secret === undefined) return invalid(`There is no Secret ${namespace}/${name}`)
  const problem = certificateProblem(secret)
  return problem === undefined ? undefined : invalid(`Secret ${namespace}/${name} ${problem}`)
}
