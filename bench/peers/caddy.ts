/** Caddy on one core: kept upstream connections, Host match, two header edits, X-Forwarded-For, no log, no compression. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { questionFor } from '../http2-client.ts'
import { freePorts, output, startChild, untilServing } from '../processes.ts'
import type { Setup, Variant } from '../variant.ts'

/** Its native JSON: with a Caddyfile it would set up redirects and certificates that nobody here asks for. */
function configuration(setup: Setup, port: number): unknown {
  const proxy = {
    handler: 'reverse_proxy',
    transport: {
      protocol: 'http',
      compression: false,
      dial_timeout: '5s',
      response_header_timeout: '10s',
      keep_alive: { max_idle_conns: 512, max_idle_conns_per_host: 512, idle_timeout: '300s' },
    },
    upstreams: [{ dial: `127.0.0.1:${setup.backendPort}` }],
    headers: { request: { set: { 'X-Bench': ['1'] } }, response: { set: { 'X-Bench': ['1'] } } },
  }
  return {
    admin: { disabled: true },
    logging: { logs: { default: { level: 'ERROR' } } },
    apps: {
      http: {
        servers: {
          bench: {
            listen: [`127.0.0.1:${port}`],
            protocols: setup.door === 'h2c' ? ['h1', 'h2', 'h2c'] : ['h1'],
            automatic_https: { disable: true },
            routes: [
              { match: [{ host: [setup.host] }], handle: [proxy], terminal: true },
              { handle: [{ handler: 'static_response', status_code: 404 }] },
            ],
          },
        },
      },
    },
  }
}

export const caddy: Variant = {
  name: 'caddy',
  role: 'peer',
  summary: 'GOMAXPROCS=1, 512 kept upstream connections, compression off',
  doors: ['http1', 'h2c'],
  async available() {
    try {
      return { version: `caddy ${(await output('caddy', ['version'])).trim()}` }
    } catch {
      return { missing: 'no caddy on the PATH (Debian: caddy)' }
    }
  },
  async start(setup) {
    const [port = 0] = await freePorts(1)
    const file = join(setup.directory, 'caddy.json')
    await writeFile(file, JSON.stringify(configuration(setup, port)))
    const child = await startChild(['caddy', 'run', '--config', file], {
      core: setup.core,
      logFile: join(setup.directory, 'caddy.log'),
      env: { GOMAXPROCS: '1', XDG_DATA_HOME: setup.directory, XDG_CONFIG_HOME: setup.directory },
    })
    await untilServing(child, `http://127.0.0.1:${port}/1k`, setup.host, questionFor(setup.door))
    return { port, pid: child.pid, stop: child.stop }
  },
}
