import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Options } from '../src/options.ts'
import type { Runtime } from '../src/runtime.ts'
import { StartRefusal } from '../src/control/start-refusal.ts'
import { errorCode, frameType } from '../src/http2/frames.ts'
import { createTimers } from '../src/timers.ts'
import { formatToken } from '../src/tunnel/credentials.ts'
import { createUuid } from '../src/tunnel/uuid.ts'
import { RawPeer } from './http2/raw-peer.ts'
import { clientOn, requestFor } from './http2/rig.ts'
import { startBackend, type TestBackend } from './support/backend.ts'
import { createTestAuthority } from './support/certificates.ts'
import { runtime, startService, type TestService } from './support/service.ts'
import { until } from './support/until.ts'

let folder: string
let backend: TestBackend
let services: TestService[]

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'headgate-start-'))
  backend = await startBackend((request, response) => response.end(`backend ${request.url}`))
  services = []
})

afterEach(async () => {
  for (const service of services) service.abort()
  await Promise.all(services.map((service) => service.stop()))
  await backend.close()
  await rm(folder, { recursive: true, force: true })
})

async function serve(options: Partial<Options> = {}, host?: Runtime): Promise<TestService> {
  const service = await startService(options, {}, host)
  services.push(service)
  return service
}

/** @returns the reasons of a start that must be refused */
async function refusal(options: Partial<Options>): Promise<readonly string[]> {
  try {
    await serve(options)
  } catch (error) {
    if (error instanceof StartRefusal) return error.reasons
    throw error
  }
  throw new Error('it started')
}

const redirectTo = (hostname: string): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { namespace: shop, name: web }
spec: { gatewayClassName: headgate, listeners: [{ name: http, protocol: HTTP, port: 80 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { namespace: shop, name: moved }
spec:
  parentRefs: [{ name: web }]
  rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { hostname: ${hostname} } }] }]
`

const configTo = (port: number, version = 1): string =>
  JSON.stringify({ version, rules: [{ backends: [{ url: `http://127.0.0.1:${port}`, weight: 1 }] }] })

async function push(service: TestService, config: string, query = ''): Promise<Response> {
  return fetch(`${service.adminUrl}/config${query}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: config,
  })
}

async function locationOf(service: TestService): Promise<string | null> {
  const response = await fetch(`${service.url}/`, { redirect: 'manual' })
  await response.body?.cancel()
  return response.headers.get('location')
}

interface Verbose {
  readonly config: { readonly version: number } | null
  readonly lastFailure: { readonly problems: readonly string[]; readonly stillServing: boolean } | null
}

async function verbose(service: TestService): Promise<{ status: number; body: Verbose }> {
  const response = await fetch(`${service.adminUrl}/readyz?verbose`)
  return { status: response.status, body: (await response.json()) as Verbose }
}

describe('manifests', () => {
  test('are served; edited, the new ones are; broken, the last good ones are', async () => {
    const file = join(folder, 'routes.yaml')
    await writeFile(file, redirectTo('one.example'))
    const service = await serve({ manifests: [folder] })
    expect(await locationOf(service)).toBe('http://one.example/')

    await writeFile(file, redirectTo('two.example'))
    await until(async () => (await locationOf(service)) === 'http://two.example/')

    await writeFile(file, redirectTo('three.example').replace('rules: [', 'rules: [['))
    await until(async () => (await verbose(service)).body.lastFailure !== null)
    const { status, body } = await verbose(service)
    expect(status).toBe(200)
    expect(body.lastFailure).toMatchObject({ stillServing: true, problems: [expect.stringContaining('routes.yaml:')] })
    expect(await locationOf(service)).toBe('http://two.example/')
    expect(service.log.lines).toContain('error: config not applied: the last good config keeps serving')

    await writeFile(file, redirectTo('four.example'))
    await until(async () => (await locationOf(service)) === 'http://four.example/')
    expect((await verbose(service)).body.lastFailure).toBeNull()
  })

  test('a file that comes and a file that goes are noticed', async () => {
    await writeFile(join(folder, 'a.yaml'), redirectTo('one.example'))
    const service = await serve({ manifests: [folder] })
    await writeFile(join(folder, 'b.yaml'), redirectTo('two.example'))
    await until(async () => (await locationOf(service)) === 'http://two.example/')
    await rm(join(folder, 'b.yaml'))
    await until(async () => (await locationOf(service)) === 'http://one.example/')
    expect((await verbose(service)).body.config?.version).toBeGreaterThan(2)
  })

  test('refuse pushed configs: a config has one source', async () => {
    await writeFile(join(folder, 'a.yaml'), redirectTo('one.example'))
    const service = await serve({ manifests: [folder] })
    const response = await push(service, configTo(backend.port), '?force=true')
    expect([response.status, await response.text()]).toEqual([409, expect.stringContaining(folder)])
  })
})

describe('a config file', () => {
  test('is served and followed, with its own versions, older ones too', async () => {
    const file = join(folder, 'config.json')
    await writeFile(file, configTo(backend.port, 7))
    const service = await serve({ config: file })
    expect(await (await fetch(`${service.url}/a?b=c`)).text()).toBe('backend /a?b=c')
    await writeFile(file, JSON.stringify({ version: 6, rules: [] }))
    await until(async () => (await fetch(`${service.url}/`)).status === 404)
    expect((await verbose(service)).body.config?.version).toBe(6)
  })
})

describe('a start is refused', () => {
  test('for a manifest that cannot be read as YAML: there is no last good config yet', async () => {
    await writeFile(join(folder, 'a.yaml'), 'kind: [')
    expect(await refusal({ manifests: [folder] })).toEqual([expect.stringMatching(/a\.yaml:1:\d+: /)])
  })

  test('for a config file that is none', async () => {
    const file = join(folder, 'config.json')
    await writeFile(file, '{"version": "one"}')
    expect(await refusal({ config: file })).toEqual([`${file}: version must be a number, got a string.`])
  })

  test.each([
    ['', 'is empty'],
    ['\n', 'is empty'],
    ['two words', 'is something else'],
  ])('for a token file that holds %j', async (text, reason) => {
    const authTokenFile = join(folder, 'token')
    await writeFile(authTokenFile, text)
    expect(await refusal({ authTokenFile })).toEqual([expect.stringContaining(reason)])
  })

  test.each([
    [{ authTokenFile: '/nowhere/token' }, '--auth-token-file cannot be read: '],
    [{ adminTlsCert: '/nowhere/cert', adminTlsKey: '/nowhere/key' }, '--admin-tls-cert cannot be read: '],
  ])('for %o', async (options, reason) => {
    expect(await refusal(options)).toEqual([expect.stringContaining(reason)])
  })

  test('for a state directory that nothing can be kept in', async () => {
    const file = join(folder, 'file')
    await writeFile(file, '')
    for (const stateDir of [file, join(file, 'state')]) {
      expect(await refusal({ stateDir })).toEqual([expect.stringMatching(/^--state-dir cannot be written to: .*file/)])
    }
  })

  describe('for an admin API that nobody could reach over TLS', () => {
    const refusalOf = async (cert: string, key: string): Promise<readonly string[]> => {
      const [adminTlsCert, adminTlsKey] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
      await writeFile(adminTlsCert, cert)
      await writeFile(adminTlsKey, key)
      return (await refusal({ adminTlsCert, adminTlsKey })).map((reason) => reason.replaceAll(folder, ''))
    }
    const issue = async (): Promise<{ cert: string; key: string }> =>
      (await createTestAuthority()).issue([{ type: 'dns', value: 'localhost' }])
    const pem = (label: string, text = 'MAAA'): string => `-----BEGIN ${label}-----\n${text}\n-----END ${label}-----\n`
    const unusable = [expect.stringMatching(/^--admin-tls-cert and --admin-tls-key cannot be used: [^]+\.$/)]

    test('of empty files', async () => {
      expect(await refusalOf('', '')).toEqual([
        '--admin-tls-cert: /cert.pem holds no certificate in PEM form.',
        '--admin-tls-key: /key.pem holds no private key in PEM form.',
      ])
    })

    test('of files taken for each other', async () => {
      const { cert, key } = await issue()
      expect(await refusalOf(key, cert)).toHaveLength(2)
    })

    test.each([pem('ENCRYPTED PRIVATE KEY'), pem('EC PRIVATE KEY', 'Proc-Type: 4,ENCRYPTED\nMAAA')])(
      'of an encrypted key: %j',
      async (key) => {
        expect(await refusalOf((await issue()).cert, key)).toEqual([
          '--admin-tls-key: /key.pem is encrypted: give a key without a passphrase.',
        ])
      },
    )

    test('of a key that belongs to another certificate', async () => {
      expect(await refusalOf((await issue()).cert, (await issue()).key)).toEqual(unusable)
    })

    test('of PEM that holds nothing', async () => {
      const { cert, key } = await issue()
      expect(await refusalOf(pem('CERTIFICATE'), key)).toEqual(unusable)
      expect(await refusalOf(cert, pem('PRIVATE KEY'))).toEqual(unusable)
    })
  })

  test.each(['listen', 'admin'] as const)(
    'for a busy port of --%s, which the message names; and nothing stays open',
    async (name) => {
      const busy = { host: '127.0.0.1', port: backend.port }
      const first = await serve()
      const free = { host: '127.0.0.1', port: first.entries[0]!.address.port }
      await first.stop()
      const options: Partial<Options> =
        name === 'admin'
          ? { listen: [{ address: free }], admin: busy }
          : { listen: [{ address: free }, { address: busy }] }
      expect(await refusal(options)).toEqual([
        `127.0.0.1:${busy.port} is in use by another program: end that, or choose another address with --${name}.`,
      ])
      expect((await serve({ listen: [{ address: free }] })).entries[0]!.address).toEqual(free)
    },
  )
})

describe('pushed configs', () => {
  test('until the first one: not ready, and 503 for everybody', async () => {
    const service = await serve()
    const ready = await fetch(`${service.adminUrl}/readyz`)
    expect([ready.status, await ready.text()]).toEqual([503, 'not ready: no config loaded\n'])
    expect((await fetch(`${service.url}/`)).status).toBe(503)
    expect((await push(service, configTo(backend.port))).status).toBe(200)
    expect((await fetch(`${service.adminUrl}/readyz`)).status).toBe(200)
    expect(await (await fetch(`${service.url}/x`)).text()).toBe('backend /x')
  })

  test('survive a restart where there is a state directory, which is private', async () => {
    const stateDir = join(folder, 'state')
    const first = await serve({ stateDir })
    expect(await readdir(stateDir)).toEqual([])
    await push(first, configTo(backend.port, 5))
    await first.stop()
    const second = await serve({ stateDir })
    expect(await (await fetch(`${second.url}/x`)).text()).toBe('backend /x')
    expect((await push(second, configTo(backend.port, 4))).status).toBe(409)
    const file = join(stateDir, 'config.json')
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ config: { version: 5 } })
    expect([(await stat(stateDir)).mode & 0o777, (await stat(file)).mode & 0o777]).toEqual([0o700, 0o600])
  })

  test('larger than the limit are 413, and the next one is taken', async () => {
    const service = await serve({ adminBodyLimitBytes: 2000 })
    const large = JSON.stringify({ version: 1, rules: [], padding: 'x'.repeat(100_000) })
    expect((await push(service, large)).status).toBe(413)
    expect((await push(service, configTo(backend.port))).status).toBe(200)
  })

  test('under load lose no request', async () => {
    const service = await serve()
    await push(service, configTo(backend.port))
    const statuses: number[] = []
    let pushing = true
    const clients = Array.from({ length: 8 }, async () => {
      while (pushing) {
        const response = await fetch(`${service.url}/x`)
        await response.text()
        statuses.push(response.status)
      }
    })
    for (let version = 2; version < 60; version++) await push(service, configTo(backend.port, version))
    pushing = false
    await Promise.all(clients)
    expect(statuses.length).toBeGreaterThan(8)
    expect(statuses.filter((status) => status !== 200)).toEqual([])
  })
})

test('a gRPC route in a tunnel that may only use QUIC is warned of', async () => {
  const tunnelToken = formatToken({
    accountTag: '0123456789abcdef0123456789abcdef',
    tunnelId: createUuid(),
    tunnelSecret: new Uint8Array(32),
    endpoint: undefined,
  })
  const warned = async (protocol: Options['protocol'], hasGrpcRoute: boolean): Promise<boolean> => {
    const connectQuic: Runtime['connectQuic'] = () => Promise.reject(new Error('nobody is there'))
    const service = await serve({ tunnelToken, protocol, edge: ['127.0.0.1:1'] }, { ...runtime, connectQuic })
    await push(service, JSON.stringify({ version: 1, rules: [], hasGrpcRoute }))
    return service.log.lines.some((line) => line.startsWith('warn: gRPC fails in the tunnel'))
  }
  expect([await warned('quic', true), await warned('quic', false), await warned('auto', true)]).toEqual([
    true,
    false,
    false,
  ])
})

describe('where routes may lead', () => {
  test.each([
    ['to loopback, for a pushed config while the admin API is on loopback', undefined, 200],
    ['not to loopback, when that is forbidden', false, 503],
    ['to loopback, when that is allowed', true, 200],
  ])('%s', async (_, allowLoopbackBackends, status) => {
    const service = await serve({ allowLoopbackBackends })
    await push(service, configTo(backend.port))
    expect((await fetch(`${service.url}/`)).status).toBe(status)
  })

  test('not to our own addresses', async () => {
    const service = await serve()
    for (const { port } of [service.admin, service.entries[0]!.address]) {
      await push(service, configTo(port))
      expect((await fetch(`${service.url}/config`)).status).toBe(503)
    }
  })
})

test('each address stands for what --listen says it does', async () => {
  const listener = (name: string, port: number): object => ({ name, gateway: `shop/${name}`, port, protocol: 'HTTP' })
  const rule = (name: string): object => ({
    listeners: [name],
    filters: [{ type: 'RequestRedirect', requestRedirect: { hostname: `${name}.example`, port: 80 } }],
  })
  const at = { host: '127.0.0.1', port: 0 }
  const service = await serve({
    listen: [
      { address: at, entrance: { gateway: 'shop/two', port: 80 } },
      { address: at, entrance: { port: 8080 } },
      { address: at, entrance: { port: 9090 } },
    ],
  })
  const config = {
    version: 1,
    listeners: [listener('one', 8080), listener('two', 80)],
    rules: [rule('one'), rule('two')],
  }
  expect((await push(service, JSON.stringify(config))).status).toBe(200)
  const seen = service.entries.map(async ({ address }) => {
    const response = await fetch(`http://127.0.0.1:${address.port}/`, { redirect: 'manual' })
    return response.headers.get('location') ?? response.status
  })
  expect(await Promise.all(seen)).toEqual(['http://two.example/', 'http://one.example/', 404])
})

test('a request leaves a line in the access log and its numbers in /metrics', async () => {
  const service = await serve({ accessLog: true })
  await push(service, configTo(backend.port))
  await (await fetch(`${service.url}/cart?token=hunter2`)).text()
  await until(() => service.accessLog.length > 0)
  const [line] = service.accessLog
  expect(JSON.parse(line!)).toMatchObject({
    msg: 'access',
    method: 'GET',
    path: '/cart',
    status: 200,
    client: '127.0.0.1',
  })
  expect(line).not.toContain('hunter2')
  const metrics = await (await fetch(`${service.adminUrl}/metrics`)).text()
  expect(metrics).toContain('cftunnel_proxy_requests_total{hostname="",status_class="2xx"} 1\n')
  expect(metrics).toContain('headgate_build_info{version="1.2.3",runtime="node",runtime_version="0.0.0"} 1\n')
  expect(metrics).toContain('headgate_config_version 1\n')
  expect(metrics).toMatch(/^headgate_connections \d/m)
})

test('without metrics there is no /metrics', async () => {
  const service = await serve({ metrics: false })
  expect((await fetch(`${service.adminUrl}/metrics`)).status).toBe(404)
})

test('a refused message is counted by its status', async () => {
  const service = await serve()
  const socket = connect(service.entries[0]!.address.port, '127.0.0.1')
  socket.end('GET / HTTP/1.1\r\n\r\n')
  await new Promise((resolve) => socket.resume().on('close', resolve))
  expect(await (await fetch(`${service.adminUrl}/metrics`)).text()).toContain(
    'headgate_refused_requests_total{status="400"} 1\n',
  )
})

test('HTTP/2 connections that are closed on a flood leave a warning with the address, and not one each', async () => {
  const service = await serve()
  for (let i = 0; i < 3; i++) {
    const peer = new RawPeer(await runtime.connect(service.entries[0]!.address, { timeoutMs: 5_000 }))
    peer.sendMany(Array.from({ length: 5_000 }, () => [frameType.ping, 0, 0, new Uint8Array(8)] as const))
    expect(await peer.goaway()).toBe(errorCode.enhanceYourCalm)
    peer.destroy()
  }
  const warnings = service.log.lines.flatMap((line, i) => (line.startsWith('warn: ') ? [i] : []))
  expect(warnings.map((i) => service.log.lines[i])).toEqual(['warn: connection closed: its peer asked too much of us'])
  expect(service.log.fields[warnings[0]!]).toMatchObject({
    reason: 'too many frames that move nothing',
    peer: '127.0.0.1',
  })
})

describe('the admin API on the wire', () => {
  /** Status line and body of one raw request. */
  async function ask(socket: Socket, head: string): Promise<string> {
    socket.end(`${head}\r\nConnection: close\r\n\r\n`)
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    return text.replace(/\r\n[^]*?\r\n\r\n/, ' ')
  }

  test.each([
    ['a page that has rebound its name', 'Host: attacker.example', /^HTTP\/1\.1 403 Forbidden [^]*the Host must be/],
    ['a page that asks across origins', 'Host: 127.0.0.1\r\nOrigin: https://attacker.example', /^HTTP\/1\.1 403 /],
    ['curl', 'Host: 127.0.0.1', /^HTTP\/1\.1 200 OK [^]*"ready": false/],
  ])('without a token, to %s', async (_, fields, answer) => {
    const service = await serve()
    expect(await ask(connect(service.admin.port, '127.0.0.1'), `GET /config HTTP/1.1\r\n${fields}`)).toMatch(answer)
  })

  test('over TLS, where it has a certificate, and over HTTP/2 where the client has it', async () => {
    const authority = await createTestAuthority()
    const { cert, key } = await authority.issue([{ type: 'dns', value: 'localhost' }])
    const [adminTlsCert, adminTlsKey] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
    await writeFile(adminTlsCert, cert)
    await writeFile(adminTlsKey, key)
    const service = await serve({ adminTlsCert, adminTlsKey })
    const socket = connectTls({
      port: service.admin.port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: authority.certificate,
    })
    expect(await ask(socket, 'GET /healthz HTTP/1.1\r\nHost: localhost')).toMatch(/^HTTP\/1\.1 200 OK /)
    const tls = { servername: 'localhost', ca: authority.certificate, alpn: ['h2'] }
    const client = clientOn(
      await runtime.connect(service.admin, { timeoutMs: 5_000, tls }),
      createTimers(runtime.clock),
    )
    const answer = await client.send(requestFor('/healthz', { authority: 'localhost' }), {})
    expect(answer.status).toBe(200)
    client.destroy()
  })
})

describe('a drain', () => {
  /** Answers once the test says so. */
  async function startSlowBackend(): Promise<{
    port: number
    asked: Promise<void>
    answer: () => void
    close(): Promise<void>
  }> {
    const asked = Promise.withResolvers<void>()
    const answered = Promise.withResolvers<void>()
    const slow = await startBackend((_, response) => {
      asked.resolve()
      void answered.promise.then(() => response.end('late'))
    })
    return { ...slow, asked: asked.promise, answer: answered.resolve }
  }

  test('turns readiness off, accepts nothing new, finishes what is in flight, then ends', async () => {
    const slow = await startSlowBackend()
    const service = await serve()
    await push(service, configTo(slow.port))
    const inFlight = fetch(`${service.url}/`)
    await slow.asked
    const stopped = service.stop()
    const ready = await fetch(`${service.adminUrl}/readyz`)
    expect([ready.status, await ready.text()]).toEqual([503, 'not ready: draining\n'])
    await expect(fetch(`${service.url}/`)).rejects.toThrow()
    slow.answer()
    const response = await inFlight
    expect([response.status, response.headers.get('connection'), await response.text()]).toEqual([200, 'close', 'late'])
    expect(await stopped).toBe(true)
    await expect(fetch(`${service.adminUrl}/readyz`)).rejects.toThrow()
    await slow.close()
  })

  test('waits no longer than the grace period', async () => {
    const slow = await startSlowBackend()
    const service = await serve({ gracePeriodMs: 50 })
    await push(service, configTo(slow.port))
    const inFlight = fetch(`${service.url}/`).then((response) => response.text())
    await slow.asked
    const [stopped, ended] = await Promise.allSettled([service.stop(), inFlight])
    expect(stopped).toEqual({ status: 'fulfilled', value: false })
    expect(ended.status).toBe('rejected')
    expect(service.log.lines).toContain('warn: the grace period is over; what was in flight is cut off')
    await slow.close()
  })

  test.each([
    [
      'over HTTP/1.1',
      async (port: number): Promise<void> => {
        connect(port, '127.0.0.1')
          .on('error', () => {})
          .write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      },
    ],
    [
      'over HTTP/2',
      async (port: number): Promise<void> => {
        const socket = await runtime.connect({ host: '127.0.0.1', port }, { timeoutMs: 5_000 })
        void clientOn(socket, createTimers(runtime.clock))
          .send(requestFor('/'), {})
          .catch(() => {})
      },
    ],
  ])('what it cuts off %s is no client that left, and is logged whatever the sampling', async (_, send) => {
    const slow = await startSlowBackend()
    const service = await serve({ gracePeriodMs: 50, accessLog: true, accessLogSampling: 0 })
    await push(service, configTo(slow.port))
    await send(service.entries[0]!.address.port)
    await slow.asked
    expect(await service.stop()).toBe(false)
    expect(service.accessLog.map((line) => JSON.parse(line))).toMatchObject([
      { status: 0, flags: 'F', error: 'cut off by us', attempts: 1 },
    ])
    await slow.close()
  })

  test('can be cut short', async () => {
    const slow = await startSlowBackend()
    const service = await serve({ gracePeriodMs: 3_600_000 })
    await push(service, configTo(slow.port))
    const inFlight = fetch(`${service.url}/`).then((response) => response.text())
    await slow.asked
    const stopped = service.stop()
    service.abort()
    const [, ended] = await Promise.allSettled([stopped, inFlight])
    expect(ended.status).toBe('rejected')
    await slow.close()
  })

  test('does not wait for connections without a request', async () => {
    const service = await serve({ gracePeriodMs: 3_600_000 })
    await push(service, configTo(backend.port))
    const socket = connect(service.entries[0]!.address.port, '127.0.0.1')
    await new Promise((resolve) => socket.once('connect', resolve))
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await new Promise((resolve) => socket.once('data', resolve))
    expect(await service.stop()).toBe(true)
    socket.destroy()
  })
})
