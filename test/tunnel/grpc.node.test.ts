import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { status, type ClientDuplexStream, type StatusObject } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatAddress } from '../../src/options/address.ts'
import { silentLog } from '../../src/telemetry.ts'
import { createTimers } from '../../src/timers.ts'
import { startEdge, type Edge } from '../../src/tunnel/edge/edge.ts'
import { createTestAuthority, type TestAuthority } from '../support/certificates.ts'
import { createGrpcClient, service, startGrpcBackend, type GrpcBackend, type GrpcClient } from '../support/grpc.ts'
import { runtime, startService, type TestService } from '../support/service.ts'
import { until } from '../support/until.ts'

/*
 * A gRPC client and a gRPC server that are not ours, and everything of ours between them:
 * client → h2c listener → proxy → h2c backend, and client → edge → tunnel over HTTP/2 → proxy → h2c backend.
 */
const loopback = { host: '127.0.0.1', port: 0 }
const authority = 'grpc.example.com'

let folder: string
let backend: GrpcBackend
let secured: GrpcBackend
let authorityOfBackend: TestAuthority
let edge: Edge
let proxy: TestService
const clients: GrpcClient[] = []

function rulesFor(port: number): unknown {
  const matching = (value: string): unknown => [{ path: { type: 'PathPrefix', value } }]
  const to = (url: string, more = {}): unknown => [{ url, weight: 1, protocol: 'h2c', ...more }]
  return {
    version: 1,
    hasGrpcRoute: true,
    rules: [
      { hostnames: [authority], matches: matching(`/${service}`), backends: to(`http://127.0.0.1:${port}`) },
      {
        hostnames: ['tls.example.com'],
        backends: [
          {
            url: `https://127.0.0.1:${secured.port}`,
            weight: 1,
            tls: { caBundle: authorityOfBackend.certificate, serverName: 'svc.example' },
          },
        ],
      },
      { hostnames: ['dead.example.com'], backends: to('http://127.0.0.1:1') },
      { hostnames: ['bad.example.com'], backends: to('http://bad.invalid', { unavailableStatus: 500 }) },
      { hostnames: ['late.example.com'], backends: to(`http://127.0.0.1:${port}`), timeouts: { request: '50ms' } },
    ],
  }
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'headgate-grpc-'))
  backend = await startGrpcBackend()
  authorityOfBackend = await createTestAuthority()
  secured = await startGrpcBackend(await authorityOfBackend.issue([{ type: 'dns', value: 'svc.example' }]))
  edge = await startEdge({
    runtime,
    timers: createTimers(runtime.clock),
    log: silentLog,
    servers: [loopback],
    eyeballs: loopback,
  })
  const edgeCa = join(folder, 'ca.pem')
  await writeFile(edgeCa, edge.certificate)
  proxy = await startService({
    tunnelToken: edge.mint().token,
    edge: edge.servers.map(({ address }) => formatAddress(address)),
    edgeCa,
    protocol: 'auto',
  })
  const answer = await fetch(`${proxy.adminUrl}/config`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(rulesFor(backend.port)),
  })
  expect([answer.status, await answer.json()]).toMatchObject([200, { diagnostics: [] }])
  await until(() => proxy.tunnel?.ready === 1 && edge.connections[0]?.phase === 'registered')
})

afterAll(async () => {
  for (const client of clients) client.close()
  await proxy.stop()
  await edge.close()
  backend.close()
  secured.close()
  await rm(folder, { recursive: true, force: true })
})

const ways: readonly (readonly [string, () => string])[] = [
  ['a listener', () => formatAddress(proxy.entries[0]!.address)],
  ['the tunnel', () => formatAddress(edge.eyeballs!)],
]

describe.each(ways)('gRPC through %s', (_, address) => {
  function clientFor(name = authority): GrpcClient {
    const client = createGrpcClient(address(), name)
    clients.push(client)
    return client
  }

  test('unary: message, metadata before and trailers after it', async () => {
    const reply = await clientFor().say(Buffer.from('hello'), { metadata: { 'x-asked': 'yes' } })
    expect(reply.message.toString()).toBe('hello')
    expect(reply.metadata.get('x-before')).toEqual(['yes'])
    expect(reply.trailers.get('x-after')).toEqual(['trailer'])
    expect(reply.trailers.get('x-bytes-bin')).toEqual([Buffer.from([0, 255, 10])])
    expect(backend.authorities.at(-1)).toBe(authority)
  })

  test('an error of the server, Trailers-Only, keeps its code, its text and its metadata', async () => {
    const failed = clientFor().say(Buffer.alloc(0), { metadata: { fail: '7' } })
    await expect(failed).rejects.toMatchObject({ code: status.PERMISSION_DENIED, details: 'as you wish: é' })
    const { metadata } = (await failed.catch((error: StatusObject) => error)) as StatusObject
    expect(metadata.get('x-after')).toEqual(['trailer'])
  })

  test('server streaming: every message in order, and the status behind them', async () => {
    const call = clientFor().count(500)
    const ended = once(call, 'status') as Promise<[StatusObject]>
    const seen: number[] = []
    for await (const message of call) seen.push(Number(String(message)))
    expect(seen).toEqual(Array.from({ length: 500 }, (__, i) => i + 1))
    expect((await ended)[0].code).toBe(status.OK)
  })

  test('server streaming that fails behind its messages', async () => {
    const call = clientFor().count(3, { metadata: { fail: '10' } })
    const seen: string[] = []
    const read = async (): Promise<void> => {
      for await (const message of call) seen.push(String(message))
    }
    await expect(read()).rejects.toMatchObject({ code: status.ABORTED, details: 'after all that' })
    expect(seen).toEqual(['1', '2', '3'])
  })

  test('client streaming: 64 messages of 64 KiB', async () => {
    const message = Buffer.alloc(65_536, 7)
    expect(await clientFor().sum(Array.from({ length: 64 }, () => message))).toBe(64 * 65_536)
  })

  test('bidirectional: each side hears the other while both go on', async () => {
    const call = clientFor().talk()
    const ended = once(call, 'status') as Promise<[StatusObject]>
    for (let i = 0; i < 20; i++) expect(await exchange(call, `message ${i}`)).toBe(`message ${i}`)
    call.end()
    expect((await ended)[0].code).toBe(status.OK)
  })

  test('messages of 3 MiB, both ways', async () => {
    const message = Buffer.alloc(3 * 1_048_576)
    for (let at = 0; at < message.length; at++) message[at] = at ^ (at >> 8)
    const reply = await clientFor().say(message)
    expect(reply.message.equals(message)).toBe(true)
  })

  test('a backend over TLS, by ALPN', async () => {
    const reply = await clientFor('tls.example.com').say(Buffer.from('hello'))
    expect(reply.message.toString()).toBe('hello')
    expect(reply.trailers.get('x-after')).toEqual(['trailer'])
  })

  test('a hundred calls at once on one connection', async () => {
    const client = clientFor()
    const replies = await Promise.all(
      Array.from({ length: 100 }, (__, i) =>
        client.say(Buffer.from(`call ${i}`)).then(({ message }) => String(message)),
      ),
    )
    expect(replies).toEqual(Array.from({ length: 100 }, (__, i) => `call ${i}`))
  })

  test.each([
    ['no route', 'other.example.com', status.UNIMPLEMENTED],
    ['a backend that refuses', 'dead.example.com', status.UNAVAILABLE],
    ['an invalid backend reference', 'bad.example.com', status.UNAVAILABLE],
  ])('our own answer for %s is a status of gRPC', async (__, name, code) => {
    await expect(clientFor(name).say(Buffer.from('hello'))).rejects.toMatchObject({ code })
  })

  test("a route's time limit that passes is DEADLINE_EXCEEDED", async () => {
    expect(await clientFor('late.example.com').hang().failed).toMatchObject({ code: status.DEADLINE_EXCEEDED })
  })
})

describe.each(ways)('a call through %s that its client gives up', (_, address) => {
  test.each([
    ['by cancelling it', undefined, status.CANCELLED],
    ['at its deadline', 200, status.DEADLINE_EXCEEDED],
  ])('%s is cancelled at the server', async (__, deadlineMs, code) => {
    const own = await startGrpcBackend()
    const client = createGrpcClient(address(), authority)
    try {
      const pushed = await fetch(`${proxy.adminUrl}/config?force=true`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(rulesFor(own.port)),
      })
      expect(pushed.status).toBe(200)
      const call = client.hang(deadlineMs)
      await until(() => own.authorities.length === 1)
      if (deadlineMs === undefined) call.cancel()
      expect(await call.failed).toMatchObject({ code })
      await own.cancelled
      await until(() => proxy.proxy.stats.inFlight === 0)
    } finally {
      client.close()
      own.close()
    }
  })
})

test('a server that ends its connections after a while loses no call: what it did not get to is sent again', async () => {
  const own = await startGrpcBackend(undefined, {
    'grpc.max_connection_age_ms': 50,
    'grpc.max_connection_age_grace_ms': 10_000,
  })
  const served = await startService({})
  const client = createGrpcClient(formatAddress(served.entries[0]!.address), authority)
  try {
    const answer = await fetch(`${served.adminUrl}/config`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(rulesFor(own.port)),
    })
    expect(answer.status).toBe(200)
    const message = Buffer.alloc(1_000, 7)
    const callAgainAndAgain = async (): Promise<void> => {
      for (let i = 0; i < 100; i++) expect((await client.say(message)).message.equals(message)).toBe(true)
    }
    await Promise.all(Array.from({ length: 10 }, callAgainAndAgain))
    expect(own.peers.size).toBeGreaterThan(1)
  } finally {
    client.close()
    await served.stop()
    own.close()
  }
})

test('a GRPCRoute from manifests serves its service, and nothing else', async () => {
  const manifests = join(folder, 'route.yaml')
  await writeFile(
    manifests,
    `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: web }
spec: { gatewayClassName: headgate, listeners: [{ name: http, port: 80, protocol: HTTP }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: calls }
spec:
  parentRefs: [{ name: web }]
  hostnames: [${authority}]
  rules:
    - matches: [{ method: { service: ${service}, method: Say } }]
      filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-asked, value: by-route }] } }]
      backendRefs: [{ name: echo, port: 9000 }]
---
apiVersion: v1
kind: Service
metadata: { name: echo }
spec: { ports: [{ port: 9000 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: echo, labels: { kubernetes.io/service-name: echo } }
addressType: IPv4
ports: [{ port: ${backend.port} }]
endpoints: [{ addresses: [127.0.0.1] }]
`,
  )
  const served = await startService({ manifests: [manifests] })
  const client = createGrpcClient(formatAddress(served.entries[0]!.address), authority)
  try {
    expect(served.proxy.config?.hasGrpcRoute).toBe(true)
    const reply = await client.say(Buffer.from('hello'), { metadata: { 'x-asked': 'by client' } })
    expect([reply.message.toString(), reply.metadata.get('x-before')]).toEqual(['hello', ['by-route']])
    await expect(client.sum([Buffer.from('hello')])).rejects.toMatchObject({ code: status.UNIMPLEMENTED })
  } finally {
    client.close()
    await served.stop()
  }
})

function exchange(call: ClientDuplexStream<Buffer, Buffer>, text: string): Promise<string> {
  const answer = once(call, 'data') as Promise<[Buffer]>
  call.write(Buffer.from(text))
  return answer.then(([message]) => message.toString())
}
