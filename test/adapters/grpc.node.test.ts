import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { status, type StatusObject } from '@grpc/grpc-js'
import { expect, test } from 'vitest'
import { createGrpcClient, startGrpcBackend } from '../support/grpc.ts'

/* The program as it is run, on each runtime, between a gRPC client and a gRPC server that know Node alone. */

const root = fileURLToPath(new URL('../../', import.meta.url))

test.each([
  ['node', ['adapters/node/headgate.js']],
  ['bun', ['adapters/bun/main.ts']],
  ['deno', ['run', '-A', 'adapters/deno/main.ts']],
])('gRPC through the gateway on %s', async (runtime, program) => {
  const folder = await mkdtemp(join(tmpdir(), 'headgate-grpc-'))
  const backend = await startGrpcBackend()
  const config = join(folder, 'config.json')
  const url = `http://127.0.0.1:${backend.port}`
  await writeFile(config, JSON.stringify({ version: 1, rules: [{ backends: [{ url, weight: 1, protocol: 'h2c' }] }] }))
  const options = ['run', '--config', config, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0']
  const child = spawn(join(root, 'node_modules/.bin', runtime), [...program, ...options], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit')
  try {
    const client = createGrpcClient(await addressOf(child.stdout), 'grpc.example.com')
    const message = Buffer.alloc(2_000_000, 7)
    const reply = await client.say(message)
    expect(reply.message.equals(message)).toBe(true)
    expect(reply.trailers.get('x-after')).toEqual(['trailer'])
    expect(await client.sum(Array.from({ length: 16 }, () => message))).toBe(32_000_000)
    const call = client.talk()
    const over = once(call, 'status') as Promise<[StatusObject]>
    for (const text of ['one', 'two', 'three']) {
      const answer = once(call, 'data') as Promise<[Buffer]>
      call.write(Buffer.from(text))
      expect(String((await answer)[0])).toBe(text)
    }
    call.end()
    expect((await over)[0].code).toBe(status.OK)
    const hanging = client.hang()
    hanging.cancel()
    expect((await hanging.failed).code).toBe(status.CANCELLED)
    client.close()
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
  } finally {
    child.kill('SIGKILL')
    await ended
    backend.close()
    await rm(folder, { recursive: true, force: true })
  }
})

/** Where it listens, as its log says. */
async function addressOf(log: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface(log)) {
    const { listen } = JSON.parse(line) as { listen?: string }
    if (listen !== undefined) return listen
  }
  throw new Error('it ended before it listened')
}
