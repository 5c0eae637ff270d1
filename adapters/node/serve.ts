/** Headgate as a library on Node. */
import type { Proxy } from '../../src/proxy/proxy.ts'
import type { Service } from '../../src/start.ts'
import { createProxyOn, serveOn, type ProxyOptions, type ServeOptions } from '../portable/serve.ts'
import { openRuntime } from './runtime.ts'

/**
 * Serves, as `headgate run` does. Options have the shapes of src/options.ts, not the texts of the command line.
 *
 * @returns rejects with a StartRefusal whose `reasons` are for the operator
 */
export function serve(options: ServeOptions): Promise<Service> {
  return serveOn(openRuntime, options)
}

/**
 * The proxy alone: it listens nowhere and serves nothing until a config is applied; its `fetch` is then a whole HTTP
 * service.
 *
 * @returns rejects with a TypeError for a trusted proxy that is no address or range
 */
export function createProxy(options: ProxyOptions = {}): Promise<Proxy> {
  return createProxyOn(openRuntime, options)
}
