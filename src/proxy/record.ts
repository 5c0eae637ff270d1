/** What every finished request leaves behind. Log lines and metrics are made of it. */
import type { ProxyConfig, Rule } from '../config/proxy-config.ts'
import type { ProxyError } from '../errors.ts'
import type { Head } from '../http/head.ts'

/** `N` no route, `U` upstream failed, `T` timed out, `C` client left, `R` retried, `F` refused, failed or cut off here, `L` loop. */
export type RecordFlag = 'N' | 'U' | 'T' | 'C' | 'R' | 'F' | 'L'

export interface RequestRecord {
  readonly startedAtWallMs: number
  readonly durationMs: number
  /** From the attempt's begin to the head of its answer; absent when there was none. */
  readonly upstreamMs: number | undefined
  readonly method: string
  /** As the client asked, port included. */
  readonly host: string
  /** As received, without query. */
  readonly path: string
  /** Without question mark; '' when there is none. */
  readonly query: string
  readonly httpVersion: string
  /** The client's address by the trust policy; the peer's where nobody is trusted. */
  readonly client: string
  /** The request's head as received, for what a log wants of it. */
  readonly head: Head
  /** 0 when the client left, or we cut it off, before an answer began. */
  readonly status: number
  readonly bytesReceived: number
  readonly bytesSent: number
  readonly upgradeAsked: boolean
  readonly upgraded: boolean
  /** The pattern that covered the host: bounded by the config. '' for none. */
  readonly hostname: string
  /** The rule that matched, and its index in the config that the request was served from. */
  readonly rule: Pick<Rule, 'name' | 'route'> | undefined
  readonly ruleIndex: number | undefined
  readonly config: ProxyConfig | undefined
  /** The chosen backend's label. */
  readonly backend: string | undefined
  /** `address:port` of the last attempt. */
  readonly endpoint: string | undefined
  readonly attempts: number
  readonly flags: readonly RecordFlag[]
  readonly error: ProxyError | undefined
}

export function flagsOf(error: ProxyError | undefined, attempts: number): readonly RecordFlag[] {
  if (error === undefined && attempts <= 1) return noFlags
  const flags: RecordFlag[] = attempts > 1 ? ['R'] : []
  switch (error?.kind) {
    case undefined:
      break
    case 'no-route':
      flags.push('N')
      break
    case 'upstream':
      flags.push('U')
      break
    case 'timeout':
      flags.push('T')
      break
    case 'downstream-gone':
      flags.push('C')
      break
    case 'loop':
      flags.push('L')
      break
    default:
      flags.push('F')
  }
  return flags
}

const noFlags: readonly RecordFlag[] = []
