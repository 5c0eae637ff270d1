/** Ours, feature-complete: full match, two header filters, metrics on, timeouts armed, access log off. */
import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { freePorts, startChild, untilServing } from '../processes.ts'
import { proxyConfig } from '../proxy-config.ts'
import { ruleTargets } from '../rules.ts'
import type { Setup, Variant } from '../variant.ts'

const root = join(import.meta.dirname, '..', '..')
const program = join(root, 'adapters', 'node', 'main.ts')

async function available() {
  try {
    await access(program)
  } catch {
    return { missing: 'adapters/node/main.ts is not there' }
  }
  return { version: `node ${process.versions.node}` }
}

async function start(setup: Setup, name: string, flags: readonly string[]) {
  const [port = 0, adminPort = 0] = await freePorts(2)
  const config = join(setup.directory, `${name}.json`)
  await writeFile(config, JSON.stringify(proxyConfig(setup)))
  const listen = ['--listen', `127.0.0.1:${port}`, '--admin', `127.0.0.1:${adminPort}`]
  const child = await startChild([process.execPath, program, 'run', '--config', config, ...listen, ...flags], {
    core: setup.core,
    logFile: join(setup.directory, `${name}.log`),
    env: { NODE_ENV: 'production' },
  })
  const target = ruleTargets(setup)[0]
  await untilServing(child, `http://127.0.0.1:${port}${target?.prefix ?? ''}/1k`, target?.host ?? setup.host)
  return { port, adminPort, pid: child.pid, stop: child.stop }
}

export const headgate = {
  name: 'headgate',
  role: 'ours',
  summary: 'with the fast sockets of adapters/node',
  available,
  start: (setup: Setup) => start(setup, 'headgate', []),
} satisfies Variant

export const headgateNet = {
  name: 'headgate-net',
  role: 'ours',
  summary: 'on public node:net alone (--no-fast-sockets)',
  available,
  start: (setup: Setup) => start(setup, 'headgate-net', ['--no-fast-sockets']),
} satisfies Variant
