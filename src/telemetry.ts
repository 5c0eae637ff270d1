/** What is told about the running program. Adapters bring the libraries behind these shapes. */

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>

/**
 * A structured log. `error`: a request, connection or config was lost; `warn`: we recovered; `info`: start, stop,
 * config applied. Tokens, bodies and query strings stay out.
 */
export interface Log {
  error(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  debug(message: string, fields?: LogFields): void
}

/** For tests and library use that wants quiet. */
export const silentLog: Log = { error: ignore, warn: ignore, info: ignore, debug: ignore }

function ignore(): void {}

/** Takes whole lines, each with its line feed, and hands them on in larger pieces. */
export interface LineSink {
  write(line: string): void
}

export interface MetricSample {
  /** Appended to the family's name; a histogram's `_bucket`, `_sum` and `_count`. */
  readonly suffix?: string
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
}

/** Numbers kept in plain memory, and read only when somebody scrapes. Prometheus exposition format's words. */
export interface MetricFamily {
  readonly name: string
  readonly help: string
  /** A summary has a sum and a count, and no quantiles. */
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary'
  samples(): Iterable<MetricSample>
}
