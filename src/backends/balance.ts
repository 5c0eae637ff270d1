/** Which of a backend's endpoints gets a request. */

/** What is looked at. */
export interface Candidate {
  readonly pool: { readonly inFlight: number; readonly suspect: boolean }
}

/**
 * The less busy of two drawn at random comes close to the least busy of all, without looking at all. An endpoint that
 * could not be reached a moment ago is passed by where there is another.
 *
 * @param random returns a number in [0, 1)
 * @param not    an endpoint to pass by where there is another
 */
export function pickEndpoint<T extends Candidate>(
  endpoints: readonly T[],
  random: () => number,
  not?: T,
): T | undefined {
  const count = endpoints.length
  if (count <= 1) return endpoints[0]
  const first = Math.floor(random() * count)
  const second = (first + 1 + Math.floor(random() * (count - 1))) % count
  const a = endpoints[first]!
  const b = endpoints[second]!
  const useA = a !== not && !a.pool.suspect
  const useB = b !== not && !b.pool.suspect
  if (useA && useB) return b.pool.inFlight < a.pool.inFlight ? b : a
  if (useA) return a
  if (useB) return b
  let reachable: T | undefined // but suspect
  for (let i = 0; i < count; i++) {
    const endpoint = endpoints[(first + i) % count]!
    if (endpoint === not) continue
    if (!endpoint.pool.suspect) return endpoint
    reachable ??= endpoint
  }
  return reachable
}
