/** nginx, one worker: kept upstream connections, Host match, two header edits, X-Forwarded-For, no access log. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { questionFor } from '../http2-client.ts'
import { freePorts, output, startChild, untilServing } from '../processes.ts'
import type { Setup, Variant } from '../variant.ts'

/**
 * nginx's own default (8 buffers of 4 or 8 KiB) suits small bodies; for large ones an operator raises them, and with 64 KiB
 * it needs less than half of the CPU.
 */
function buffers(bodyBytes: number): string {
  return bodyBytes < 32_768 ? '' : 'proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;'
}

function configuration(setup: Setup, port: number): string {
  const http2 = setup.door === 'h2c' ? ' http2' : ''
  return `
daemon off;
worker_processes 1;
pid ${setup.directory}/nginx.pid;
error_log stderr warn;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path ${setup.directory}/body;
  proxy_temp_path ${setup.directory}/proxy;
  fastcgi_temp_path ${setup.directory}/fastcgi;
  uwsgi_temp_path ${setup.directory}/uwsgi;
  scgi_temp_path ${setup.directory}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  upstream backend {
    server 127.0.0.1:${setup.backendPort};
    keepalive 512;
    keepalive_requests 1000000000;
  }
  server { listen 127.0.0.1:${port} default_server${http2} backlog=4096; return 404; }
  server {
    listen 127.0.0.1:${port}${http2};
    server_name ${setup.host};
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Bench 1;
      add_header X-Bench 1;
      proxy_connect_timeout 5s;
      proxy_read_timeout 10s;
      ${buffers(setup.bodyBytes)}
    }
  }
}
`
}

export const nginx: Variant = {
  name: 'nginx',
  role: 'peer',
  summary: '1 worker, 512 kept upstream connections, 64 KiB buffers for bodies of 32 KiB and more',
  doors: ['http1', 'h2c'],
  async available() {
    try {
      return { version: (await output('nginx', ['-v'])).trim() }
    } catch {
      return { missing: 'no nginx on the PATH (Debian: nginx-light)' }
    }
  },
  async start(setup) {
    const [port = 0] = await freePorts(1)
    const file = join(setup.directory, 'nginx.conf')
    await writeFile(file, configuration(setup, port))
    const logFile = join(setup.directory, 'nginx.log')
    const child = await startChild(['nginx', '-p', setup.directory, '-c', file], { core: setup.core, logFile })
    await untilServing(child, `http://127.0.0.1:${port}/1k`, setup.host, questionFor(setup.door))
    return { port, pid: child.pid, stop: child.stop }
  },
}
