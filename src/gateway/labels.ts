/** Kubernetes label selectors. @see Kubernetes meta/v1 LabelSelector */

import type { LabelSelector } from './manifests.ts'

export type Labels = ReadonlyMap<string, string>

/** Every condition must hold. An empty selector selects everything. `NotIn` holds for an object without the label. */
export function selects({ matchLabels, matchExpressions }: LabelSelector, labels: Labels): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels.get(key) === value) &&
    matchExpressions.every(({ key, operator, values }) => {
      const value = labels.get(key)
      switch (operator) {
        case 'In':
          return value !== undefined && values.includes(value)
        case 'NotIn':
          return value === undefined || !values.includes(value)
        case 'Exists':
          return value !== undefined
        case 'DoesNotExist':
          return value === undefined
      }
    })
  )
}
