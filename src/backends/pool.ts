/**
 * Kept connections to one endpoint: the one used last is used next, so that what is not needed goes cold and is closed.
 */
import { ProxyFailure, type ProxyError } from '../errors.ts'
import type { Http1Connection } from '../http1/client.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'
import { limitOf, type Patience } from './patience.ts'

export interface PoolLimits {
  /** Connections to one endpoint, dialling and upgraded ones included. */
  readonly maxConnections: number
  /** Requests that wait for a connection to one endpoint, those not counted for which one is being dialled. */
  readonly maxWaiting: number
  /** How long a request waits for a connection or a DNS answer where its route sets no shorter limit. */
  readonly waitTimeoutMs: number
  /** A connection that is not used for so long has been closed. */
  readonly idleTimeoutMs: number
  readonly connectTimeoutMs: number
}

export const defaultPoolLimits: PoolLimits = {
  maxConnections: 1024,
  maxWaiting: 1024,
  waitTimeoutMs: 10_000,
  idleTimeoutMs: 60_000,
  connectTimeoutMs: 5_000,
}

/** An endpoint that could not be reached is passed by for so long, where there are others. */
const suspectMs = 5_000

/** What a pool keeps: a connection, or a place on one that several share. */
export type PooledConnection = Pick<Http1Connection, 'closed' | 'begin' | 'send' | 'destroy'>

export interface PoolEvents {
  /** The exchange is over and the connection can take another. */
  onIdle(connection: PooledConnection): void
  /** The connection is gone, or must not be used again. Once. */
  onClose(connection: PooledConnection): void
}

export interface PoolOptions {
  readonly timers: Timers
  readonly limits: PoolLimits
  /** Dials and wraps a new connection. Rejects with a {@link ProxyFailure}. */
  readonly open: (events: PoolEvents) => Promise<PooledConnection>
}

interface Waiter {
  resolve(connection: PooledConnection): void
  reject(failure: ProxyFailure): void
  readonly timer: TimerEntry
}

export class Pool {
  /** Requests that hold a connection or wait for one. */
  inFlight = 0
  private readonly options: PoolOptions
  /** Coldest first. */
  private readonly idle: PooledConnection[] = []
  /** Longest wait first. */
  private readonly waiters = new Set<Waiter>()
  private readonly sweep: TimerEntry
  private total = 0
  private dialling = 0
  /** The fewest idle connections since the last sweep: so many have not been needed. */
  private unneeded = 0
  private sweeping = false
  private draining = false
  private suspectUntilMs = 0

  constructor(options: PoolOptions) {
    this.options = options
    this.sweep = createTimerEntry(() => this.closeUnneeded())
  }

  /** Connections, dialling ones included. */
  get size(): number {
    return this.total
  }

  /** True for a while after it could not be reached. */
  get suspect(): boolean {
    return this.suspectUntilMs !== 0 && this.options.timers.now() < this.suspectUntilMs
  }

  /** A kept connection, if there is one. */
  take(): PooledConnection | undefined {
    const connection = this.idle.pop()
    if (connection === undefined) return undefined
    if (this.idle.length < this.unneeded) this.unneeded = this.idle.length
    this.inFlight++
    return connection
  }

  /**
   * A connection, kept, dialled or waited for.
   *
   * @param fresh true to pass kept connections by
   * @returns rejects with a {@link ProxyFailure}
   */
  acquire(patience: Patience, fresh = false): Promise<PooledConnection> {
    const kept = fresh ? undefined : this.take()
    if (kept) return Promise.resolve(kept)
    const { limits, timers } = this.options
    const full = this.total >= limits.maxConnections
    if (full && this.waiters.size - this.dialling >= limits.maxWaiting)
      return Promise.reject(new ProxyFailure(overloaded('too many requests wait for this endpoint')))
    const limit = limitOf(patience, timers.now(), limits.waitTimeoutMs, overloaded('no connection became free in time'))
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve,
        reject,
        timer: createTimerEntry(() => this.giveUp(waiter, limit.late)),
      }
      this.inFlight++
      this.waiters.add(waiter)
      timers.armAt(waiter.timer, limit.deadlineMs)
      if (!full) this.dial()
      patience.onLeave(() => this.giveUp(waiter, { kind: 'downstream-gone' }))
    })
  }

  /** Closes what is idle now, and each other connection when its exchange is over. */
  drain(): void {
    this.draining = true
    for (const connection of this.idle.slice()) connection.destroy()
    this.options.timers.remove(this.sweep)
    this.sweeping = false
  }

  private dial(): void {
    this.total++
    this.dialling++
    let handed = false
    const events: PoolEvents = {
      onIdle: (connection) => {
        this.inFlight--
        this.offer(connection)
      },
      onClose: (connection) => {
        if (handed) this.gone(connection)
      },
    }
    this.options.open(events).then(
      (connection) => {
        handed = true
        // A backend may accept and leave, or speak first, before anybody has used the connection.
        if (connection.closed) this.dialFailed(new ProxyFailure(closedAtOnce))
        else {
          this.dialling--
          this.suspectUntilMs = 0
          this.offer(connection)
        }
      },
      (thrown: unknown) => {
        this.dialFailed(thrown instanceof ProxyFailure ? thrown : new ProxyFailure(overloaded(String(thrown))))
      },
    )
  }

  private dialFailed(failure: ProxyFailure): void {
    const { timers } = this.options
    this.dialling--
    this.total--
    this.suspectUntilMs = timers.now() + suspectMs
    const waiter = this.nextWaiter()
    if (waiter) {
      this.inFlight--
      waiter.reject(failure)
    }
    this.dialForWaiters()
  }

  /** Every waiter has either a dial under way or a place in the queue of a full pool. */
  private dialForWaiters(): void {
    if (this.waiters.size > this.dialling && this.total < this.options.limits.maxConnections) this.dial()
  }

  private nextWaiter(): Waiter | undefined {
    if (this.waiters.size === 0) return undefined // as mostly: spares an iterator
    for (const waiter of this.waiters) {
      this.waiters.delete(waiter)
      this.options.timers.remove(waiter.timer)
      return waiter
    }
    return undefined
  }

  private giveUp(waiter: Waiter, error: ProxyError): void {
    if (!this.waiters.delete(waiter)) return
    this.options.timers.remove(waiter.timer)
    this.inFlight--
    waiter.reject(new ProxyFailure(error))
  }

  /** A connection is free. Whoever waits for it counts as in flight already. */
  private offer(connection: PooledConnection): void {
    const waiter = this.nextWaiter()
    if (waiter) {
      waiter.resolve(connection)
      return
    }
    this.idle.push(connection)
    if (this.draining) connection.destroy()
    else if (!this.sweeping) this.beginSweep()
  }

  private gone(connection: PooledConnection): void {
    this.total--
    const at = this.idle.indexOf(connection)
    if (at >= 0) this.idle.splice(at, 1)
    else this.inFlight--
    if (this.unneeded > this.idle.length) this.unneeded = this.idle.length
    this.dialForWaiters()
  }

  /** Two sweeps per idle timeout: what was not needed for a whole one of them is closed by the end of the second. */
  private beginSweep(): void {
    const { timers, limits } = this.options
    this.sweeping = true
    this.unneeded = this.idle.length
    timers.arm(this.sweep, limits.idleTimeoutMs / 2)
  }

  private closeUnneeded(): void {
    this.sweeping = false
    for (const connection of this.idle.slice(0, this.unneeded)) connection.destroy()
    if (this.idle.length > 0) this.beginSweep()
  }
}

function overloaded(reason: string): ProxyError {
  return { kind: 'upstream', phase: 'pool', cause: 'overloaded', reason }
}

const closedAtOnce: ProxyError = {
  kind: 'upstream',
  phase: 'connect',
  cause: 'closed',
  reason: 'the backend ended the connection before it was used',
}
