import type { ConfigIssue } from '../config/issues.ts'
import type { Listener } from '../config/proxy-config.ts'
import { canonicalHostname, isHostname } from '../config/syntax.ts'

/** What an address we listen on stands for: listeners of one Gateway, of one port, or both. */
export interface Entrance {
  /** "namespace/gateway" */
  readonly gateway?: string | undefined
  readonly port?: number | undefined
}

/** A listener of the config and the pattern of hosts it covers, '' for all. */
export interface Candidate {
  readonly listener: Listener
  /** Its place in the config. */
  readonly index: number
  readonly pattern: string
}

/** The listeners whose hostname can be used; the others cover no host. */
export function usableListeners(listeners: readonly Listener[], issues: ConfigIssue[]): Candidate[] {
  const usable: Candidate[] = []
  for (const [index, listener] of listeners.entries()) {
    const pattern = canonicalHostname(listener.hostname ?? '')
    if (pattern === '' || isHostname(pattern)) usable.push({ listener, index, pattern })
    else {
      issues.push({
        path: `listeners[${index}].hostname`,
        message: 'is no hostname; this listener covers no host',
        fix: 'use a DNS name, optionally with "*." in front',
      })
    }
  }
  return usable
}

/**
 * The listeners that an entrance stands for. Where nobody named a port it is the HTTP ones, since TLS ends before us;
 * and the HTTPS ones of a config that has no other.
 */
export function listenersAt(candidates: readonly Candidate[], entrance: Entrance | undefined): readonly Candidate[] {
  const { gateway, port } = entrance ?? {}
  const named = candidates.filter(
    ({ listener }) =>
      (gateway === undefined || listener.gateway === gateway) && (port === undefined || listener.port === port),
  )
  if (port !== undefined) return named
  const plain = named.filter(({ listener }) => listener.protocol === 'HTTP')
  return plain.length > 0 ? plain : named
}

/**
 * Of the listeners with one hostname, those that serve it: the ones on the lowest port. More than one is left only
 * where several Gateways have the same listener.
 */
export function onLowestPort(candidates: readonly Candidate[]): readonly Candidate[] {
  const lowest = candidates.reduce((port, { listener }) => Math.min(port, listener.port), Number.POSITIVE_INFINITY)
  return candidates.filter(({ listener }) => listener.port === lowest)
}
