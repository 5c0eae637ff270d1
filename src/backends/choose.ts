/** The weighted choice among a rule's backends. */

/**
 * Prepares the choice.
 *
 * @param weights whole numbers of 0 or more, in manifest order
 * @returns running sums, one per backend; the last is the total
 */
export function sumWeights(weights: readonly number[]): readonly number[] {
  let total = 0
  return weights.map((weight) => (total += weight))
}

/**
 * Chooses one backend in proportion to its weight.
 *
 * @param sums   as from {@link sumWeights}
 * @param random in [0, 1)
 * @returns the index, or -1 when every weight is 0
 * @see Gateway API, BackendRef.weight (a weight of 0 receives no traffic)
 */
export function chooseIndex(sums: readonly number[], random: number): number {
  const total = sums.length === 0 ? 0 : sums[sums.length - 1]!
  if (total === 0) return -1
  const drawn = random * total
  let i = 0
  while (sums[i]! <= drawn) i++
  return i
}
