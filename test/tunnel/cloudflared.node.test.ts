/**
 * Our edge against the real cloudflared, where the machine has one: `HEADGATE_TEST_CLOUDFLARED` names the program, or
 * it is in PATH. It is told everything by its own environment variables, connects to loopback addresses alone, and gets
 * where to forward to by a configuration that the edge pushes.
 *
 * @see cloudflared, cmd/cloudflared/tunnel/cmd.go, for the names of the variables
 */
import { execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { formatAddress } from '../../src/options/address.ts'
import { silentLog } from '../../src/telemetry.ts'
import { createTimers } from '../../src/timers.ts'
import { type Edge, startEdge } from '../../src/tunnel/edge/edge.ts'
import { runtime } from '../support/service.ts'
import { until } from '../support/until.ts'

const program = process.env['HEADGATE_TEST_CLOUDFLARED'] ?? 'cloudflared'
const version = versionOf(program)
const connections = 4

function versionOf(name: string): string | undefined {
  try {
    return execFileSync(name, ['--version'], { encoding: 'utf8' }).trim()
  } catch {
    return undefined
  }
}

/** What it is asked to serve: says what it got, echoes WebSockets, and sends an event when the one before has arrived. */
function createOrigin(): { readonly server: Server; acknowledge(): void } {
  let acknowledge = (): void => {}
  const server = createServer((request, response) => {
    if (request.url === '/events') {
      response.setHeader('content-type', 'text/event-stream')
      response.write('data: 1\n\n')
      acknowledge = () => response.end('data: 2\n\n')
      return
    }
    const digest = createHash('sha256')
    request.on('data', (bytes: Uint8Array) => digest.update(bytes))
    request.on('end', () => {
      response.setHeader('x-seen', `${request.method} ${request.url} ${String(request.headers['x-forwarded-proto'])}`)
      response.setHeader('set-cookie', ['a=1', 'b=2'])
      response.writeHead(203).end(digest.digest('hex'))
    })
  })
  new WebSocketServer({ server, path: '/echo' }).on('connection', (socket) =>
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })),
  )
  return { server, acknowledge: () => acknowledge() }
}

if (version === undefined) {
  process.stdout.write('The real cloudflared is not tried: there is none in PATH, nor in HEADGATE_TEST_CLOUDFLARED.\n')
}

describe.skipIf(version === undefined)(`our edge and the real cloudflared over HTTP/2 (${version})`, () => {
  const { server, acknowledge } = createOrigin()
  let edge: Edge
  let url: string
  let directory: string
  let said = ''
  let stop: () => Promise<number | null>

  beforeAll(async () => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const loopback = { host: '127.0.0.1', port: 0 }
    edge = await startEdge({ runtime, timers: createTimers(runtime.clock), log: silentLog, eyeballs: loopback })
    url = formatAddress(edge.eyeballs!)
    directory = await mkdtemp(join(tmpdir(), 'headgate-cloudflared-'))
    await writeFile(join(directory, 'ca.pem'), edge.certificate)
    const child = spawn(program, ['tunnel', 'run'], {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        HOME: directory,
        NO_AUTOUPDATE: 'true',
        TUNNEL_TOKEN: edge.mint().token,
        TUNNEL_EDGE: edge.servers.map(({ address }) => formatAddress(address)).join(','),
        TUNNEL_CACERT: join(directory, 'ca.pem'),
        TUNNEL_TRANSPORT_PROTOCOL: 'http2',
        TUNNEL_METRICS: '127.0.0.1:0',
        TUNNEL_GRACE_PERIOD: '5s',
      },
    })
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (said += bytes.toString()))
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    stop = () => {
      child.kill('SIGTERM')
      return ended
    }
    const registered = (): number => edge.connections.filter(({ phase }) => phase === 'registered').length
    await until(() => {
      if (child.exitCode !== null) throw new Error(`it ended by itself: ${said}`)
      return registered() === connections
    })
  }, 60_000)

  afterAll(async () => {
    await stop()
    await edge.close()
    server.close()
    server.closeAllConnections()
    await rm(directory, { recursive: true })
  })

  test('every connection has an index of its own, and all have one connector', () => {
    const registrations = edge.connections.map(({ registration }) => registration!)
    expect(new Set(registrations.map(({ connIndex }) => connIndex))).toEqual(new Set([0, 1, 2, 3]))
    expect(new Set(registrations.map(({ options }) => String(options.client.clientId))).size).toBe(1)
  })

  test('a pushed configuration is taken', async () => {
    const { port } = server.address() as AddressInfo
    const pushed = await edge.configure({ ingress: [{ service: `http://127.0.0.1:${port}` }] })
    expect(pushed).toHaveLength(connections)
    expect(new Set(pushed.map(({ error }) => error))).toEqual(new Set(['']))
  })

  test.each([0, 1, 70_000, 5_000_000])('a request with %i bytes is forwarded and answered whole', async (size) => {
    const body = randomBytes(size)
    const answer = await fetch(`http://${url}/a%2Fb?c=d`, size === 0 ? {} : { method: 'POST', body })
    expect([answer.status, await answer.text()]).toEqual([203, createHash('sha256').update(body).digest('hex')])
    expect(answer.headers.get('x-seen')).toBe(`${size === 0 ? 'GET' : 'POST'} /a%2Fb?c=d http`)
    expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
  })

  test('server-sent events come one by one', async () => {
    const answer = await fetch(`http://${url}/events`)
    let text = ''
    for await (const piece of answer.body!) {
      text += new TextDecoder().decode(piece as Uint8Array)
      if (text === 'data: 1\n\n') acknowledge()
    }
    expect(text).toBe('data: 1\n\ndata: 2\n\n')
  })

  test('WebSockets are switched, both ways', async () => {
    const socket = new WebSocket(`ws://${url}/echo`)
    await once(socket, 'open')
    for (const size of [0, 125, 70_000]) {
      const message = randomBytes(size)
      socket.send(message)
      const [data] = (await once(socket, 'message')) as [Buffer]
      expect(data.equals(message)).toBe(true)
    }
    socket.close(1000)
    expect((await once(socket, 'close'))[0]).toBe(1000)
  })

  test('stopped, it unregisters and leaves; it has done nothing that we did not expect of it', async () => {
    const all = edge.connections
    await stop()
    await until(() => edge.connections.length === 0)
    expect(all.map(({ unregistered }) => unregistered)).toEqual([true, true, true, true])
    expect(edge.violations).toEqual([])
  }, 30_000)
})
