/** HAProxy, one thread: kept upstream connections, Host match, two header edits, X-Forwarded-For, no log. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { questionFor } from '../http2-client.ts'
import { freePorts, output, startChild, untilServing } from '../processes.ts'
import type { Availability, Running, Setup, Variant } from '../variant.ts'

function configuration(setup: Setup, port: number, bufferBytes?: number): string {
  return `
global
  nbthread 1
  maxconn 4096
  ${bufferBytes === undefined ? '' : `tune.bufsize ${bufferBytes}`}
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout client 300s
  timeout connect 5s
  timeout server 10s
  timeout http-keep-alive 300s
frontend in
  bind 127.0.0.1:${port} backlog 4096${setup.door === 'h2c' ? ' proto h2' : ''}
  option forwardfor
  acl bench hdr(host) -i ${setup.host}
  http-request set-header X-Bench 1
  http-response set-header X-Bench 1
  http-request deny deny_status 404 unless bench
  use_backend out if bench
backend out
  server backend 127.0.0.1:${setup.backendPort} pool-max-conn 512
`
}

async function available(): Promise<Availability> {
  try {
    return { version: (await output('haproxy', ['-v'])).replace(/ - [^]*/, '') }
  } catch {
    return { missing: 'no haproxy on the PATH (Debian: haproxy)' }
  }
}

async function start(setup: Setup, name: string, bufferBytes?: number): Promise<Running> {
  const [port = 0] = await freePorts(1)
  const file = join(setup.directory, `${name}.cfg`)
  await writeFile(file, configuration(setup, port, bufferBytes))
  const logFile = join(setup.directory, `${name}.log`)
  const child = await startChild(['haproxy', '-db', '-f', file], { core: setup.core, logFile })
  await untilServing(child, `http://127.0.0.1:${port}/1k`, setup.host, questionFor(setup.door))
  return { port, pid: child.pid, stop: child.stop }
}

export const haproxy: Variant = {
  name: 'haproxy',
  role: 'peer',
  summary: '1 thread, http-reuse always, default buffers (16 KiB)',
  doors: ['http1', 'h2c'],
  available,
  start: (setup) => start(setup, 'haproxy'),
}

/** The default buffer makes HAProxy slow with large bodies, so the tuned one stands beside it. */
export const haproxyBig: Variant = {
  name: 'haproxy-big',
  role: 'peer',
  summary: 'the same with 128 KiB buffers',
  available,
  start: (setup) => start(setup, 'haproxy-big', 131_072),
}
