/**
 * The environment of cloudflare-tunnel-gateway-controller's proxy, read as it read it, so that our image can stand in
 * for its image: where it warned and went on, so do we.
 */
import { parseGoDuration } from '../config/go-duration.ts'

/** @returns undefined for what the predecessor warned about and replaced by its default */
export type LenientReader<T> = (text: string) => T | undefined

/** `1` and `true` are true, all else is false. */
export const truthyWord: LenientReader<boolean> = (text) => ['1', 'true'].includes(text.trim().toLowerCase())

/** `0` and `false` are false, all else is true. */
export const unlessFalsyWord: LenientReader<boolean> = (text) => !['0', 'false'].includes(text.trim().toLowerCase())

/** "Strip the query" the other way round. */
export const notTruthyWord: LenientReader<boolean> = (text) => !truthyWord(text)

/** A positive duration, cut off at `longestMs`. */
export function positiveDuration(longestMs = Infinity): LenientReader<number> {
  return (text) => {
    const durationMs = parseGoDuration(text.trim())
    return durationMs === undefined || durationMs <= 0 ? undefined : Math.min(durationMs, longestMs)
  }
}

/** Any number, moved into 0 to 1. */
export const clampedShare: LenientReader<number> = (text) => {
  const number = text.trim() === '' ? NaN : Number(text)
  return Number.isNaN(number) ? undefined : Math.min(Math.max(number, 0), 1)
}

/** Names that it or the reference connector knows and that have no counterpart here, and what follows from that. */
export const withoutCounterpart: Readonly<Record<string, string>> = {
  PROXY_TUNNEL_PROTOCOL_WAIT:
    'the tunnel is connected once there is a config, however long that takes, and follows it when gRPC routes come later',
  PROXY_MIRROR_MAX_IN_FLIGHT: 'mirrors have a limit of their own, 256 copies under way',
  PROXY_ALLOW_X_ORIGINAL_HOST: 'X-Original-Host is dropped, whoever sends it',
  PROXY_TRACING_ENABLED: 'this version sends no traces',
  PROXY_TRACING_ENDPOINT: 'this version sends no traces',
  PROXY_TRACING_SAMPLE_RATE: 'this version sends no traces',
  TUNNEL_POST_QUANTUM:
    'the TLS of the runtime chooses the key exchange with the edge, and may take one without post-quantum algorithms',
  TUNNEL_EDGE_BIND_ADDRESS: 'the system chooses the address that the edge is dialled from',
  TUNNEL_RETRIES: 'every connection is retried for ever',
  TUNNEL_STREAM_WRITE_TIMEOUT: 'how long a stream waits for the edge cannot be set',
  TUNNEL_DISABLE_QUIC_PMTU: 'the QUIC of the runtime chooses the size of packets',
}
