import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net'
import { type Body } from '../../src/http/body.ts'
import { emptyHead } from '../../src/http/head.ts'
import { createResponse, responseOf } from '../../src/http/response.ts'
import { setTrailers } from '../../src/http/trailers.ts'
import { type RawStream } from '../../src/http/upgrade.ts'
import { type Handler } from '../../src/runtime.ts'
import { createTimers } from '../../src/timers.ts'
import { createTunnel, type Tunnel, type TunnelOptions } from '../../src/tunnel/tunnel.ts'
import { createUuid } from '../../src/tunnel/uuid.ts'
import { formatToken } from '../../src/tunnel/credentials.ts'
import { defaultOptions, type Options } from '../../src/options.ts'
import { start, type Service } from '../../src/start.ts'
import { run } from '../../src/cli/run.ts'
import { formatQuickTunnel } from '../../src/tunnel/quick-tunnel.ts'
import { createMemoryFiles } from '../support/memory-files.ts'
import { formatSample, runtime } from '../support/service.ts'
import { until } from '../support/until.ts'
import { startBackend, type TestBackend } from '../support/backend.ts'
import { createRecordedLog } from '../support/recorded-log.ts'
import { type NodeEdge, readAnswer, startNodeEdge } from './node-edge.ts'

const credentials = {
  accountTag: '0123456789abcdef0123456789abcdef',
  tunnelId: createUuid(),
  tunnelSecret: new Uint8Array(32).fill(7),
  endpoint: undefined,
}

/** A wire to an edge that can be cut without either end hearing of it. */
async function startRelay(address: string): Promise<{ address: string; freeze(): void; close(): void }> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    const onward = createConnection(Number(address.split(':')[1]), '127.0.0.1')
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      sockets.push(from)
      from.on('data', (bytes) => to.write(bytes))
      from.on('error', () => {})
      from.on('close', () => to.destroy())
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    freeze() {
      for (const socket of sockets) socket.pause()
    },
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

/** A switched connection on which nothing happens. */
function createSilentStream(): RawStream {
  return {
    incoming: { length: undefined, start() {}, resume() {}, cancel() {} },
    outgoing: { data: () => true, end() {}, fail() {} },
    onWritable() {},
  }
}

const opened: { close(): unknown }[] = []
afterEach(async () => {
  for (const thing of opened.splice(0).toReversed()) await thing.close()
})

async function openEdge(names?: readonly string[]): Promise<NodeEdge> {
  const edge = await startNodeEdge(names)
  opened.push(edge)
  return edge
}

async function connect(
  edge: NodeEdge,
  handler: Handler,
  options: Partial<TunnelOptions> = {},
): Promise<{ tunnel: Tunnel; log: ReturnType<typeof createRecordedLog> }> {
  const log = createRecordedLog()
  const tunnel = createTunnel({
    runtime,
    timers: createTimers(runtime.clock),
    log,
    random: Math.random,
    credentials,
    credentialOrigin: 'token',
    region: undefined,
    protocol: 'http2',
    connections: 1,
    edge: [edge.address],
    edgeCa: edge.ca,
    ipVersion: 'auto',
    version: '1.2.3',
    handler,
    needsTrailers: () => false,
    ...options,
  })
  opened.push({ close: () => tunnel.destroy() })
  tunnel.start()
  return { tunnel, log }
}

async function connected(handler: Handler): Promise<{ edge: NodeEdge; tunnel: Tunnel }> {
  const edge = await openEdge()
  const { tunnel } = await connect(edge, handler)
  await until(() => tunnel.ready === 1)
  return { edge, tunnel }
}

describe('a connection over HTTP/2', () => {
  test('registers over the control stream that the edge opens', async () => {
    const { edge } = await connected(() => createResponse(200, []))
    const { registration } = edge.connections[0]!
    expect(registration).toMatchObject({ connIndex: 0, auth: { accountTag: credentials.accountTag } })
    expect([...registration.tunnelId]).toEqual([...credentials.tunnelId])
    expect(registration.options.client.version).toBe('1.2.3')
    expect(Array.from(registration.options.originLocalIp).slice(-4)).toEqual([127, 0, 0, 1])
  })

  test('promises what an edge needs: streams without end, heads of a MiB, wide windows; and no extended CONNECT', async () => {
    const { edge } = await connected(() => createResponse(200, []))
    expect(edge.connections[0]!.session.remoteSettings).toMatchObject({
      maxConcurrentStreams: 0xffff_ffff,
      maxHeaderListSize: 1_048_576,
      initialWindowSize: 1_048_576,
      enableConnectProtocol: false,
    })
  })

  test('a request and its answer', async () => {
    const { edge } = await connected(async (request) =>
      createResponse(
        201,
        [['X-Echo', request.headers.get('x-ask') ?? '']],
        `${request.method} ${await request.text()}`,
      ),
    )
    const answer = await edge.connections[0]!.ask({ ':method': 'POST', 'x-ask': '1' }, 'hello')
    expect(answer).toMatchObject({ status: 201, meta: '{"src":"origin"}', body: 'POST hello' })
    expect(answer.fields).toEqual([
      ['X-Echo', '1'],
      ['Content-Length', '10'],
    ])
  })

  test('an answer to HEAD has no body', async () => {
    const { edge } = await connected(() => createResponse(200, [], 'hello'))
    const answer = await edge.connections[0]!.ask({ ':method': 'HEAD' })
    expect(answer).toMatchObject({ status: 200, body: '' })
  })

  test('trailers go plain', async () => {
    const { edge } = await connected(() => {
      const response = new Response('message', { headers: { 'content-type': 'application/grpc' } })
      setTrailers(response, [['grpc-status', '0']])
      return response
    })
    const { body, trailers } = await edge.connections[0]!.ask({ ':method': 'POST' }, '')
    expect(body).toBe('message')
    expect(trailers['grpc-status']).toBe('0')
  })

  test('pieces of a streamed answer leave as they come', async () => {
    let controller: ReadableStreamDefaultController<Uint8Array> | undefined
    const { edge } = await connected(() => {
      const body = new ReadableStream<Uint8Array>({ start: (made) => void (controller = made) })
      return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
    })
    const stream = edge.connections[0]!.request({})
    stream.setEncoding('utf8')
    await once(stream, 'response')
    for (const event of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
      controller!.enqueue(new TextEncoder().encode(event))
      const [piece] = (await once(stream, 'data')) as [string]
      expect(piece).toBe(event)
    }
    controller!.close()
    await once(stream, 'end')
  })

  test('8 MiB up and down', async () => {
    const { edge } = await connected((request) => new Response(request.body))
    const sent = 'x'.repeat(8 * 1024 * 1024)
    const { body } = await edge.connections[0]!.ask({ ':method': 'POST' }, sent)
    expect(body.length).toBe(sent.length)
  })

  test('100 requests at a time', async () => {
    const { edge } = await connected(async (request) => createResponse(200, [], request.url))
    const { ask } = edge.connections[0]!
    const answers = await Promise.all(Array.from({ length: 100 }, (_, at) => ask({ ':path': `/${at}` })))
    expect(answers.map(({ body }) => body)).toEqual(answers.map((_, at) => `https://shop.example.com/${at}`))
  })

  test('hundreds of KiB of fields arrive', async () => {
    const { edge } = await connected((request) =>
      createResponse(200, [], String(request.headers.get('x-long')?.length)),
    )
    const { session } = edge.connections[0]!
    await until(() => (session.remoteSettings.maxHeaderListSize ?? 0) > 500_000)
    const fields = Object.fromEntries(Array.from({ length: 8 }, (_, at) => [`x-long-${at}`, 'y'.repeat(6_000)]))
    const { status, body } = await edge.connections[0]!.ask({ ...fields, 'x-long': 'y'.repeat(10_000) })
    expect([status, body]).toEqual([200, '10000'])
  })

  test('a handler that throws: 502 of the connector', async () => {
    const { edge } = await connected(() => {
      throw new Error('detail')
    })
    expect(await edge.connections[0]!.ask({})).toMatchObject({ status: 502, meta: '{"src":"cloudflared"}', body: '' })
  })

  test('an answer that breaks is reset with INTERNAL_ERROR, the connection lives on', async () => {
    const broken: Body = {
      length: undefined,
      start(sink) {
        const half = new TextEncoder().encode('half')
        sink.data(half, 0, half.length)
        sink.fail({ kind: 'upstream', phase: 'body', cause: 'closed', reason: 'gone' })
      },
      resume() {},
      cancel() {},
    }
    const { edge } = await connected((request) =>
      new URL(request.url).pathname === '/broken'
        ? responseOf(200, '', emptyHead, broken)
        : createResponse(200, [], 'fine'),
    )
    const stream = edge.connections[0]!.request({ ':path': '/broken' })
    await new Promise((resolve) => stream.on('close', resolve))
    expect(stream.rstCode).toBe(2)
    expect(await edge.connections[0]!.ask({})).toMatchObject({ body: 'fine' })
  })

  test('an answer that comes before the request is over ends the upload without an error', async () => {
    const { edge } = await connected(() => createResponse(413, [], 'too much'))
    const stream = edge.connections[0]!.request({ ':method': 'POST' }, 'open')
    stream.write('some of it')
    const answer = await readAnswer(stream)
    await new Promise((resolve) => stream.on('close', resolve))
    expect(answer).toMatchObject({ status: 413, body: 'too much' })
    expect(stream.rstCode).toBe(0)
  })

  test('an eyeball that leaves cancels its request alone', async () => {
    let gone = false
    const { edge } = await connected((request, exchange) => {
      if (new URL(request.url).pathname !== '/slow') return createResponse(200, [], 'fine')
      return new Promise<Response>(() => exchange!.onAbort(() => (gone = true)))
    })
    const stream = edge.connections[0]!.request({ ':path': '/slow' })
    await until(() => stream.id !== undefined && !stream.pending)
    stream.close(8)
    await until(() => gone)
    expect(await edge.connections[0]!.ask({})).toMatchObject({ body: 'fine' })
  })

  test('an edge whose certificate is for another name is not believed', async () => {
    const edge = await openEdge(['quic.cftunnel.com'])
    const { tunnel, log } = await connect(edge, () => createResponse(200, []))
    await until(() => log.lines.some((line) => line.includes('edge connection lost')))
    expect(tunnel.ready).toBe(0)
    expect(edge.connections).toEqual([])
  })

  test('four connections, and they come back when the edge hangs up', async () => {
    const edges = await Promise.all([openEdge(), openEdge(), openEdge(), openEdge()])
    const ca = edges.map((edge) => edge.ca).join('\n')
    const { tunnel } = await connect(edges[0], () => createResponse(200, []), {
      connections: 4,
      edge: edges.map(({ address }) => address),
      edgeCa: ca,
    })
    await until(() => tunnel.ready === 4)
    expect(edges.map(({ connections }) => connections.length)).toEqual([1, 1, 1, 1])
    const lost = edges[2].connections[0]!
    lost.socket.destroy()
    await until(() => tunnel.ready === 3)
    await until(() => tunnel.ready === 4)
    expect(edges[2].connections).toHaveLength(2)
    expect(edges[2].connections[1]!.registration.connIndex).toBe(lost.registration.connIndex)
  })

  test('an edge that falls silent is given up, and another address tried', async () => {
    const [edge, other] = await Promise.all([openEdge(), openEdge()])
    const relay = await startRelay(edge.address)
    opened.push(relay)
    const { tunnel, log } = await connect(edge, () => createResponse(200, []), {
      edge: [relay.address, other.address],
      edgeCa: `${edge.ca}${other.ca}`,
      // The relay is chosen first.
      random: () => 0,
      http2: { pingIntervalMs: 200, pingTimeoutMs: 200 },
    })
    await until(() => tunnel.ready === 1)
    expect(edge.connections).toHaveLength(1)
    relay.freeze()
    await until(() => tunnel.ready === 0)
    await until(() => tunnel.ready === 1)
    expect(other.connections).toHaveLength(1)
    expect(log.lines).toContain('error: edge connection lost, and there is no other')
  })

  test('silence by itself ends nothing: neither the control stream nor a WebSocket', async () => {
    const edge = await openEdge()
    const { tunnel } = await connect(edge, () => responseOf(101, '', emptyHead, undefined, createSilentStream()), {
      http2: { pingIntervalMs: 50, bodyStallTimeoutMs: 100, writeStallTimeoutMs: 100 },
    })
    await until(() => tunnel.ready === 1)
    const { session, request } = edge.connections[0]!
    const stream = request({ 'cf-cloudflared-proxy-connection-upgrade': 'websocket' }, 'open')
    await once(stream, 'response')
    for (let pings = 0; pings < 10; pings++) await once(session, 'ping')
    expect(stream.closed).toBe(false)
    expect(edge.connections).toHaveLength(1)
    expect(tunnel.reports[0]).toMatchObject({ state: 'registered', activeRequests: 1 })
    stream.close()
  })

  test('stopping: unregisters, finishes what is in flight, closes', async () => {
    let answer: (response: Response) => void = () => {}
    const { edge, tunnel } = await connected(() => new Promise<Response>((resolve) => (answer = resolve)))
    const connection = edge.connections[0]!
    const asked = readAnswer(connection.request({}))
    await until(() => tunnel.reports[0]!.activeRequests === 1)
    const stopped = tunnel.stop(10_000)
    await until(() => connection.unregistered)
    expect(tunnel.ready).toBe(0)
    answer(createResponse(200, [], 'late'))
    expect(await asked).toMatchObject({ status: 200, body: 'late' })
    expect(await stopped).toBe(true)
    await until(() => connection.session.closed)
  })
})

describe('the program in a tunnel', () => {
  async function startInTunnel(
    edge: NodeEdge,
    options: Partial<Options>,
  ): Promise<Service & { readonly adminUrl: string }> {
    const folder = await mkdtemp(join(tmpdir(), 'headgate-'))
    opened.push({ close: () => rm(folder, { recursive: true }) })
    await writeFile(join(folder, 'ca.pem'), edge.ca)
    const service = await start(
      {
        ...defaultOptions(),
        admin: { host: '127.0.0.1', port: 0 },
        tunnelToken: formatToken(credentials),
        protocol: 'http2',
        edge: [edge.address],
        edgeCa: join(folder, 'ca.pem'),
        connections: 1,
        ...options,
      },
      runtime,
      {
        log: createRecordedLog(),
        accessLog: { write() {} },
        renderMetrics: async (families) => ({
          contentType: 'text/plain',
          text: families
            .flatMap(({ name, samples }) => Array.from(samples(), (sample) => formatSample(name, sample)))
            .join(''),
        }),
        version: '1.2.3',
      },
    )
    opened.push({ close: () => service.stop() })
    return { ...service, adminUrl: `http://127.0.0.1:${service.admin.port}` }
  }

  async function backend(): Promise<TestBackend> {
    const made = await startBackend((request, response) => {
      response.setHeader('x-seen', JSON.stringify(request.headers))
      response.end(`${request.method} ${request.url}`)
    })
    opened.push(made)
    return made
  }

  test('--origin: what the edge sends reaches the server, with the eyeball’s address', async () => {
    const edge = await openEdge()
    const { port } = await backend()
    const service = await startInTunnel(edge, { origin: `http://127.0.0.1:${port}`, gracePeriodMs: 1_000 })
    await until(() => service.tunnel!.ready === 1)
    const answer = await edge.connections[0]!.ask({
      ':path': '/a%2Fb?x=1',
      'cf-connecting-ip': '203.0.113.9',
      'x-forwarded-proto': 'https',
    })
    expect(answer).toMatchObject({ status: 200, meta: '{"src":"origin"}', body: 'GET /a%2Fb?x=1' })
    const seen = JSON.parse(answer.fields.find(([name]) => name.toLowerCase() === 'x-seen')![1]) as Record<
      string,
      string
    >
    expect(seen).toMatchObject({
      host: 'shop.example.com',
      'x-forwarded-for': '203.0.113.9',
      'x-forwarded-proto': 'https',
      'cf-connecting-ip': '203.0.113.9',
    })
    const ready = await fetch(`${service.adminUrl}/readyz?verbose`)
    expect(await ready.json()).toMatchObject({ ready: true, tunnel: { readyConnections: 1 } })
    const probe = await fetch(`${service.adminUrl}/ready`)
    const { connectorId } = service.tunnel!
    expect([probe.status, await probe.json()]).toEqual([200, { status: 200, readyConnections: 1, connectorId }])
    const metrics = await (await fetch(`${service.adminUrl}/metrics`)).text()
    expect(metrics).toContain('cloudflared_tunnel_ha_connections 1')
    expect(metrics).toContain('cloudflared_tunnel_server_locations{connection_id="0",edge_location="LIS"} 1')
    expect(metrics).toContain('cloudflared_tunnel_total_requests 1')
  })

  test('WebSockets go through, and are told to go elsewhere at the end', async () => {
    const edge = await openEdge()
    const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    await once(sockets, 'listening')
    opened.push({ close: () => sockets.close() })
    sockets.on('connection', (socket) =>
      socket.on('message', (data) => socket.send(`heard ${(data as Buffer).toString()}`)),
    )
    const { port } = sockets.address() as AddressInfo
    const service = await startInTunnel(edge, { origin: `http://127.0.0.1:${port}`, gracePeriodMs: 5_000 })
    await until(() => service.tunnel!.ready === 1)
    const stream = edge.connections[0]!.request(
      {
        'cf-cloudflared-proxy-connection-upgrade': 'websocket',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      },
      'open',
    )
    const [head] = (await once(stream, 'response')) as [Record<string, string>]
    expect(head[':status']).toBe(200)
    // "hi" with a masking key of zeros
    stream.write(Uint8Array.of(0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69))
    const [heard] = (await once(stream, 'data')) as [Uint8Array]
    expect(new TextDecoder().decode(heard.subarray(2))).toBe('heard hi')
    const stopped = service.stop()
    const [close] = (await once(stream, 'data')) as [Uint8Array]
    expect([...close]).toEqual([0x88, 2, 0x03, 0xe9])
    stream.end(Uint8Array.of(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9))
    expect(await stopped).toBe(true)
  })

  test('nothing is dialled before there is a config', async () => {
    const edge = await openEdge()
    const service = await startInTunnel(edge, {})
    expect((await fetch(`${service.adminUrl}/readyz`)).status).toBe(503)
    expect(edge.dialled).toBe(0)
    const pushed = await fetch(`${service.adminUrl}/config`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ version: 1, rules: [] }),
    })
    expect(pushed.status).toBe(200)
    await until(() => service.tunnel!.ready === 1)
    expect((await fetch(`${service.adminUrl}/readyz`)).status).toBe(200)
    expect(await edge.connections[0]!.ask({})).toMatchObject({ status: 404, meta: '{"src":"origin"}' })
  })
})

test('headgate http URL: a quick tunnel, its address printed, everything forwarded', async () => {
  const edge = await openEdge()
  const server = await startBackend((request, response) => response.end(`local ${request.url}`))
  opened.push(server)
  const service = await startBackend((_, response) => response.end(formatQuickTunnel(credentials, 'odd.example.com')))
  opened.push(service)
  const log = createRecordedLog()
  let out = ''
  let stop: () => void = () => {}
  const ran = run(
    [
      'http',
      `http://127.0.0.1:${server.port}`,
      '--quick-service',
      `http://127.0.0.1:${service.port}/tunnel`,
      '--protocol',
      'http2',
      '--edge',
      edge.address,
      '--edge-ca',
      '/ca.pem',
    ],
    {},
    {
      version: '1.2.3',
      out: (text) => void (out += text),
      err: (text) => void (out += text),
      readStdin: async () => '',
      onStopSignal: (f) => (stop = f),
      openHost: async () => ({
        runtime: { ...runtime, files: createMemoryFiles({ '/ca.pem': edge.ca }) },
        companions: {
          log,
          accessLog: { write() {} },
          renderMetrics: async (families) => ({
            contentType: 'text/plain',
            text: JSON.stringify(families.map(({ name, samples }) => [name, Array.from(samples())])),
          }),
          version: '1.2.3',
        },
      }),
      examples: 'examples',
    },
  )
  await until(() => edge.connections.length === 1)
  expect(out).toContain('https://odd.example.com')
  expect(await edge.connections[0]!.ask({ ':path': '/a' })).toMatchObject({ status: 200, body: 'local /a' })
  const { admin } = log.fields[log.lines.indexOf('info: serving')]!
  const metrics = await (await fetch(`http://${String(admin)}/metrics`)).json()
  const samples = [{ labels: { userHostname: 'https://odd.example.com' }, value: 1 }]
  expect(metrics).toContainEqual(['cloudflared_tunnel_user_hostnames_counts', samples])
  stop()
  expect(await ran).toBe(0)
})
