/** What was thrown, as part of one line of a log, with its cause. A resolver's errors are no Errors. */
export function describeThrown(thrown: unknown): string {
  const what = messageOf(thrown) ?? 'unknown error'
  const why = thrown instanceof Error ? messageOf(thrown.cause) : undefined
  return why === undefined ? what : `${what}: ${why}`
}

function messageOf(thrown: unknown): string | undefined {
  if (typeof thrown === 'string') return thrown
  return typeof thrown === 'object' && thrown !== null && 'message' in thrown ? String(thrown.message) : undefined
}
