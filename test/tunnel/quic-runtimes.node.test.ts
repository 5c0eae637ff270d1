import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { hasQuic } from '../support/quic.ts'
import { until } from '../support/until.ts'

/* The program as it is run, an edge of one runtime and a connector of another: three QUICs, each with each other's. */

const root = fileURLToPath(new URL('../../', import.meta.url))
const programs = {
  node: ['adapters/node/headgate.js'],
  bun: ['adapters/bun/main.ts'],
  deno: ['run', '-A', 'adapters/deno/main.ts'],
} as const
type Name = keyof typeof programs
/** On Node it is an optional package, which is not everywhere. */
const names = (Object.keys(programs) as Name[]).filter((name) => name !== 'node' || hasQuic)

const children: ChildProcess[] = []
afterEach(async () => {
  await Promise.all(
    children.splice(0).map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    }),
  )
})

interface Running {
  readonly child: ChildProcess
  said(): string
}

function launch(name: Name, argv: readonly string[]): Running {
  const child = spawn(join(root, 'node_modules/.bin', name), [...programs[name], ...argv], { cwd: root })
  children.push(child)
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  return { child, said: () => said }
}

test.each(names)('an edge on %s serves through connectors on the others, over QUIC', async (edgeName) => {
  const folder = await mkdtemp(join(tmpdir(), 'headgate-quic-'))
  const backend = createServer((request, response) => {
    response.setHeader('x-method', request.method!)
    request.pipe(response)
  }).listen(0, '127.0.0.1')
  try {
    const doors = ['--listen', '127.0.0.1:0', '--connectors', '127.0.0.1:0', '--api', '127.0.0.1:0']
    const edge = launch(edgeName, ['edge', ...doors, '--directory', folder])
    await until(() => edge.said().includes('Connect with'))
    const [, eyeballs] = /Requests go to (http:\S+)\./.exec(edge.said())!
    const [, dial] = /--edge (127\S+)/.exec(edge.said())!
    const origin = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`
    const trust = ['--tunnel-token-file', `${folder}/token`, '--edge-ca', `${folder}/ca.pem`]
    const how = ['--edge', dial!, '--connections', '1', '--protocol', 'quic', '--admin', '127.0.0.1:0']
    for (const name of names.filter((other) => other !== edgeName)) {
      const connector = launch(name, ['run', '--origin', origin, ...trust, ...how])
      await until(() => /"protocol":"quic","location"/.test(connector.said()))
      const body = new Uint8Array(2_000_000).map((_, at) => at % 251)
      for (const method of ['POST', 'PUT']) {
        const answer = await fetch(`${eyeballs}/`, { method, body })
        expect([answer.status, answer.headers.get('x-method')]).toEqual([200, method])
        expect(Buffer.from(await answer.arrayBuffer()).equals(body)).toBe(true)
      }
      const left = once(connector.child, 'exit')
      connector.child.kill('SIGTERM')
      expect(await left).toEqual([0, null])
    }
    const closed = once(edge.child, 'exit')
    edge.child.kill('SIGINT')
    expect(await closed).toEqual([0, null])
  } finally {
    backend.close()
    await rm(folder, { recursive: true, force: true })
  }
})
