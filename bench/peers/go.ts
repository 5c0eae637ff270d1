/** Go's httputil.ReverseProxy, built from ./go with the toolchain at hand: what most Go gateways are made of. */
import { join } from 'node:path'

import { freePorts, output, scratchDirectory, startChild, untilServing } from '../processes.ts'
import type { Variant } from '../variant.ts'

let built: Promise<string> | undefined

/** Once per run; from the standard library alone, so nothing is downloaded. */
function build(): Promise<string> {
  const program = join(scratchDirectory(), 'go-reverse-proxy')
  built ??= output('go', ['build', '-C', join(import.meta.dirname, 'go'), '-o', program, '.'], {
    GOTOOLCHAIN: 'local',
    GOPROXY: 'off',
    GOFLAGS: '',
    GOWORK: 'off',
  }).then(() => program)
  return built
}

export const go: Variant = {
  name: 'go',
  role: 'peer',
  summary: 'httputil.ReverseProxy, GOMAXPROCS=1, buffer pool, 512 kept upstream connections, compression off',
  async available() {
    try {
      return { version: (await output('go', ['version'], { GOTOOLCHAIN: 'local' })).trim().replace('go version ', '') }
    } catch {
      return { missing: 'no Go toolchain on the PATH (Debian: golang-go)' }
    }
  },
  async start(setup) {
    const program = await build()
    const [port = 0] = await freePorts(1)
    const child = await startChild(
      [program, `127.0.0.1:${port}`, setup.host, `http://127.0.0.1:${setup.backendPort}`],
      { core: setup.core, logFile: join(setup.directory, 'go.log'), env: { GOMAXPROCS: '1' } },
    )
    await untilServing(child, `http://127.0.0.1:${port}/1k`, setup.host)
    return { port, pid: child.pid, stop: child.stop }
  },
}
