import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { getCACertificates, setDefaultCACertificates, type TLSSocket } from 'node:tls'
import { afterAll, expect, test } from 'vitest'
import { createTestAuthority } from '../support/certificates.ts'
import { startProxy, type WireRule } from '../support/proxy.ts'
import { ask } from '../support/raw-client.ts'

type WireTls = NonNullable<NonNullable<WireRule['backends']>[number]['tls']>

const authority = await createTestAuthority()
const stranger = await createTestAuthority('Stranger')
const certificate = await authority.issue([{ type: 'dns', value: 'svc.example' }])
const ours = await authority.issue([{ type: 'dns', value: 'gateway.example' }])
const theirs = await stranger.issue([{ type: 'dns', value: 'gateway.example' }])
const caBundle = authority.certificate

/** Node's own server, which asks for a client certificate. */
const server: Server = createServer(
  { ...certificate, ca: caBundle, requestCert: true, rejectUnauthorized: true },
  (request, response) => {
    const socket = request.socket as TLSSocket
    response.end(`${String(socket.servername)} ${socket.getPeerCertificate().subjectaltname ?? ''}`)
  },
)
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
afterAll(() => {
  server.closeAllConnections()
  server.close()
})

const clientCertificate = ({ cert, key }: { cert: string; key: string }): WireTls => ({
  clientCertPem: btoa(cert),
  clientKeyPem: btoa(key),
})

test.each<[string, WireTls, boolean]>([
  ['the one that it trusts', clientCertificate(ours), true],
  ["a stranger's", clientCertificate(theirs), false],
  ['none', {}, false],
])('a backend that wants a client certificate, and gets %s', async (_, more, served) => {
  await using rig = await startProxy([
    { backends: [{ url, weight: 1, tls: { caBundle, serverName: 'svc.example', ...more } }] },
  ])
  const answer = await ask(rig.address, '/')
  expect([200, 502, 503]).toContain(answer.status)
  expect(answer.status === 200).toBe(served)
  expect(answer.text === 'svc.example DNS:gateway.example').toBe(served)
})

test('an empty bundle trusts nobody, not even whom the system trusts', async () => {
  const before = getCACertificates('default')
  setDefaultCACertificates([...before, caBundle])
  try {
    const client = clientCertificate(ours)
    const statusWith = async (tls: WireTls): Promise<number> => {
      await using rig = await startProxy([
        { backends: [{ url, weight: 1, tls: { serverName: 'svc.example', ...client, ...tls } }] },
      ])
      return (await ask(rig.address, '/')).status
    }
    expect(await statusWith({})).toBe(200)
    expect(await statusWith({ caBundle: '' })).toBe(502)
  } finally {
    setDefaultCACertificates(before)
  }
})
