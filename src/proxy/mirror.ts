/** Mirrored requests: sent, and forgotten. They never delay, change or break the request they are copies of. */
import type { Backend } from '../backends/backends.ts'
import type { Patience } from '../backends/patience.ts'
import { joinTarget } from '../backends/target.ts'
import { describeError, errorOf } from '../errors.ts'
import { discardingSink } from '../http/body.ts'
import { engineRequest, targetOf, withUrl } from '../http/request.ts'
import { asEngineResponse } from '../http/response.ts'
import type { Log } from '../telemetry.ts'
import type { Timers } from '../timers.ts'
import { linesBeside, type ClientFacts } from './client-facts.ts'
import { backendFor } from './grpc.ts'

export interface MirrorLimits {
  /** Copies under way at once; more are dropped. */
  readonly maxInFlight: number
  readonly timeoutMs: number
}

export const defaultMirrorLimits: MirrorLimits = { maxInFlight: 256, timeoutMs: 5_000 }

export interface MirrorStats {
  sent: number
  dropped: number
  failed: number
}

export interface Mirrors {
  readonly stats: Readonly<MirrorStats>
  send(request: Request, backend: Backend | undefined, client: ClientFacts): void
}

export function createMirrors(timers: Timers, log: Log, limits: MirrorLimits): Mirrors {
  const stats: MirrorStats = { sent: 0, dropped: 0, failed: 0 }
  let inFlight = 0

  async function deliver(request: Request, backend: Backend, client: ClientFacts): Promise<void> {
    const { target } = backend
    const copy =
      target.basePath === '' && target.baseQuery === ''
        ? request
        : withUrl(request, { target: joinTarget(target, targetOf(request)) })
    const deadlineMs = timers.now() + limits.timeoutMs
    const deadlineError = { kind: 'timeout', limit: 'backendRequest', timeoutMs: limits.timeoutMs } as const
    const patience: Patience = { deadlineMs, late: deadlineError, onLeave() {} }
    const endpoint = backend.endpoint() ?? (await backend.resolve(patience))
    const connection = await endpoint.pool.acquire(patience)
    const lines = linesBeside(engineRequest(copy)!.head, client.lines)
    const how = { dropped: client.dropped, lines, deadlineMs, deadlineError }
    const response = asEngineResponse(await connection.send(copy, how))
    const body = response.holder.take()
    if (!body) return
    await new Promise<void>((resolve) => body.start({ ...discardingSink, end: () => resolve(), fail: () => resolve() }))
  }

  return {
    stats,
    send(request, backend, client) {
      if (!backend || inFlight >= limits.maxInFlight) {
        stats.dropped++
        engineRequest(request)?.holder.take()?.cancel()
        return
      }
      inFlight++
      stats.sent++
      deliver(request, backendFor(request, backend), client).then(
        () => inFlight--,
        (thrown: unknown) => {
          inFlight--
          stats.failed++
          engineRequest(request)?.holder.take()?.cancel()
          log.debug('mirrored request failed', { backend: backend.target.name, reason: describeError(errorOf(thrown)) })
        },
      )
    },
  }
}
