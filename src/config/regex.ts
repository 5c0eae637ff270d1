/**
 * Regular expressions of a config: untrusted programs, run on untrusted text. RE2's syntax and its linear time, as the
 * predecessor and the Envoy family have them; JavaScript's own engine backtracks.
 *
 * @see https://github.com/google/re2/wiki/Syntax
 */
import { RE2JS, RE2Set } from 're2js'

const MAX_PATTERN_LENGTH = 4096
/** In instructions. Time to compile and time per character grow with it; whatever people write stays far below. */
const MAX_PROGRAM_SIZE = 2000
/** Of all patterns in one state machine; the library's own limit lies somewhat higher. */
const MAX_SET_SIZE = 500_000
/** Each state machine keeps the states it has seen, up to so many bytes. It starts over when they are used up. */
const MAX_STATE_BYTES = 1 << 23
const STATE_BYTES_PER_SET = 1 << 16
const STATE_BYTES_PER_PATTERN = 1 << 15

interface Judgement {
  readonly fault: string | undefined
  readonly size: number
}

const MAX_REMEMBERED = 20_000
/** Configs come again and again with the same patterns. */
const judgements = new Map<string, Judgement>()

/**
 * Why a pattern cannot be used.
 *
 * @returns one line, or `undefined` for a usable pattern
 */
export function findPatternFault(pattern: string): string | undefined {
  return pattern.length > MAX_PATTERN_LENGTH ? `is longer than ${MAX_PATTERN_LENGTH} characters` : judge(pattern).fault
}

function judge(pattern: string): Judgement {
  const known = judgements.get(pattern)
  if (known !== undefined) return known
  const judgement = compileAlone(pattern)
  if (judgements.size >= MAX_REMEMBERED) judgements.clear()
  judgements.set(pattern, judgement)
  return judgement
}

function compileAlone(pattern: string): Judgement {
  try {
    const size = RE2JS.compile(pattern).programSize()
    return { size, fault: size > MAX_PROGRAM_SIZE ? 'is too large a program' : undefined }
  } catch (error) {
    const fault = error instanceof Error ? error.message.replace('error parsing regexp: ', '') : 'does not compile'
    return { size: 0, fault }
  }
}

/** Several patterns that run over a text together, in one pass. */
export interface PatternSet {
  /** The indexes of those that match, ascending. */
  match(text: string): readonly number[]
}

/** A new config mostly has the old one's patterns: their sets are kept, with the states they have seen. */
const sets = new Map<string, { readonly set: PatternSet; readonly stateBytes: number }>()
const MAX_KEPT_BYTES = 1 << 28
let keptBytes = 0

/**
 * @param patterns usable ones, as {@link findPatternFault} says
 * @param anchored whether a pattern has to match the whole text, or just anything in it
 */
export function compilePatterns(patterns: readonly string[], anchored: boolean): PatternSet {
  const key = JSON.stringify([anchored, patterns])
  const kept = sets.get(key)
  if (kept !== undefined) {
    sets.delete(key)
    sets.set(key, kept)
    return kept.set
  }
  const stateBytes = Math.min(MAX_STATE_BYTES, STATE_BYTES_PER_SET + patterns.length * STATE_BYTES_PER_PATTERN)
  const set = compileSet(patterns, anchored, stateBytes)
  sets.set(key, { set, stateBytes })
  keptBytes += stateBytes
  for (const [oldest, { stateBytes }] of sets) {
    if (keptBytes <= MAX_KEPT_BYTES) break
    sets.delete(oldest)
    keptBytes -= stateBytes
  }
  return set
}

function compileSet(patterns: readonly string[], anchored: boolean, stateBytes: number): PatternSet {
  const parts: { readonly first: number; readonly set: RE2Set }[] = []
  let size = MAX_SET_SIZE
  for (const [index, pattern] of patterns.entries()) {
    size += judge(pattern).size
    if (size > MAX_SET_SIZE) {
      size = judge(pattern).size
      parts.push({ first: index, set: new RE2Set(anchored ? RE2Set.ANCHOR_BOTH : RE2Set.UNANCHORED, 0, stateBytes) })
    }
    parts.at(-1)!.set.add(pattern)
  }
  for (const { set } of parts) set.compile()
  return parts.length === 1
    ? parts[0]!.set
    : { match: (text) => parts.flatMap(({ first, set }) => set.match(text).map((index) => first + index)) }
}
