import { createRuntime } from '../../adapters/portable/runtime.ts'
import { defaultOptions, type Options } from '../../src/options.ts'
import type { Address, Runtime } from '../../src/runtime.ts'
import { start, type Companions, type Service } from '../../src/start.ts'
import type { MetricSample } from '../../src/telemetry.ts'
import { createRecordedLog, type RecordedLog } from './recorded-log.ts'

export interface TestService extends Service {
  readonly log: RecordedLog
  /** Lines of the access log. */
  readonly accessLog: string[]
  /** `http://127.0.0.1:port` of the first address. */
  readonly url: string
  readonly adminUrl: string
}

export const runtime: Runtime = createRuntime('node', '0.0.0')

const loopback: Address = { host: '127.0.0.1', port: 0 }

/** The whole program in this process, on ports of the system's choice. Metrics are rendered as plain lines. */
export async function startService(
  options: Partial<Options>,
  companions: Partial<Companions> = {},
  host: Runtime = runtime,
): Promise<TestService> {
  const log = createRecordedLog()
  const accessLog: string[] = []
  const service = await start(
    { ...defaultOptions(), listen: [{ address: loopback }], admin: loopback, ...options },
    host,
    {
      log,
      accessLog: { write: (line) => accessLog.push(line) },
      renderMetrics: async (families) => ({
        contentType: 'text/plain',
        text: families
          .flatMap(({ name, samples }) => Array.from(samples(), (sample) => formatSample(name, sample)))
          .join(''),
      }),
      version: '1.2.3',
      ...companions,
    },
  )
  return {
    ...service,
    log,
    accessLog,
    url: `http://127.0.0.1:${service.entries[0]!.address.port}`,
    adminUrl: `http://127.0.0.1:${service.admin.port}`,
  }
}

export function formatSample(name: string, { suffix = '', labels, value }: MetricSample): string {
  const pairs = Object.entries(labels).map(([label, of]) => `${label}="${of}"`)
  return `${name}${suffix}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}\n`
}
