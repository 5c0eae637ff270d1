import type { Condition } from './condition.ts'

/** The method, exactly as written. Gateway API HTTPMethod. */
export function methodCondition(method: string): Condition {
  return {
    key: 'method',
    exact: method,
    read: ({ request }) => [request.method],
    holds: ({ request }) => request.method === method,
  }
}
