import type { ConfigIssue } from './issues.ts'

/** What became of a config that was pushed. */
export type PushOutcome =
  | { readonly kind: 'applied'; readonly version: number; readonly diagnostics: readonly ConfigIssue[] }
  | { readonly kind: 'invalid'; readonly issues: readonly ConfigIssue[] }
  /** Older than the one that serves. */
  | { readonly kind: 'stale'; readonly version: number; readonly current: number }
  /** The config comes from somewhere else. */
  | { readonly kind: 'not-accepted'; readonly reason: string }
