import { expect, test } from 'vitest'
import { createProxy } from '../../src/proxy/proxy.ts'
import { closedAddress, echo, startBackend, startRawBackend } from '../support/test-backend.ts'
import { configOf, startProxy, toBackend, type WireRule } from '../support/proxy.ts'
import { ask } from '../support/raw-client.ts'
import { runtime } from '../support/runtime.ts'

const dead = await closedAddress()
const deadUrl = `http://127.0.0.1:${dead.port}`

/** Rules that fail without any backend, and what the answer is to HTTP and to gRPC. */
const failing: readonly [rule: string, rules: WireRule[], status: number, grpc: string][] = [
  ['no rule matches: 404', [{ hostnames: ['other.example'], backends: [] }], 404, '12'],
  ['no rule at all: 404', [], 404, '12'],
  ['a rule without backends: 500', [{}], 500, '14'],
  ['all weights 0: 500', [{ backends: [{ url: deadUrl, weight: 0 }] }], 500, '14'],
  ['an invalid backendRef: 500', [{ backends: [{ url: '', weight: 1, unavailableStatus: 500 }] }], 500, '14'],
  ['an unready backend by status: 503', [{ backends: [{ url: '', weight: 1, unavailableStatus: 503 }] }], 503, '14'],
  ['a broken TLS policy by status: 502', [{ backends: [{ url: '', weight: 1, unavailableStatus: 502 }] }], 502, '14'],
  ['no ready endpoints: 503', [{ backends: [{ url: deadUrl, weight: 1, endpoints: [] }] }], 503, '14'],
  ['an unservable rule: its status', [{ unavailableStatus: 500, ...toBackend(deadUrl)[0] }], 500, '14'],
  ['a backend that cannot be reached: 503', toBackend(deadUrl), 503, '14'],
]

test.each(failing)('%s', async (_, rules, status) => {
  await using rig = await startProxy(rules)
  const answer = await ask(rig.address, '/')
  expect(answer.status).toBe(status)
  expect(answer.header('content-type')).toBe('text/plain; charset=utf-8')
  expect(answer.text).not.toContain('127.0.0.1')
})

test.each(failing)('%s; to gRPC as Trailers-Only', async (_, rules, __, grpc) => {
  await using rig = await startProxy(rules)
  const headers = [['Content-Type', 'application/grpc+proto']] as const
  const answer = await ask(rig.address, '/pkg.Service/Method', { method: 'POST', headers, body: 'x' })
  expect([answer.status, answer.header('content-type'), answer.header('grpc-status')]).toEqual([
    200,
    'application/grpc',
    grpc,
  ])
  expect(answer.header('grpc-message')).toBeTruthy()
  expect(answer.bytes.length).toBe(0)
})

test.each(failing)('%s; the same to a plain Request', async (_, rules, status) => {
  const proxy = createProxy({ runtime, allowLoopbackBackends: true })
  proxy.apply(configOf(rules))
  const answer = await proxy.fetch(new Request('http://a.example/'))
  expect(answer.status).toBe(status)
  await answer.text()
})

test('grpc-web is no gRPC', async () => {
  await using rig = await startProxy([])
  const headers = [['Content-Type', 'application/grpc-web+proto']] as const
  expect((await ask(rig.address, '/', { headers })).status).toBe(404)
})

test.each([
  ['no answer at all: 503', (): string => '', 503],
  ['half a head: 503', (): string => 'HTTP/1.1 200 OK\r\nContent-', 503],
  ['no HTTP: 502', (): string => 'SSH-2.0-OpenSSH_9\r\n\r\n', 502],
  ['a bare LF: 502', (): string => 'HTTP/1.1 200 OK\nContent-Length: 0\n\r\n\r\n', 502],
  ['two lengths: 502', (): string => 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx', 502],
  [
    'a 101 that nobody asked for: 502',
    (): string => 'HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    502,
  ],
])('a backend that gives %s', async (_, say, status) => {
  await using backend = await startRawBackend(async (peer) => {
    await peer.bytes(1)
    peer.write(say())
    peer.finish()
  })
  await using rig = await startProxy(toBackend(backend.url))
  const answer = await ask(rig.address, '/')
  expect([answer.status, answer.text]).toEqual([
    status,
    status === 503 ? 'backend unavailable\n' : 'invalid answer from the backend\n',
  ])
})

test('before a config has been applied: 503', async () => {
  const proxy = createProxy({ runtime })
  expect((await proxy.fetch(new Request('http://a.example/'))).status).toBe(503)
  expect(proxy.config).toBeUndefined()
})

test('the error of a backend is no error of ours: it passes as it is', async () => {
  await using backend = await startBackend(() => new Response('mine', { status: 503, headers: { 'x-mine': '1' } }))
  await using rig = await startProxy(toBackend(backend.url))
  const answer = await ask(rig.address, '/')
  expect([answer.status, answer.text, answer.header('x-mine')]).toEqual([503, 'mine', '1'])
  expect(rig.records[0]?.error).toBeUndefined()
})

test.each([
  ['/a/../b', '/b'],
  ['/a/%2e%2E/b?x=/../y', '/b?x=/../y'],
  ['/a%2Fb//c', '/a%2Fb//c'],
])('%s is matched and forwarded as %s', async (target, forwarded) => {
  await using backend = await startBackend(echo())
  await using rig = await startProxy([
    { matches: [{ path: { type: 'Exact', value: forwarded.replace(/\?.*/, '') } }], ...toBackend(backend.url)[0] },
  ])
  expect(JSON.parse((await ask(rig.address, target)).text)).toMatchObject({ target: forwarded })
})

test.each([
  ['a backslash', '/a\\b', undefined],
  ['dot segments where they are rejected', '/a/../b', 'reject'],
] as const)('%s is answered 400', async (_, target, pathNormalization) => {
  await using rig = await startProxy([], pathNormalization ? { pathNormalization } : {})
  expect((await ask(rig.address, target)).status).toBe(400)
})

test('an invalid backend keeps its share of the traffic', async () => {
  await using backend = await startBackend(echo())
  let drawn = 0
  await using rig = await startProxy(
    [
      {
        backends: [
          { url: backend.url, weight: 7 },
          { url: '', weight: 3, unavailableStatus: 500 },
        ],
      },
    ],
    { random: () => drawn },
  )
  const statuses: number[] = []
  for (let i = 0; i < 10; i++) {
    drawn = i / 10
    statuses.push((await ask(rig.address, '/')).status)
  }
  expect(statuses).toEqual([...Array<number>(7).fill(200), ...Array<number>(3).fill(500)])
})
