/**
 * Which Services are only to be spoken to over TLS. What the policies ask for is not honoured yet; so that nobody's
 * requests travel in plain text where TLS was demanded, those Services are not spoken to at all.
 *
 * @see Gateway API BackendTLSPolicy (GEP-1897): never fall back to plain text
 */

import { z } from 'zod'
import type { Report } from './diagnostics.ts'
import { read, readItems } from './reading.ts'

const targetRef = z.object({
  group: z.string(),
  kind: z.string(),
  name: z.string(),
  sectionName: z.string().optional(),
})

/** What a policy is for: a whole Service, or its port of one name. */
export interface TlsTarget {
  readonly service: string
  readonly portName: string | undefined
}

export function readTlsTargets(targetRefs: readonly unknown[], report: Report): TlsTarget[] {
  const reading = { field: 'spec.targetRefs', report, consequence: 'the policy does not apply to it' }
  const items = readItems(targetRefs, reading, 16) ?? []
  return items.flatMap((item, i) => {
    const ref = read(targetRef, item, { ...reading, field: `spec.targetRefs[${i}]` })
    return ref?.group === '' && ref.kind === 'Service' ? [{ service: ref.name, portName: ref.sectionName }] : []
  })
}

export function demandsTls(targets: readonly TlsTarget[], service: string, portName: string): boolean {
  return targets.some((target) => target.service === service && (target.portName ?? portName) === portName)
}
