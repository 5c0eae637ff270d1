/** Who may register, and what registration is answered with. */
import { type Timers } from '../../timers.ts'
import { type ConnectionError, type ConnectionResponse, type RegisterConnectionParams } from '../registration.ts'
import { createUuid, formatUuid } from '../uuid.ts'
import { rateLimited, registrationErrors } from './faults.ts'
import { type ReportViolation } from './link.ts'
import { type Tunnel, type Tunnels } from './tunnels.ts'

export interface RegistrarOptions {
  readonly tunnels: Tunnels
  readonly timers: Timers
  readonly equal: (a: Uint8Array, b: Uint8Array) => boolean
  /** Three letters, as airports have. */
  readonly location: string
  /** One connection of a connector to each server, as the real edge has it. */
  readonly refuseDuplicates: boolean
  /** Of one connector; more are told to come back later. */
  readonly registrationsPerMinute: number
  readonly report: ReportViolation
}

/** A connection that is registered. */
export interface Registered {
  readonly server: number
  readonly clientId: string
  readonly connIndex: number
}

export type Registration =
  | { readonly response: Extract<ConnectionResponse, { kind: 'details' }>; readonly tunnel: Tunnel }
  | { readonly response: Extract<ConnectionResponse, { kind: 'error' }>; readonly tunnel: undefined }

export interface Registrar {
  /** @param others all connections that are registered now */
  register(params: RegisterConnectionParams, server: number, others: Iterable<Registered>): Registration
}

const minuteMs = 60_000
/** Connectors that are remembered. */
const maxConnectors = 1_000

export function createRegistrar(options: RegistrarOptions): Registrar {
  const { tunnels, timers, equal, report } = options
  /** When each connector asked, in the last minute. */
  const asked = new Map<string, number[]>()
  /** Connectors whose connection 0 has been registered, the last so many. */
  const begun = new Set<string>()

  /** Milliseconds to wait; 0 for none. */
  function tooSoonMs(clientId: string): number {
    if (options.registrationsPerMinute === Infinity) return 0
    const nowMs = timers.now()
    for (const [client, times] of asked) {
      const recent = times.filter((time) => time > nowMs - minuteMs)
      if (recent.length > 0) asked.set(client, recent)
      else asked.delete(client)
    }
    const times = asked.get(clientId) ?? []
    if (times.length >= options.registrationsPerMinute) return Math.ceil(times[0]! + minuteMs - nowMs)
    asked.set(clientId, [...times, nowMs])
    return 0
  }

  function remember(clientId: string): void {
    begun.add(clientId)
    const [oldest] = begun
    if (begun.size > maxConnectors && oldest !== undefined) begun.delete(oldest)
  }

  return {
    register(params, server, others) {
      const clientId = formatUuid(params.options.client.clientId)
      const known = [...others]
      check(params, clientId, known, report)
      const { connIndex } = params
      if (connIndex > 0 && !begun.has(clientId)) report(`registration: connection ${connIndex} before connection 0`)
      const waitMs = tooSoonMs(clientId)
      if (waitMs > 0) return refused(rateLimited(waitMs))
      const tunnel = tunnels.byId(params.tunnelId)
      if (!tunnel) return refused(registrationErrors.unknownTunnel)
      const { accountTag, tunnelSecret } = tunnel.credentials
      if (params.auth.accountTag !== accountTag || !equal(params.auth.tunnelSecret, tunnelSecret)) {
        return refused(registrationErrors.unauthorized)
      }
      if (options.refuseDuplicates && known.some((other) => other.clientId === clientId && other.server === server)) {
        return refused(registrationErrors.duplicate)
      }
      if (connIndex === 0) remember(clientId)
      const details = {
        uuid: createUuid(),
        locationName: options.location,
        tunnelIsRemotelyManaged: tunnel.remotelyManaged,
      }
      return { response: { kind: 'details', details }, tunnel }
    },
  }
}

function refused(error: ConnectionError): Registration {
  return { response: { kind: 'error', error }, tunnel: undefined }
}

/** What every registration of the reference client's has. */
function check(
  params: RegisterConnectionParams,
  clientId: string,
  others: readonly Registered[],
  report: ReportViolation,
): void {
  const { connIndex, tunnelId, options } = params
  const siblings = others.filter((other) => other.clientId === clientId)
  if (tunnelId.length !== 16) report('registration: the tunnel id has not 16 bytes')
  if (options.client.clientId.length !== 16) report('registration: the connector id has not 16 bytes')
  if (!options.client.features.includes('serialized_headers')) report('registration: no serialized_headers')
  if (options.replaceExisting) report('registration: replaceExisting is set')
  if (siblings.some((other) => other.connIndex === connIndex)) {
    report(`registration: connection ${connIndex} is registered already`)
  }
}
