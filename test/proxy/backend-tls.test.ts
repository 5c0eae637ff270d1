import { expect, test } from 'vitest'
import { createTestAuthority } from '../support/certificates.ts'
import { echo, startBackend } from '../support/test-backend.ts'
import { startProxy, type WireRule } from '../support/proxy.ts'
import { ask } from '../support/raw-client.ts'
import { until } from '../support/until.ts'

type WireTls = NonNullable<NonNullable<WireRule['backends']>[number]['tls']>

const authority = await createTestAuthority()
const stranger = await createTestAuthority('Stranger')
const certificate = await authority.issue([
  { type: 'dns', value: 'svc.example' },
  { type: 'dns', value: '*.wild.example' },
  { type: 'url', value: 'spiffe://cluster/ns/shop' },
  { type: 'ip', value: '127.0.0.1' },
])
const caBundle = authority.certificate

test.each<[string, WireTls | undefined, number]>([
  ['the authority and the name are the expected ones', { caBundle, serverName: 'svc.example' }, 200],
  ['the name is covered by a wildcard', { caBundle, serverName: 'a.wild.example' }, 200],
  ['the address is what the certificate is for', { caBundle }, 200],
  ['another name', { caBundle, serverName: 'other.example' }, 502],
  ['a wildcard covers one label only', { caBundle, serverName: 'a.b.wild.example' }, 502],
  ['another authority', { caBundle: stranger.certificate, serverName: 'svc.example' }, 502],
  ["the system's authorities, who do not know ours", { serverName: 'svc.example' }, 502],
  ['no options at all', undefined, 502],
  [
    'an authority that is no certificate',
    { caBundle: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', serverName: 'svc.example' },
    502,
  ],
  ['an empty bundle trusts nobody', { caBundle: '', serverName: 'svc.example' }, 502],
  [
    'one of the alternative names',
    { caBundle, serverName: 'sni.example', subjectAltNames: ['x.example', 'svc.example'] },
    200,
  ],
  [
    'one of the alternative URIs',
    { caBundle, serverName: 'sni.example', subjectAltNameUris: ['spiffe://cluster/ns/shop'] },
    200,
  ],
  [
    'none of the alternative names, though the server name fits',
    { caBundle, serverName: 'svc.example', subjectAltNames: ['x.example'] },
    502,
  ],
  [
    'a URI that is the beginning of one',
    { caBundle, serverName: 'svc.example', subjectAltNameUris: ['spiffe://cluster/ns'] },
    502,
  ],
])('TLS to a backend: %s', async (_, tls, status) => {
  await using backend = await startBackend(echo(), { tls: certificate })
  await using rig = await startProxy([{ backends: [{ url: backend.url, weight: 1, ...(tls ? { tls } : {}) }] }])
  const answer = await ask(rig.address, '/', { method: 'POST', body: 'secret' })
  expect(answer.status).toBe(status)
  expect(backend.asked.length).toBe(status === 200 ? 1 : 0)
  const error = rig.records[0]?.error
  expect(error?.kind === 'upstream' ? error.phase : error).toBe(status === 200 ? undefined : 'tls')
})

test('TLS is spoken where there are options for it, whatever the scheme', async () => {
  await using backend = await startBackend(echo(), { tls: certificate })
  const url = backend.url.replace('https:', 'http:')
  await using rig = await startProxy([{ backends: [{ url, weight: 1, tls: { caBundle, serverName: 'svc.example' } }] }])
  expect((await ask(rig.address, '/')).status).toBe(200)
})

test('the Host of a request has no part in the handshake', async () => {
  await using backend = await startBackend(echo(), { tls: certificate })
  await using rig = await startProxy([
    {
      filters: [{ type: 'URLRewrite', urlRewrite: { hostname: 'rewritten.example' } }],
      backends: [{ url: backend.url, weight: 1, tls: { caBundle, serverName: 'svc.example' } }],
    },
  ])
  expect(JSON.parse((await ask(rig.address, '/')).text)).toMatchObject({ host: 'rewritten.example' })
})

test('a certificate that has run out: 502', async () => {
  const expired = await authority.issue([{ type: 'dns', value: 'svc.example' }], { expired: true })
  await using backend = await startBackend(echo(), { tls: expired })
  await using rig = await startProxy([
    { backends: [{ url: backend.url, weight: 1, tls: { caBundle, serverName: 'svc.example' } }] },
  ])
  expect((await ask(rig.address, '/')).status).toBe(502)
})

test('a backend that speaks no TLS: 502', async () => {
  await using backend = await startBackend(echo())
  const url = backend.url.replace('http:', 'https:')
  await using rig = await startProxy([{ backends: [{ url, weight: 1, tls: { caBundle, serverName: 'svc.example' } }] }])
  expect((await ask(rig.address, '/')).status).toBe(502)
})

test('a TLS connection is kept, and a large body passes through it both ways', async () => {
  await using backend = await startBackend(echo(), { tls: certificate })
  await using rig = await startProxy([
    { backends: [{ url: backend.url, weight: 1, tls: { caBundle, serverName: 'svc.example' } }] },
  ])
  const body = 'x'.repeat(3_000_000)
  for (let i = 0; i < 3; i++) {
    const answer = await ask(rig.address, '/', { method: 'POST', body })
    expect((JSON.parse(answer.text) as { body: string }).body === body).toBe(true)
  }
  expect(backend.accepted).toBe(1)
})

test('a mirror is spoken to over TLS as its options say', async () => {
  await using primary = await startBackend(echo())
  await using mirror = await startBackend(echo(), { tls: certificate })
  const requestMirror = { backendUrl: mirror.url, tls: { caBundle, serverName: 'svc.example' } }
  await using rig = await startProxy([
    { filters: [{ type: 'RequestMirror', requestMirror }], backends: [{ url: primary.url, weight: 1 }] },
  ])
  await ask(rig.address, '/')
  await until(() => mirror.asked.length === 1)
})
