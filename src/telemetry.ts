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
