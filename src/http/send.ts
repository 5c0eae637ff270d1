/** What the client ends of both engines are told besides the request. */
import type { ProxyError } from '../errors.ts'
import type { Exchange } from '../runtime.ts'

export interface SendOptions {
  /** Further kinds of field to leave out, a mask of `kind`. */
  readonly dropped?: number
  /** Field lines to add, each ending in CR LF, of names and values that have been checked. */
  readonly lines?: string
  /** Clock milliseconds by which the whole answer must be here; with what to say when it is not. */
  readonly deadlineMs?: number
  readonly deadlineError?: ProxyError
  /** Where 1xx answers go, and whether a 101 is welcome. */
  readonly exchange?: Exchange | undefined
  /** Ends the attempt, where there is no exchange to say that the client left. */
  readonly signal?: AbortSignal | undefined
}
