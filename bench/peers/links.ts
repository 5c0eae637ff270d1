/**
 * Ours, three times, under the same load from the same client: through a tunnel, behind our own TLS listener, and over
 * cleartext HTTP/2. What is charged is the gateway's process alone; edge and client are another.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { createAuthority, edgeNames } from '../../src/tunnel/edge/authority.ts'
import type { Field } from '../../src/runtime.ts'
import type { get } from '../client.ts'
import { getOverH2c, getOverHttp2 } from '../http2-client.ts'
import type { Load, LoadResult } from '../load.ts'
import { type Child, freePorts, startChild, untilServing } from '../processes.ts'
import { proxyConfig } from '../proxy-config.ts'
import { browserHead } from '../scenarios.ts'
import type { Running, Setup, Variant } from '../variant.ts'
import { available, runHeadgate, startHeadgate } from './headgate.ts'
import type { LinkOrder, LinksOpened, OpenLinks } from './links/messages.ts'

const here = join(import.meta.dirname, 'links')
const connections = 4
const fields = Object.entries(browserHead) satisfies Field[]

/** The program that holds the connections; none are open yet. */
function startLinks(setup: Setup): Promise<Child> {
  const logFile = join(setup.directory, 'links.log')
  const command = [process.execPath, join(here, 'load.ts')]
  return startChild(command, { core: setup.loadCore, logFile, messages: true, env: { NODE_ENV: 'production' } })
}

function loadOver(links: Child, host: string): (load: Load) => Promise<LoadResult> {
  return async ({ scenario, seconds }) => {
    const order: LinkOrder = { seconds, connections, streams: scenario.streams ?? 1, host, path: scenario.path }
    return (await links.ask(order)) as LoadResult
  }
}

async function dial(links: Child, to: number, ca?: string): Promise<void> {
  const address = { host: '127.0.0.1', port: to }
  await links.ask({ connections, fields, to: address, ...(ca !== undefined && { ca }) } satisfies OpenLinks)
}

interface Stoppable {
  stop(): Promise<void>
}

/** Has a child ended with the others. */
type Keep = <T extends Stoppable>(child: T) => T

/** Starts what takes several processes; those that are there are ended when the next does not come up. */
async function startTogether(start: (keep: Keep) => Promise<Omit<Running, 'stop'>>): Promise<Running> {
  const children: Stoppable[] = []
  const stop = async (): Promise<void> => {
    for (const child of children.splice(0)) await child.stop()
  }
  try {
    const running = await start((child) => {
      children.push(child)
      return child
    })
    return { ...running, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function startTunnel(setup: Setup, keep: Keep): Promise<Omit<Running, 'stop'>> {
  const { directory, host } = setup
  const links = keep(await startLinks(setup))
  const edge = (await links.ask({ connections, fields } satisfies OpenLinks)) as LinksOpened
  const ca = join(directory, 'ca.pem')
  const token = join(directory, 'token')
  await Promise.all([writeFile(ca, edge.certificate), writeFile(token, edge.token, { mode: 0o600 })])
  const dialled = edge.servers.flatMap((server) => ['--edge', server])
  const headgate = keep(
    await runHeadgate({
      ...setup,
      name: 'headgate',
      config: proxyConfig(setup),
      flags: ['--tunnel-token-file', token, '--edge-ca', ca, '--protocol', 'http2', ...dialled],
    }),
  )
  await untilServing(headgate.child, `http://127.0.0.1:${edge.eyeballs}/1k`, host)
  // Connections come up one after the other, a second apart.
  for (const deadline = performance.now() + 20_000; (await links.ask('count')) !== connections; await sleep(100)) {
    if (performance.now() > deadline) throw new Error('not all connections came up within 20 seconds')
  }
  return { port: edge.eyeballs, pid: headgate.pid, load: loadOver(links, host) }
}

async function startTlsListener(setup: Setup, keep: Keep): Promise<Omit<Running, 'stop'>> {
  const { directory, host } = setup
  const authority = await createAuthority(Date.now())
  const { cert, key } = await authority.issue([edgeNames.http2])
  const [port = 0] = await freePorts(1)
  const files = ['config.json', 'cert.pem', 'key.pem'].map((name) => join(directory, name))
  const texts = [JSON.stringify(proxyConfig(setup)), cert, key]
  await Promise.all(files.map((file, i) => writeFile(file, texts[i]!, { mode: 0o600 })))
  const child = keep(
    await startChild([process.execPath, join(here, 'tls-listener.ts'), String(port), ...files], {
      core: setup.core,
      logFile: join(directory, 'listener.log'),
      env: { NODE_ENV: 'production' },
    }),
  )
  const ca = authority.certificate
  const ask: typeof get = (url, what) => getOverHttp2(url.replace(/^http:/, 'https:'), what, ca)
  await untilServing(child, `http://127.0.0.1:${port}/1k`, host, ask)
  const links = keep(await startLinks(setup))
  await dial(links, port, ca)
  return { port, pid: child.pid, ask, load: loadOver(links, host) }
}

async function startH2c(setup: Setup, keep: Keep): Promise<Omit<Running, 'stop'>> {
  const ready = { host: setup.host, prefix: '' }
  const headgate = keep(
    await startHeadgate({ ...setup, name: 'headgate', config: proxyConfig(setup), ready, flags: [] }),
  )
  const links = keep(await startLinks(setup))
  await dial(links, headgate.port)
  return { port: headgate.port, pid: headgate.pid, ask: getOverH2c, load: loadOver(links, setup.host) }
}

export const tunnel: Variant = {
  name: 'tunnel',
  role: 'ours',
  summary: `Headgate with ${connections} connections to an edge in another process; TLS, HTTP/2`,
  doors: ['links'],
  available,
  start: (setup) => startTogether((keep) => startTunnel(setup, keep)),
}

export const ownH2Tls: Variant = {
  name: 'own-h2-tls',
  role: 'ours',
  summary:
    'the proxy behind a TLS listener, HTTP/2 by ALPN: not the program, but made of its parts (bench/peers/links)',
  doors: ['links'],
  available,
  start: (setup) => startTogether((keep) => startTlsListener(setup, keep)),
}

export const ownH2c: Variant = {
  name: 'own-h2c',
  role: 'ours',
  summary: 'Headgate over cleartext HTTP/2',
  doors: ['links'],
  available,
  start: (setup) => startTogether((keep) => startH2c(setup, keep)),
}
