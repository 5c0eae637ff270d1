/** Who may point into another namespace. @see Gateway API ReferenceGrant (GEP-709) */

import type { Report } from './diagnostics.ts'
import { grantFrom, type GrantFrom, grantTo, type GrantTo } from './manifests.ts'
import { read, readItems } from './reading.ts'

export interface Grant {
  readonly from: readonly GrantFrom[]
  readonly to: readonly GrantTo[]
}

/** The grants that lie in a namespace, which is the one pointed into. */
export type Grants = ReadonlyMap<string, readonly Grant[]>

export interface Referrer {
  readonly group: string
  readonly kind: string
  readonly namespace: string
}

export interface ReferenceTarget extends Referrer {
  readonly name: string
}

/** Entries that do not fit are left out: they grant nothing, and the others stay as they are. */
export function readGrant(spec: { from: readonly unknown[]; to: readonly unknown[] }, report: Report): Grant {
  const consequence = 'this entry grants nothing'
  return {
    from: readEach(spec.from, 'spec.from', (value, field) => read(grantFrom, value, { field, report, consequence })),
    to: readEach(spec.to, 'spec.to', (value, field) => read(grantTo, value, { field, report, consequence })),
  }

  function readEach<T>(
    items: readonly unknown[],
    field: string,
    readOne: (value: unknown, field: string) => T | undefined,
  ): T[] {
    const all = readItems(items, { field, report, consequence }, 16) ?? []
    return all.map((value, i) => readOne(value, `${field}[${i}]`)).filter((item) => item !== undefined)
  }
}

/**
 * Whether a reference may be followed: always inside a namespace, and otherwise if one grant in the target's namespace
 * names the referrer and the target. Names are compared as they are; there are no wildcards.
 */
export function isPermitted(grants: Grants, from: Referrer, to: ReferenceTarget): boolean {
  if (from.namespace === to.namespace) return true
  return (grants.get(to.namespace) ?? []).some(
    (grant) =>
      grant.from.some((f) => f.group === from.group && f.kind === from.kind && f.namespace === from.namespace) &&
      grant.to.some((t) => t.group === to.group && t.kind === to.kind && (t.name === undefined || t.name === to.name)),
  )
}
