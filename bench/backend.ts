/** The cheap backend: nginx that answers from memory or by sendfile, on the load's core, so that the proxy is what is measured. */
import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { get } from './client.ts'
import { freePorts, startChild, untilServing } from './processes.ts'

export interface Backend {
  port: number
  /** The same over cleartext HTTP/2. */
  h2cPort: number
  /** Requests that it has answered since it started, these questions included. */
  served(): Promise<number>
  stop(): Promise<void>
}

/** Paths end like this, whatever prefix a rule put in front; anything else is answered like `/1k`. */
export const bodies = {
  '/1k': filler(1_024),
  '/64k': filler(65_536),
  '/1m': filler(1_048_576),
  '/post': Buffer.from('ok'),
} as const

export type BodyPath = keyof typeof bodies

/** Different everywhere, so that a shifted, repeated or cut body can't pass for the right one. */
function filler(bytes: number): Buffer {
  let text = ''
  for (let i = 0; text.length < bytes; i++) text += createHash('sha256').update(String(i)).digest('hex')
  return Buffer.from(text.slice(0, bytes))
}

function configuration(directory: string, port: number, h2cPort: number): string {
  return `
daemon off;
worker_processes 1;
pid ${directory}/backend.pid;
error_log stderr warn;
events { worker_connections 16384; }
http {
  access_log off;
  server_tokens off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=16;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  default_type application/octet-stream;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    listen 127.0.0.1:${h2cPort} http2;
    root ${directory}/files;
    location / { return 200 "${bodies['/1k'].toString()}"; }
    location = /64k { }
    location = /1m { }
    location = /post { return 200 "${bodies['/post'].toString()}"; }
    location = /seen { return 200 "$http_x_bench|$http_x_forwarded_for|$http_host"; }
    location = /status { stub_status; }
  }
}
`
}

/** @throws when there is no nginx on the PATH */
export async function startBackend(directory: string, core: number): Promise<Backend> {
  const [port = 0, h2cPort = 0] = await freePorts(2)
  await mkdir(join(directory, 'files'), { recursive: true })
  await Promise.all([
    writeFile(join(directory, 'files', '64k'), bodies['/64k']),
    writeFile(join(directory, 'files', '1m'), bodies['/1m']),
  ])
  const file = join(directory, 'backend.conf')
  await writeFile(file, configuration(directory, port, h2cPort))
  const logFile = join(directory, 'backend.log')
  const child = await startChild(['nginx', '-p', directory, '-c', file], { core, logFile })
  await untilServing(child, `http://127.0.0.1:${port}/1k`, 'backend')
  return {
    port,
    h2cPort,
    async served() {
      const { body } = await get(`http://127.0.0.1:${port}/status`, { host: 'backend' })
      const counts = /^\s*\d+ \d+ (\d+)\s*$/m.exec(body.toString())
      if (!counts) throw new Error('the backend does not tell its counts')
      return Number(counts[1])
    },
    stop: child.stop,
  }
}
