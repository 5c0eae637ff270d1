import { expect, test } from 'vitest'
import { type TlsClientOptions } from '../../src/runtime.ts'
import { createTestAuthority } from '../support/certificates.ts'
import { runtime } from '../support/service.ts'

const servername = 'edge.example.com'

/** @returns what becomes of a dial to a server whose certificate is of the first authority */
async function dial(trust: (ca: string, other: string) => Partial<TlsClientOptions>): Promise<string> {
  const authority = await createTestAuthority()
  const other = await createTestAuthority('Another authority')
  const tls = await authority.issue([{ type: 'dns', value: servername }])
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, { tls }, (socket) => {
    socket.attach({ data: () => true, drain() {}, end: () => socket.end(), close() {} })
  })
  const options = { timeoutMs: 5_000, tls: { servername, ...trust(authority.certificate, other.certificate) } }
  const dialled = await runtime.connect(listener.address, options).then(
    (socket) => {
      socket.destroy()
      return 'connected'
    },
    ({ code }: { code: string }) => code,
  )
  await listener.close()
  return dialled
}

test.each<[string, (ca: string, other: string) => Partial<TlsClientOptions>, string]>([
  ['the system’s alone', () => ({}), 'tls'],
  ['the server’s beside the system’s', (ca) => ({ extraCa: ca }), 'connected'],
  ['several beside the system’s', (ca, other) => ({ extraCa: `${other}\n${ca}` }), 'connected'],
  ['another beside the system’s', (_, other) => ({ extraCa: other }), 'tls'],
  ['another instead of the system’s, whatever is beside them', (ca, other) => ({ ca: other, extraCa: ca }), 'tls'],
])('roots: %s', async (_, trust, outcome) => {
  expect(await dial(trust)).toBe(outcome)
})
