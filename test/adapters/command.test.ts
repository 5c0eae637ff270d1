import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { until } from '../support/until.ts'

/* The program as it is run: a process of its own, on the runtime that runs this test. */

const name = 'Deno' in globalThis ? 'deno' : 'Bun' in globalThis ? 'bun' : 'node'
const main = fileURLToPath(
  new URL(`../../adapters/${name}/${name === 'node' ? 'headgate.js' : 'main.ts'}`, import.meta.url),
)
const before = name === 'deno' ? ['run', '-A', main] : [main]

interface Running {
  out(): string
  err(): string
  signal(name: 'SIGINT' | 'SIGTERM' | 'SIGKILL'): void
  hasEnded(): boolean
  readonly ended: Promise<number | null>
}

let folder: string
let running: Running[]

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'headgate-command-'))
  running = []
})

afterEach(async () => {
  for (const each of running) each.signal('SIGKILL')
  await Promise.all(running.map(({ ended }) => ended))
  await rm(folder, { recursive: true, force: true })
})

function launch(argv: readonly string[], environment: Record<string, string> = {}): Running {
  const child = spawn(process.execPath, [...before, ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...environment },
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const launched: Running = {
    out: () => out,
    err: () => err,
    // Not child.kill(): Deno would then report the signal instead of the exit code.
    signal(signal) {
      if (child.exitCode === null && child.signalCode === null) process.kill(child.pid!, signal)
    },
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
    ended: new Promise((resolve) => child.once('close', resolve)),
  }
  running.push(launched)
  return launched
}

/** The numbers in what a program says, as soon as it says it: the ports that it was given, for instance. */
async function numbersIn(program: Running, pattern: RegExp): Promise<number[]> {
  await until(() => pattern.test(program.out()) || program.hasEnded())
  const found = pattern.exec(program.out())
  if (!found) throw new Error(`it ended: ${program.err()}`)
  return found.slice(1).map(Number)
}

const serving = /"listen":"[^"]*:(\d+)","admin":"[^"]*:(\d+)"/

async function isReady(adminPort: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${adminPort}/readyz`)).status === 200
  } catch {
    return false
  }
}

interface Said {
  readonly level: string
  readonly msg: string
  readonly [field: string]: unknown
}

/** Every line of the log, each of which must be JSON. */
function linesOf(text: string): readonly Said[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Said)
}

const redirecting = JSON.stringify({
  version: 1,
  rules: [{ filters: [{ type: 'RequestRedirect', requestRedirect: { hostname: 'moved.example' } }] }],
})

test('serves from the environment of the predecessor alone, logs JSON lines, and drains on SIGTERM', async () => {
  const program = launch(['run'], {
    PROXY_ADDR: '127.0.0.1:0',
    PROXY_CONFIG_ADDR: '127.0.0.1:0',
    PROXY_AUTH_TOKEN: 'T0ken',
    PROXY_ACCESS_LOG_ENABLED: 'true',
  })
  const [port = 0, adminPort = 0] = await numbersIn(program, serving)
  const put = (): Promise<Response> =>
    fetch(`http://127.0.0.1:${adminPort}/config`, {
      method: 'PUT',
      headers: { authorization: 'Bearer T0ken', 'content-type': 'application/json' },
      body: redirecting,
    })
  await until(async () => (await put().catch(() => undefined))?.status === 200)
  expect(await isReady(adminPort)).toBe(true)
  const response = await fetch(`http://127.0.0.1:${port}/a?secret=1`, { redirect: 'manual' })
  expect(response.headers.get('location')).toBe('http://moved.example/a?secret=1')
  expect(await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()).toMatch(
    /^# TYPE cftunnel_proxy_requests_total counter\ncftunnel_proxy_requests_total\{hostname="",status_class="3xx"\} 1$/m,
  )
  program.signal('SIGTERM')
  expect(await program.ended).toBe(0)
  const lines = linesOf(program.out())
  expect(lines.map(({ msg }) => msg)).toEqual(['serving', 'config applied', 'access', 'draining', 'stopped'])
  expect(lines[2]).toMatchObject({ level: 'INFO', path: '/a', status: 302 })
  expect(lines.map(({ time }) => String(time))).toEqual(lines.map(() => expect.stringMatching(/^2\d{3}-.*Z$/)))
  expect(program.out() + program.err()).not.toMatch(/T0ken|secret=1/)
  expect(program.err()).toBe('')
})

test('a second signal does not wait for what is in flight', async () => {
  const backend = createServer()
  const asked = new Promise<Socket>((resolve) => backend.once('connection', resolve))
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  const file = join(folder, 'config.json')
  const url = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`
  await writeFile(file, JSON.stringify({ version: 1, rules: [{ backends: [{ url, weight: 1 }] }] }))
  const listen = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0']
  const program = launch(['run', '--config', file, ...listen, '--grace-period', '1h'])
  const [port = 0, adminPort = 0] = await numbersIn(program, serving)
  await until(() => isReady(adminPort))
  const client = connect(port, '127.0.0.1')
  client.on('error', () => {})
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  const held = await asked
  held.on('error', () => {})
  program.signal('SIGINT')
  await until(() => program.out().includes('"draining"'))
  program.signal('SIGINT') // the same Ctrl-C, passed on by npm
  await new Promise((resolve) => setTimeout(resolve, 500))
  expect(program.hasEnded()).toBe(false)
  program.signal('SIGINT')
  expect(await program.ended).toBe(1)
  client.destroy()
  held.destroy()
  await new Promise((resolve) => backend.close(resolve))
})

test('a busy port ends it with 1, and a message that names the flag', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const program = launch(['run', '--listen', `127.0.0.1:${port}`, '--admin', '127.0.0.1:0'])
  expect(await program.ended).toBe(1)
  expect(program.err()).toBe(
    `headgate: 127.0.0.1:${port} is in use by another program: end that, or choose another address with --listen.\n`,
  )
  await new Promise((resolve) => server.close(resolve))
})

describe('headgate demo', () => {
  /** One answer of the proxy, asked for by raw HTTP: names below .localhost need no resolver that way. */
  async function ask(port: number, host: string, request: string): Promise<string> {
    const socket = connect(port, '127.0.0.1')
    socket.write(request.replace('\r\n', `\r\nHost: ${host}.localhost:${port}\r\nConnection: close\r\n`))
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    return text
  }

  async function launchDemo(...flags: readonly string[]): Promise<{ program: Running; port: number }> {
    const program = launch(['demo', ...flags, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'])
    const [port = 0] = await numbersIn(program, /examples on http:\/\/127\.0\.0\.1:(\d+),[^]*Ctrl-C ends the demo\./)
    return { program, port }
  }

  test.each([
    { way: 'through a tunnel', flags: [], ray: true },
    { way: 'without a tunnel', flags: ['--direct'], ray: false },
  ])(
    '$way shows what it says, and ends with 0 on Ctrl-C',
    async ({ flags, ray }) => {
      const { program, port } = await launchDemo(...flags)
      expect(program.out()).toContain(`curl -i http://exact-path.localhost:${port}/hello\n`)

      const get = (host: string, path: string, fields = ''): Promise<string> =>
        ask(port, host, `GET ${path} HTTP/1.1\r\n${fields}\r\n`)
      const hello = await get('exact-path', '/hello')
      expect(hello).toContain('"backend": "hello"')
      // The edge gives every request a name, and tells the eyeball and the backend.
      expect([/^CF-RAY: /im.test(hello), hello.includes('"cf-ray"')]).toEqual([ray, ray])
      expect(await get('exact-path', '/hello/there')).toMatch(/^HTTP\/1\.1 404 /)
      expect(await get('header-match', '/')).toContain('"backend": "stable"')
      expect(await get('header-match', '/', 'X-Release: beta\r\n')).toContain('"backend": "beta"')
      expect(await get('rewrite', '/old/page?id=7')).toMatch(
        /"path": "\/new\/page\?id=7"[^]*"host": "rewritten\.example\.com"/,
      )
      expect(await get('redirect', '/some/page')).toMatch(
        /^HTTP\/1\.1 301 [^]*location: https:\/\/www\.example\.com\/some\/page\r\n/i,
      )
      expect(await ask(port, 'mirror', 'POST /orders HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi')).toContain(
        '"backend": "orders"',
      )
      await until(() => program.out().includes('[mirror] shadow got POST /orders\n'))
      expect(await get('server-sent-events', '/events')).toContain('data: event 5 of 5 from ticker')
      const versions = await Promise.all(Array.from({ length: 60 }, () => get('canary', '/')))
      expect(versions.filter((text) => text.includes('"backend": "version-1"')).length).toBeGreaterThan(30)

      const messages: string[] = []
      const socket = new WebSocket(`ws://127.0.0.1:${port}/echo`)
      socket.addEventListener('open', () => socket.send('hello'))
      socket.addEventListener('message', ({ data }) => messages.push(String(data)))
      await until(() => messages.length === 2)
      expect(messages).toEqual(['echo echoes what you send', 'hello'])
      socket.close()

      program.signal('SIGINT')
      expect(await program.ended).toBe(0)
      expect(program.err()).toBe('')
    },
    30_000,
  )

  test('lets a stream end within the grace period', async () => {
    const { program, port } = await launchDemo('--grace-period', '1m')
    const socket = connect(port, '127.0.0.1')
    socket.write(`GET /events HTTP/1.1\r\nHost: server-sent-events.localhost:${port}\r\nConnection: close\r\n\r\n`)
    let text = ''
    socket.on('data', (bytes) => (text += String(bytes)))
    const closed = new Promise((resolve) => socket.once('close', resolve))
    await until(() => text.includes('event 1 of 5'))
    program.signal('SIGINT')
    await closed
    expect(text).toMatch(/event 5 of 5 from ticker\n\n\r\n0\r\n\r\n$/)
    expect(await program.ended).toBe(0)
  }, 30_000)

  test('cuts off what is in flight on a second signal', async () => {
    const { program, port } = await launchDemo('--grace-period', '1h')
    const socket = new WebSocket(`ws://127.0.0.1:${port}/echo`)
    const closed = new Promise((resolve) => socket.addEventListener('close', resolve))
    const opened = new Promise((resolve) => socket.addEventListener('message', resolve))
    await opened
    const stream = connect(port, '127.0.0.1')
    stream.on('error', () => {})
    stream.write(`GET /events HTTP/1.1\r\nHost: server-sent-events.localhost:${port}\r\n\r\n`)
    await new Promise((resolve) => stream.once('data', resolve))
    program.signal('SIGINT')
    await new Promise((resolve) => setTimeout(resolve, 500)) // sooner, it would be taken for the same Ctrl-C
    program.signal('SIGINT')
    expect(await program.ended).toBe(1)
    await closed
    stream.destroy()
  }, 30_000)

  test.each([
    ['--listen', ['--listen']],
    ['--admin', ['--admin']],
    ['--listen', ['--direct', '--listen']],
  ])('ends with 1 and names the flag when the address of %s is taken (%j)', async (flag, flags) => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const other = flag === '--listen' ? '--admin' : '--listen'
    const program = launch(['demo', ...flags, `127.0.0.1:${port}`, other, '127.0.0.1:0'])
    expect(await program.ended).toBe(1)
    expect([program.out(), program.err()]).toEqual([
      '',
      `headgate: 127.0.0.1:${port} is in use by another program: end that, or choose another address with ${flag}.\n`,
    ])
    await new Promise((resolve) => server.close(resolve))
  })
})
