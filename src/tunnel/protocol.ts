import { type ConnectionFailure, failureHandling } from './connection-failure.ts'

/** What carries an edge connection. */
export type Transport = 'quic' | 'http2'
export type ProtocolSetting = 'auto' | Transport

/** Which transport new connections use, and which one is left to try. */
export interface ProtocolChoice {
  readonly first: Transport
  readonly fallback: Transport | undefined
}

export interface ProtocolSituation {
  readonly setting: ProtocolSetting
  readonly quicAvailable: boolean
  /** Whether the config has routes that need trailers (gRPC), which QUIC streams cannot carry. */
  readonly needsTrailers: boolean
  /** What the edge's operators wish, where that is asked for and known. */
  readonly percentages?: ProtocolPercentages | undefined
  /** 0 to 99; see accountThreshold. */
  readonly threshold: number
}

/**
 * Chooses the transport. A choice made by the user has no fallback.
 *
 * Where the percentages are wanted but unknown, QUIC with its fallback is as good a start as it is without them (the
 * reference client starts with HTTP/2 then, by accident of its zero value).
 *
 * @see cloudflared, connection/protocol.go
 */
export function chooseProtocol(situation: ProtocolSituation): ProtocolChoice {
  const { setting, quicAvailable, needsTrailers, percentages, threshold } = situation
  if (setting !== 'auto') return { first: setting, fallback: undefined }
  if (needsTrailers || !quicAvailable) return { first: 'http2', fallback: undefined }
  const first = percentages === undefined ? 'quic' : chooseByPercentage(percentages, threshold)
  return { first, fallback: first === 'quic' ? 'http2' : undefined }
}

/** Percentage of accounts that are to use a protocol. */
export type ProtocolPercentages = ReadonlyMap<string, number>

/** The record that says which protocols are wished for: JSON, an array of `protocol` and `percentage`. */
export const percentagesName = 'protocol-v2.argotunnel.com'
/** How long an answer is used. */
export const percentagesValidMs = 60 * 60_000

/** @returns `undefined` when the record is not what it should be */
export function parsePercentages(record: string): ProtocolPercentages | undefined {
  let entries: unknown
  try {
    entries = JSON.parse(record)
  } catch {
    return undefined
  }
  if (!Array.isArray(entries)) return undefined
  const percentages = new Map<string, number>()
  for (const entry of entries as unknown[]) {
    if (typeof entry !== 'object' || entry === null) return undefined
    const { protocol, percentage } = entry as Record<string, unknown>
    if (typeof protocol !== 'string' || typeof percentage !== 'number' || !Number.isInteger(percentage))
      return undefined
    percentages.set(protocol.toLowerCase(), percentage)
  }
  return percentages
}

/** The first protocol whose percentage is above the account's threshold, in order of preference; QUIC if none is. */
export function chooseByPercentage(percentages: ProtocolPercentages, threshold: number): Transport {
  const preference: readonly Transport[] = ['quic', 'http2']
  return preference.find((transport) => (percentages.get(transport) ?? 0) > threshold) ?? 'quic'
}

/** Spreads accounts over 0 to 99: FNV-1a, 32 bits, of the account tag. */
export function accountThreshold(accountTag: string): number {
  return fnv1a(new TextEncoder().encode(accountTag)) % 100
}

export function fnv1a(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

/** One connection's transport, and what it has been through. */
export interface TransportState {
  readonly transport: Transport
  readonly inFallback: boolean
  /** Failures since the last registration, or since the transport was changed. */
  readonly retries: number
  readonly dialFailures: number
}

export interface FallbackRules {
  /** Failures of a kind that another protocol might cure, before it is tried. */
  readonly maxRetries: number
  /**
   * Dials that failed with an answer, before another protocol is tried. The reference client waits for nine of them,
   * minutes without service.
   */
  readonly maxDialFailures: number
  /** Whether any connection of this process ever registered over the chosen transport: then it works here. */
  readonly proven: boolean
}

export const defaultFallbackRules: FallbackRules = { maxRetries: 5, maxDialFailures: 3, proven: false }

export function startTransport(choice: ProtocolChoice): TransportState {
  return { transport: choice.first, inFallback: false, retries: 0, dialFailures: 0 }
}

/** A success ends the fallback: the next failure gives the chosen transport another chance. */
export function afterRegistration(state: TransportState): TransportState {
  return { ...state, inFallback: false, retries: 0, dialFailures: 0 }
}

/**
 * Which transport the next attempt of a connection uses.
 *
 * @see cloudflared, supervisor/tunnel.go (selectNextProtocol)
 */
export function afterFailure(
  state: TransportState,
  failure: ConnectionFailure,
  choice: ProtocolChoice,
  rules: FallbackRules,
): TransportState {
  const isDial = failure === 'unreachable' || failure === 'quic-blocked'
  const next: TransportState = {
    ...state,
    retries: Math.min(state.retries + 1, rules.maxRetries),
    dialFailures: isDial ? state.dialFailures + 1 : state.dialFailures,
  }
  if (!isAllowed(next.transport, choice)) return startTransport(choice)
  if (rules.proven) return next.transport === choice.first ? next : startTransport(choice)
  if (choice.fallback !== undefined && next.transport !== choice.fallback && deservesFallback(next, failure, rules)) {
    return { transport: choice.fallback, inFallback: true, retries: 0, dialFailures: 0 }
  }
  const { fallback } = failureHandling[failure]
  return !next.inFallback && fallback !== 'never' && next.transport !== choice.first ? startTransport(choice) : next
}

/** Whether a live connection uses a transport that the choice no longer allows, so that it has to be moved. */
export function isAllowed(transport: Transport, choice: ProtocolChoice): boolean {
  return transport === choice.first || transport === choice.fallback
}

function deservesFallback(state: TransportState, failure: ConnectionFailure, rules: FallbackRules): boolean {
  switch (failureHandling[failure].fallback) {
    case 'at-once':
      return true
    case 'after-dial-failures':
      return state.dialFailures >= rules.maxDialFailures
    case 'after-retries':
      return state.retries >= rules.maxRetries
    case 'never':
      return false
  }
}
