/** What is counted of the requests that come over edge connections. */
import { type Outcome } from '../runtime.ts'

export interface RequestCounts {
  total: number
  /** Requests that the connector itself failed. */
  errors: number
  concurrent: number
  /** The most there have been at a time, by connection. */
  readonly mostConcurrent: Map<number, number>
  readonly byStatus: Map<number, number>
}

export function createRequestCounts(): RequestCounts {
  return { total: 0, errors: 0, concurrent: 0, mostConcurrent: new Map(), byStatus: new Map() }
}

/** @returns what to call when it is over */
export function countRequest(counts: RequestCounts, connIndex: number, concurrentHere: number): (end: Outcome) => void {
  counts.total++
  counts.concurrent++
  if (concurrentHere > (counts.mostConcurrent.get(connIndex) ?? 0)) counts.mostConcurrent.set(connIndex, concurrentHere)
  return ({ status }) => {
    counts.concurrent--
    if (status > 0) counts.byStatus.set(status, (counts.byStatus.get(status) ?? 0) + 1)
  }
}
