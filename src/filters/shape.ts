/** What a filter is, and what it may know of the request that it is run for. */
import type { RequestMirror } from '../config/proxy-config.ts'
import type { HeaderEdits } from '../http/edits.ts'
import type { Exchange } from '../runtime.ts'

/**
 * A filter of a rule or of a backendRef, made once per config. Leave out the parts you don't need.
 *
 * A change that is the same for every request is given as data, so that a rule of such filters alone costs one edit.
 *
 * @see Gateway API HTTPRouteFilter
 */
export interface Filter {
  /** Asked before any filter of the list has run; what it returns is the answer, and no filter sees it. */
  intercept?(received: Request): Response | undefined
  readonly requestEdits?: HeaderEdits
  /** Returns the request to go on with, or answers at once. In listed order. */
  request?(request: Request, context: RouteContext): Request | Response | Promise<Request | Response>
  readonly responseEdits?: HeaderEdits
  /** Changes a backend's response. In reverse order. */
  response?(response: Response, context: RouteContext): Response | Promise<Response>
  /** Changes an answer that the gateway makes itself: a redirect, an error. Applied twice it does no more than once. */
  ownAnswer?(response: Response, context: RouteContext): Response
}

/** One request on its way through a rule. */
export interface RouteContext {
  readonly exchange: Exchange | undefined
  /** As the client sent it, before any filter. Its body may be in other hands: read the head only. */
  readonly received: Request
  /** What was matched and is forwarded: the received target after path normalisation, query included; or `*`. */
  readonly target: string
  /** The PathPrefix that matched; undefined when another kind of path match did. */
  readonly pathPrefix: string | undefined
  /** The Gateway listener that the request belongs to, not the socket it came in by; undefined when the config has none. */
  readonly listener: { readonly port: number; readonly protocol: 'HTTP' | 'HTTPS' } | undefined
  /** What the client speaks, as far as this hop may believe it. */
  readonly clientScheme: 'http' | 'https'
  /** In [0, 1). */
  random(): number
  /** Sends a copy and forgets about it: returns at once, never throws. Cancels the copy's body if it does not send it. */
  mirror(request: Request, target: MirrorTarget): void
}

/** Where a mirror filter sends its copies. The object itself identifies the mirror: one per filter and config. */
export type MirrorTarget = RequestMirror
