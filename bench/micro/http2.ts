/**
 * What one HTTP/2 request costs, without a backend behind it: our server and node:http2's, each in a process of its own,
 * answer GETs of 1 KiB that h2load sends over 8 connections with 16 streams each, in turn.
 *
 *   node bench/micro/http2.ts [--rounds 3] [--requests 200000]
 */
import { execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { openRuntime } from '../../adapters/node/runtime.ts'
import { bodyOfBytes } from '../../src/http/body.ts'
import { headOf } from '../../src/http/head.ts'
import { responseOf } from '../../src/http/response.ts'
import { defaultHttp2Limits } from '../../src/http2/limits.ts'
import { createHttp2Server } from '../../src/http2/server.ts'
import { createTimers } from '../../src/timers.ts'

const body = new Uint8Array(1_024).fill(120)
const type = 'text/plain; charset=utf-8'

const servers: Readonly<Record<string, () => Promise<number>>> = {
  async ours() {
    const { runtime } = await openRuntime({ fastSockets: true })
    const head = headOf([
      ['Content-Type', type],
      ['Server', 'bench'],
    ])
    const server = createHttp2Server({
      handler: () => responseOf(200, '', head, bodyOfBytes(body)),
      timers: createTimers(runtime.clock),
      scheme: 'http',
      afterTurn: (f) => runtime.afterTurn(f),
      limits: defaultHttp2Limits,
    })
    const at = { host: '127.0.0.1', port: 0 }
    return (await runtime.listen(at, {}, (socket) => void server.accept(socket))).address.port
  },
  async 'node:http2'() {
    const server = createServer()
    server.on('stream', (stream: ServerHttp2Stream) => {
      stream.respond({ ':status': 200, 'content-type': type, 'content-length': body.length, server: 'bench' })
      stream.end(body)
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    return (server.address() as AddressInfo).port
  },
}

/** In the server's process: says where it listens, and what it has used when asked. */
async function serve(name: string): Promise<void> {
  process.on('message', () => process.send!(process.cpuUsage()))
  process.on('disconnect', () => process.exit())
  process.send!(await servers[name]!())
}

/** @returns microseconds of the server's CPU time for each request */
async function measure(name: string, requests: number): Promise<number> {
  const child = fork(import.meta.filename, ['--serve', name])
  try {
    const [port] = (await once(child, 'message')) as [number]
    const load = async (count: number): Promise<void> => {
      const options = ['-c8', '-m16', '-t1', `-n${count}`, `http://127.0.0.1:${port}/assets/app.js?v=17`]
      const { stdout } = await promisify(execFile)('h2load', options)
      if (!stdout.includes(` ${count} succeeded`)) throw new Error(`${name}: not all requests succeeded\n${stdout}`)
    }
    const used = async (): Promise<number> => {
      child.send('used?')
      const [{ user, system }] = (await once(child, 'message')) as [NodeJS.CpuUsage]
      return user + system
    }
    await load(Math.ceil(requests / 4)) // until the compiler is done
    const before = await used()
    await load(requests)
    return ((await used()) - before) / requests
  } finally {
    child.disconnect()
    await once(child, 'exit')
  }
}

async function main(): Promise<void> {
  const rounds = Number(argument('--rounds') ?? 3)
  const requests = Number(argument('--requests') ?? 200_000)
  const names = Object.keys(servers)
  const found = new Map<string, number[]>(names.map((name) => [name, []]))
  for (let round = 0; round < rounds; round++)
    for (const name of names) found.get(name)!.push(await measure(name, requests))
  for (const [name, all] of found) {
    const sorted = all.toSorted((a, b) => a - b)
    const median = sorted[Math.floor(sorted.length / 2)]!
    console.log(
      `${name.padEnd(12)} ${median.toFixed(1)} us of CPU a request [${sorted[0]!.toFixed(1)}-${sorted.at(-1)!.toFixed(1)}]`,
    )
  }
}

function argument(name: string): string | undefined {
  const at = process.argv.indexOf(name)
  return at < 0 ? undefined : process.argv[at + 1]
}

const served = argument('--serve')
await (served === undefined ? main() : serve(served))
