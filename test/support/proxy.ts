/** A proxy behind a real door on port 0, with everything it leaves behind at hand. */
import { expect } from 'vitest'
import { parseProxyConfig, type ProxyConfig, type WireConfig } from '../../src/config/proxy-config.ts'
import { defaultHttp1Limits, type Http1Limits } from '../../src/http1/limits.ts'
import { createHttp1Server } from '../../src/http1/server.ts'
import { createProxy, type Proxy, type ProxyOptions } from '../../src/proxy/proxy.ts'
import type { RequestRecord } from '../../src/proxy/record.ts'
import { toResponse } from '../../src/proxy/respond.ts'
import type { Address, Exchange, Handler } from '../../src/runtime.ts'
import { createTimers, type Timers } from '../../src/timers.ts'
import { runtime as ours } from './runtime.ts'

export type WireRule = NonNullable<NonNullable<WireConfig['rules']>[number]>

export interface Rig extends AsyncDisposable {
  readonly proxy: Proxy
  readonly address: Address
  readonly port: number
  readonly timers: Timers
  /** One per finished request, in the order in which they finished. */
  readonly records: readonly RequestRecord[]
  /** Resolves when there are so many records. */
  recorded(count: number): Promise<readonly RequestRecord[]>
  apply(rules: readonly WireRule[], more?: Partial<WireConfig>): void
}

export interface RigOptions extends Partial<ProxyOptions> {
  readonly config?: Partial<WireConfig>
  readonly limits?: Partial<Http1Limits>
  readonly host?: string
  /** Changes what the engine says of an exchange before the proxy sees it. */
  readonly exchange?: (exchange: Exchange) => Exchange
}

/** As if it had been pushed. @throws Error naming what is wrong with it */
export function configOf(rules: readonly WireRule[], more: Partial<WireConfig> = {}): ProxyConfig {
  const parsed = parseProxyConfig(JSON.parse(JSON.stringify({ version: 1, ...more, rules })))
  if (!parsed.config) throw new Error(JSON.stringify(parsed.issues))
  return parsed.config
}

export async function startProxy(rules: readonly WireRule[], options: RigOptions = {}): Promise<Rig> {
  const { config, limits, host = '127.0.0.1', exchange: change, runtime = ours, ...own } = options
  const timers = own.timers ?? createTimers(runtime.clock)
  const records: RequestRecord[] = []
  let wake: (() => void)[] = []
  const proxy = createProxy({
    runtime,
    allowLoopbackBackends: true,
    ...own,
    timers,
    onRecord(record) {
      records.push(record)
      own.onRecord?.(record)
      for (const each of wake) each()
    },
  })
  const handler: Handler = change
    ? (request, exchange) => proxy.fetch(request, exchange && change(exchange))
    : proxy.fetch
  const server = createHttp1Server({
    handler,
    limits: { ...defaultHttp1Limits, ...limits },
    timers,
    scheme: 'http',
    refuse: toResponse,
  })
  const listener = await runtime.listen({ host, port: 0 }, {}, (socket) => void server.accept(socket))
  const apply = (next: readonly WireRule[], more?: Partial<WireConfig>): void => {
    expect(proxy.apply(configOf(next, more))).toEqual([])
  }
  apply(rules, config)
  return {
    proxy,
    address: listener.address,
    port: listener.address.port,
    timers,
    records,
    async recorded(count) {
      while (records.length < count) {
        await new Promise<void>((resolve) => (wake = [...wake, resolve]))
        wake = []
      }
      return records
    },
    apply,
    async [Symbol.asyncDispose]() {
      const closed = listener.close()
      server.destroy()
      proxy.close()
      await closed
    },
  }
}

/** One rule for everything, with one backend. */
export function toBackend(url: string, more: Omit<WireRule, 'backends'> = {}): WireRule[] {
  return [{ ...more, backends: [{ url, weight: 1 }] }]
}
