/** A `Runtime` over the `node:` modules that Node, Bun and Deno all have. The adapters change what they do better. */
import { timingSafeEqual } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import type { Clock, Runtime } from '../../src/runtime.ts'
import { files } from './files.ts'
import { resolver } from './resolver.ts'
import { connect, listen, type DialOptions } from './sockets.ts'

export const clock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  every(periodMs, f) {
    const timer = setInterval(f, periodMs)
    timer.unref()
    return () => clearInterval(timer)
  },
}

export function createRuntime(name: Runtime['name'], version: string, dial: DialOptions = {}): Runtime {
  return {
    name,
    version,
    platform: { os: process.platform, architecture: process.arch },
    connect: (to, options) => connect(to, options, dial),
    listen: (at, options, accept) => listen(at, options, accept, dial),
    resolver,
    files,
    clock,
    afterTurn: (f) => void setImmediate(f),
    equalInConstantTime: (a, b) => a.length === b.length && timingSafeEqual(a, b),
  }
}
