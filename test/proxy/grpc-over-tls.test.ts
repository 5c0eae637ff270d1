import { expect, test } from 'vitest'
import { createResponse } from '../../src/http/response.ts'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import { defaultHttp2Limits } from '../../src/http2/limits.ts'
import { alpnProtocols, createHttpServer } from '../../src/server.ts'
import { createTimers } from '../../src/timers.ts'
import { createTestAuthority } from '../support/certificates.ts'
import { startProxy, type WireRule } from '../support/proxy.ts'
import { ask } from '../support/raw-client.ts'
import { runtime } from '../support/runtime.ts'
import { until } from '../support/until.ts'

const authority = await createTestAuthority()
const certificate = await authority.issue([{ type: 'dns', value: 'svc.example' }])
const tls = { caBundle: authority.certificate, serverName: 'svc.example' }

interface Backend extends AsyncDisposable {
  readonly url: string
  readonly connectionCount: number
}

/** Says which protocol it was asked in. */
async function startBackend(alpn: readonly string[] | undefined): Promise<Backend> {
  const server = createHttpServer({
    handler: (_, exchange) => createResponse(200, [], `HTTP/${exchange!.httpVersion}`),
    timers: createTimers(runtime.clock),
    afterTurn: (f) => runtime.afterTurn(f),
    http1: defaultHttp1Limits,
    http2: defaultHttp2Limits,
    scheme: 'https',
  })
  const options = { tls: { ...certificate, ...(alpn ? { alpn } : {}) } }
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, options, (socket) => server.accept(socket))
  return {
    url: `https://127.0.0.1:${listener.address.port}`,
    get connectionCount() {
      return server.connectionCount
    },
    async [Symbol.asyncDispose]() {
      const closed = listener.close()
      server.destroy()
      await closed
    },
  }
}

const toBackend = ({ url }: Backend, more = {}): WireRule[] => [{ backends: [{ url, weight: 1, tls, ...more }] }]

test.each([
  ['gRPC needs HTTP/2', 'application/grpc', {}, 'HTTP/2'],
  ['gRPC with a suffix too', 'application/grpc+proto', {}, 'HTTP/2'],
  ['gRPC-Web does not', 'application/grpc-web', {}, 'HTTP/1.1'],
  ['nothing else does', 'text/plain', {}, 'HTTP/1.1'],
  ['a backend that the config says speaks it gets it always', 'text/plain', { protocol: 'h2c' }, 'HTTP/2'],
])('over TLS, a backend is asked for HTTP/2 by what needs it: %s', async (_, type, more, answer) => {
  await using backend = await startBackend(alpnProtocols)
  await using rig = await startProxy(toBackend(backend, more))
  expect((await ask(rig.address, '/', { headers: [['Content-Type', type]] })).text).toBe(answer)
})

test('both protocols have connections of their own, and a config that drops the backend closes all of them', async () => {
  await using backend = await startBackend(alpnProtocols)
  await using rig = await startProxy(toBackend(backend))
  for (const type of ['application/grpc', 'text/plain', 'application/grpc', 'text/plain'])
    await ask(rig.address, '/', { headers: [['Content-Type', type]] })
  expect(backend.connectionCount).toBe(2)
  rig.apply(toBackend(backend))
  await ask(rig.address, '/', { headers: [['Content-Type', 'application/grpc']] })
  expect(backend.connectionCount).toBe(2)
  rig.apply([])
  await until(() => backend.connectionCount === 0)
})

test.each([
  ['none', undefined],
  ['HTTP/1.1 alone', ['http/1.1']],
])('a backend whose handshake offers %s cannot take gRPC: UNAVAILABLE', async (_, alpn) => {
  await using backend = await startBackend(alpn)
  await using rig = await startProxy(toBackend(backend))
  const answer = await ask(rig.address, '/', { headers: [['Content-Type', 'application/grpc']] })
  expect([answer.status, answer.header('grpc-status')]).toEqual([200, '14'])
  expect(rig.records[0]!.error).toMatchObject({ kind: 'upstream', phase: 'tls' })
  expect((await ask(rig.address, '/')).text).toBe('HTTP/1.1')
})
