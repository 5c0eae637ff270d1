/**
 * Regular expressions of a config: untrusted programs, run on untrusted text. RE2's syntax and its linear time, as the
 * predecessor and the Envoy family have them; JavaScript's own engine backtracks.
 *
 * @see https://github.com/google/re2/wiki/Syntax
 */
import { RE2JS, RE2Set } from 're2js'

const MAX_PATTERN_LENGTH = 4096
/** Time per character grows with the program; a thousand counted repetitions of anything sane stay far below. */
const MAX_PROGRAM_SIZE = 10_000
/** Each state machine caches the states it has seen, up to so many bytes. It starts over when they are used up. */
const MIN_STATE_BYTES = 1 << 18
const MAX_STATE_BYTES = 1 << 23
const STATE_BYTES_PER_PATTERN = 1 << 15

const MAX_REMEMBERED = 20_000
/** What was wrong with a pattern, or that nothing was: configs come again and again with the same ones. */
const verdicts = new Map<string, string | undefined>()

/**
 * Why a pattern cannot be used.
 *
 * @returns one line, or `undefined` for a usable pattern
 */
export function findPatternFault(pattern: string): string | undefined {
  if (pattern.length > MAX_PATTERN_LENGTH) return `is longer than ${MAX_PATTERN_LENGTH} characters`
  if (verdicts.has(pattern)) return verdicts.get(pattern)
  const verdict = judge(pattern)
  if (verdicts.size >= MAX_REMEMBERED) verdicts.clear()
  verdicts.set(pattern, verdict)
  return verdict
}

function judge(pattern: string): string | undefined {
  try {
    return RE2JS.compile(pattern).programSize() > MAX_PROGRAM_SIZE ? 'is too large a program' : undefined
  } catch (error) {
    return error instanceof Error ? error.message.replace('error parsing regexp: ', '') : 'does not compile'
  }
}

/** Several patterns that run over a text together, in one pass. */
export interface PatternSet {
  /** The indexes of those that match, ascending. */
  match(text: string): readonly number[]
}

/**
 * @param patterns usable ones, as {@link findPatternFault} says
 * @param anchored whether a pattern has to match the whole text, or just anything in it
 */
export function compilePatterns(patterns: readonly string[], anchored: boolean): PatternSet {
  const stateBytes = Math.min(MAX_STATE_BYTES, MIN_STATE_BYTES + patterns.length * STATE_BYTES_PER_PATTERN)
  const set = new RE2Set(anchored ? RE2Set.ANCHOR_BOTH : RE2Set.UNANCHORED, 0, stateBytes)
  for (const pattern of patterns) set.add(pattern)
  set.compile()
  return set
}
