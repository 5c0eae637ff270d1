/** The library's doors: a service from options in code, or the proxy alone. */
import { defaultOptions, type Options } from '../../src/options.ts'
import { createProxy, type Proxy, type ProxyOptions as AnyProxyOptions } from '../../src/proxy/proxy.ts'
import { start, type Companions, type Service } from '../../src/start.ts'
import { createLines } from './lines.ts'
import { createLog } from './log.ts'
import { createMetricsRenderer } from './metrics.ts'
import { packageVersion, type OpenRuntime } from './program.ts'

/** What is left out is as on the command line. */
export type ServeOptions = Partial<Options> & Partial<Omit<Companions, 'version'>>

/** Those of `createProxy` in src/, but for the runtime. */
export type ProxyOptions = Omit<AnyProxyOptions, 'runtime'>

/** @returns rejects with a StartRefusal whose `reasons` are for the operator */
export async function serveOn(
  openRuntime: OpenRuntime,
  { log, accessLog, renderMetrics, source, ...given }: ServeOptions,
): Promise<Service> {
  const options: Options = { ...defaultOptions(), ...given }
  const lines = createLines(1)
  const { runtime, note } = await openRuntime(options)
  const ownLog = log ?? createLog(options.logLevel, lines)
  if (note !== undefined) ownLog.warn(note)
  return start(options, runtime, {
    log: ownLog,
    accessLog: accessLog ?? lines,
    renderMetrics: renderMetrics ?? createMetricsRenderer(),
    source,
    version: packageVersion(),
  })
}

export async function createProxyOn(openRuntime: OpenRuntime, options: ProxyOptions): Promise<Proxy> {
  const { runtime, note } = await openRuntime({ fastSockets: true })
  if (note !== undefined) options.log?.warn(note)
  return createProxy({ ...options, runtime })
}
