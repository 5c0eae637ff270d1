/** The log, as JSON lines in the words of Go's slog, which the predecessor's operators parse. */
import { pino } from 'pino'
import type { Log, LogFields } from '../../src/telemetry.ts'
import type { BufferedLines } from './lines.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** A last fence: nobody should pass these. */
const secretFields = ['token', 'authorization', 'password', 'secret', 'cookie', 'key']

export function createLog(level: LogLevel, lines: BufferedLines): Log {
  const logger = pino(
    {
      level,
      base: null,
      messageKey: 'msg',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label.toUpperCase() }) },
      redact: { paths: secretFields, censor: '[redacted]' },
    },
    { write: (line: string) => lines.write(line) },
  )
  const say =
    (level: LogLevel) =>
    (message: string, fields?: LogFields): void => {
      logger[level](fields ?? {}, message)
      if (level === 'error' || level === 'warn') lines.flush()
    }
  return { error: say('error'), warn: say('warn'), info: say('info'), debug: say('debug') }
}
