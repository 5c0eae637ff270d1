/**
 * The public door. What is exported here is what a program may build on; everything else may change.
 *
 * `headgate/node` (and `/bun`, `/deno`) have `serve()` and a `createProxy()` that bring the runtime along; those here take
 * one of your own.
 */
export { parseProxyConfig, type ParsedConfig, type ProxyConfig, type WireConfig } from './config/proxy-config.ts'
export type { ConfigIssue } from './config/issues.ts'
export { toWire } from './config/to-wire.ts'
export { redact } from './config/redact.ts'
export { convert, type Conversion, type ConvertOptions } from './gateway/convert.ts'
export { parseManifests, type Manifest } from './gateway/manifest-files.ts'
export { formatDiagnostic, type Diagnostic } from './gateway/diagnostics.ts'
export { defaultOptions, type Options } from './options.ts'
export { readOptions } from './options/read.ts'
export { createProxy, type Proxy, type ProxyOptions } from './proxy/proxy.ts'
export type { RequestRecord } from './proxy/record.ts'
export type { Exchange, Handler, Runtime } from './runtime.ts'
export type { Finding, Loaded, Source } from './sources/source.ts'
export { StartRefusal } from './control/start-refusal.ts'
export { start, type Companions, type Entry, type Service } from './start.ts'
export { silentLog, type LineSink, type Log, type MetricFamily } from './telemetry.ts'
