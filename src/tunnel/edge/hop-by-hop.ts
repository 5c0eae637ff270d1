/** Fields of one hop alone. RFC 9110 section 7.6.1. */
const always: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])

/** What `Connection` names, and the fields that are always meant, in lower case. */
export function connectionOptions(connection: string | null): ReadonlySet<string> {
  const names = new Set(always)
  for (const option of (connection ?? '').split(',')) {
    const name = option.trim().toLowerCase()
    // TE has a meaning of its own on the next hop, and the engine knows it.
    if (name !== '' && name !== 'te' && name !== 'close' && name !== 'host') names.add(name)
  }
  return names
}
