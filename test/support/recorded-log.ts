import type { Log, LogFields } from '../../src/telemetry.ts'

export interface RecordedLog extends Log {
  /** `level: message`, in order. */
  readonly lines: string[]
  readonly fields: LogFields[]
}

export function createRecordedLog(): RecordedLog {
  const lines: string[] = []
  const seen: LogFields[] = []
  const say =
    (level: string) =>
    (message: string, fields: LogFields = {}): void => {
      lines.push(`${level}: ${message}`)
      seen.push(fields)
    }
  return { lines, fields: seen, error: say('error'), warn: say('warn'), info: say('info'), debug: say('debug') }
}
