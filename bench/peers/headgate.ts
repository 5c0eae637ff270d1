/** Ours, feature-complete: full match, two header filters, metrics on, timeouts armed, access log off. */
import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { type Child, freePorts, startChild, untilServing } from '../processes.ts'
import { proxyConfig } from '../proxy-config.ts'
import { type RuleTarget, ruleTargets } from '../rules.ts'
import type { Availability, Running, Setup, Variant } from '../variant.ts'

const root = join(import.meta.dirname, '..', '..')
const program = join(root, 'adapters', 'node', 'main.ts')

export interface HeadgateOptions {
  name: string
  directory: string
  core: number
  config: unknown
  /** A target that answers 200 to a GET of `/1k` as soon as the config is applied. */
  ready: RuleTarget
  flags: readonly string[]
}

export interface RunningHeadgate extends Running {
  adminPort: number
  configFile: string
  pid: number
}

export async function available(): Promise<Availability> {
  try {
    await access(program)
  } catch {
    return { missing: 'adapters/node/main.ts is not there' }
  }
  return { version: `node ${process.versions.node}` }
}

/** The program, with whatever lets requests in; nobody has asked it anything yet. */
export async function runHeadgate(
  options: Omit<HeadgateOptions, 'ready'>,
): Promise<Omit<RunningHeadgate, 'port'> & { child: Child }> {
  const { name, directory, core } = options
  const [adminPort = 0] = await freePorts(1)
  const configFile = join(directory, `${name}.json`)
  await writeFile(configFile, JSON.stringify(options.config))
  const child = await startChild(
    [process.execPath, program, 'run', '--config', configFile, '--admin', `127.0.0.1:${adminPort}`, ...options.flags],
    { core, logFile: join(directory, `${name}.log`), env: { NODE_ENV: 'production' } },
  )
  return { child, adminPort, configFile, pid: child.pid, stop: child.stop }
}

export async function startHeadgate(options: HeadgateOptions): Promise<RunningHeadgate> {
  const { ready } = options
  const [port = 0] = await freePorts(1)
  const running = await runHeadgate({ ...options, flags: ['--listen', `127.0.0.1:${port}`, ...options.flags] })
  await untilServing(running.child, `http://127.0.0.1:${port}${ready.prefix}/1k`, ready.host)
  return { ...running, port }
}

function start(setup: Setup, name: string, flags: readonly string[]): Promise<RunningHeadgate> {
  const [ready = { host: setup.host, prefix: '' }] = ruleTargets(setup)
  return startHeadgate({ ...setup, name, flags, ready, config: proxyConfig(setup) })
}

export const headgate: Variant = {
  name: 'headgate',
  role: 'ours',
  summary: 'with the fast sockets of adapters/node',
  doors: ['http1', 'h2c'],
  available,
  start: (setup) => start(setup, 'headgate', []),
}

export const headgateNet: Variant = {
  name: 'headgate-net',
  role: 'ours',
  summary: 'on public node:net alone (--no-fast-sockets)',
  doors: ['http1', 'h2c'],
  available,
  start: (setup) => start(setup, 'headgate-net', ['--no-fast-sockets']),
}
