/**
 * Who serves a host: HTTPRoutes or GRPCRoutes. On one listener both kinds may not serve hosts that intersect; the older
 * route's kind has them, and the younger route is not attached there.
 *
 * @see Gateway API GRPCRouteSpec.hostnames, GEP-1016
 */

import type { Attachment } from './attach.ts'
import type { ObjectName, Report } from './diagnostics.ts'

export interface Claims {
  /** Call it for the older route first. @returns the attachments that the route may keep */
  claim(attachments: readonly Attachment[], route: Claimant, report: Report): Attachment[]
}

interface Claimant extends ObjectName {
  readonly kind: 'HTTPRoute' | 'GRPCRoute'
}

/** What one kind serves on one listener: patterns, each with the first route that claimed it. */
interface Claimed {
  /** By hostname, wildcards among them; '' for every host. */
  readonly names: Map<string, Claimant>
  /** By each pattern that covers a claimed name. */
  readonly covering: Map<string, Claimant>
}

const every = ''

export function createClaims(): Claims {
  const byKind = { HTTPRoute: new Map<string, Claimed>(), GRPCRoute: new Map<string, Claimed>() }

  function claim(attachment: Attachment, route: Claimant): void {
    const { name } = attachment.listener
    let claimed = byKind[route.kind].get(name)
    if (claimed === undefined) byKind[route.kind].set(name, (claimed = { names: new Map(), covering: new Map() }))
    for (const hostname of hostnamesOf(attachment)) {
      if (!claimed.names.has(hostname)) claimed.names.set(hostname, route)
      for (const pattern of coveringPatterns(hostname)) {
        if (!claimed.covering.has(pattern)) claimed.covering.set(pattern, route)
      }
    }
  }

  function findRival(attachment: Attachment, { kind }: Claimant): Claimant | undefined {
    const claimed = byKind[kind === 'HTTPRoute' ? 'GRPCRoute' : 'HTTPRoute'].get(attachment.listener.name)
    if (claimed === undefined) return undefined
    for (const hostname of hostnamesOf(attachment)) {
      for (const pattern of [hostname, ...coveringPatterns(hostname)]) {
        const rival = claimed.names.get(pattern)
        if (rival !== undefined) return rival
      }
      const rival = claimed.covering.get(hostname)
      if (rival !== undefined) return rival
    }
    return undefined
  }

  return {
    claim(attachments, route, report) {
      return attachments.filter((attachment) => {
        const rival = findRival(attachment, route)
        if (rival === undefined) {
          claim(attachment, route)
          return true
        }
        report({
          level: 'error',
          field: 'spec.hostnames',
          message: `${rival.kind} ${rival.namespace}/${rival.name}, which is older, serves hosts of it on listener ${attachment.listener.name}; the route is not attached there`,
          fix: `Give ${route.kind}s hostnames of their own`,
          condition: { type: 'Accepted', reason: 'HostnameConflict' },
        })
        return false
      })
    },
  }
}

function hostnamesOf({ hostnames }: Attachment): readonly string[] {
  return hostnames.length === 0 ? [every] : hostnames
}

/** `*.b.c`, `*.c` and every host for `a.b.c`. */
function coveringPatterns(hostname: string): string[] {
  if (hostname === every) return []
  const labels = hostname.split('.')
  return [...labels.slice(1).map((_, i) => `*.${labels.slice(i + 1).join('.')}`), every]
}
