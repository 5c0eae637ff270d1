const perMillisecond = 1_000_000

/** Durations on the wire are 64-bit nanoseconds, more than a number holds exactly; ours are milliseconds. */
export function toNanoseconds(ms: number): bigint {
  const whole = Math.trunc(ms)
  return BigInt(whole) * BigInt(perMillisecond) + BigInt(Math.round((ms - whole) * perMillisecond))
}

/** @returns milliseconds, with a fraction */
export function fromNanoseconds(nanoseconds: bigint): number {
  const divisor = BigInt(perMillisecond)
  return Number(nanoseconds / divisor) + Number(nanoseconds % divisor) / perMillisecond
}
