/**
 * Kept connections to one endpoint: the one used last is used next, so that what is not needed goes cold and is closed.
 */
import { ProxyFailure, type ProxyError } from '../errors.ts'
import type { Http1ClientOptions, Http1Connection } from '../http1/client.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../timers.ts'

export interface PoolLimits {
  /** Connections to one endpoint, dialling ones included. */
  readonly maxConnections: number
  /** Requests that wait for a connection to one endpoint. */
  readonly maxWaiting: number
  readonly idleTimeoutMs: number
  readonly connectTimeoutMs: number
}

export const defaultPoolLimits: PoolLimits = {
  maxConnections: 1024,
  maxWaiting: 1024,
  idleTimeoutMs: 60_000,
  connectTimeoutMs: 5_000,
}

export interface PoolOptions {
  readonly timers: Timers
  readonly limits: PoolLimits
  /** Dials and wraps a new connection. Rejects with a {@link ProxyFailure}. */
  readonly open: (events: Pick<Http1ClientOptions, 'onIdle' | 'onClose'>) => Promise<Http1Connection>
}

interface Waiter {
  resolve(connection: Http1Connection): void
  reject(failure: ProxyFailure): void
  readonly timer: TimerEntry
}

export class Pool {
  /** Requests that hold a connection or wait for one. */
  inFlight = 0
  private readonly options: PoolOptions
  private readonly idle: Http1Connection[] = []
  private readonly waiters: Waiter[] = []
  private readonly sweep: TimerEntry
  private total = 0
  private dialling = 0
  /** The fewest idle connections since the last sweep: so many have not been needed. */
  private unneeded = 0
  private sweeping = false
  private draining = false
  private readonly events: Pick<Http1ClientOptions, 'onIdle' | 'onClose'>

  constructor(options: PoolOptions) {
    this.options = options
    this.sweep = createTimerEntry(() => this.closeUnneeded())
    this.events = {
      onIdle: (connection) => {
        this.inFlight--
        this.offer(connection)
      },
      onClose: (connection) => this.gone(connection),
    }
  }

  /** A kept connection, if there is one. */
  take(): Http1Connection | undefined {
    const { idle } = this
    for (;;) {
      const connection = idle.pop()
      if (idle.length < this.unneeded) this.unneeded = idle.length
      if (connection === undefined) return undefined
      if (connection.closed) continue
      this.inFlight++
      return connection
    }
  }

  /**
   * A connection, dialled or waited for.
   *
   * @param fresh      true to pass kept connections by
   * @param deadlineMs clock milliseconds after which nobody waits any more
   */
  acquire(fresh: boolean, deadlineMs: number, late: ProxyError): Promise<Http1Connection> {
    const kept = fresh ? undefined : this.take()
    if (kept) return Promise.resolve(kept)
    const { limits, timers } = this.options
    if (this.total >= limits.maxConnections && this.waiters.length >= limits.maxWaiting) {
      return Promise.reject(new ProxyFailure(poolError('too many requests wait for this endpoint')))
    }
    this.inFlight++
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve,
        reject: (failure) => {
          this.inFlight--
          reject(failure)
        },
        timer: createTimerEntry(() => {
          const at = this.waiters.indexOf(waiter)
          if (at >= 0) this.waiters.splice(at, 1)
          waiter.reject(new ProxyFailure(late))
        }),
      }
      if (deadlineMs !== Infinity) timers.arm(waiter.timer, deadlineMs - timers.now())
      this.waiters.push(waiter)
      if (this.total < limits.maxConnections) this.dial()
    })
  }

  /** Returns a connection that was taken and not used. */
  giveBack(connection: Http1Connection): void {
    this.events.onIdle(connection)
  }

  /** Closes what is idle now, and each other connection when its exchange is over. */
  drain(): void {
    this.draining = true
    for (const connection of this.idle.slice()) connection.destroy()
    this.options.timers.remove(this.sweep)
  }

  /** Back in service before everything was gone: a config named it again. */
  revive(): void {
    this.draining = false
  }

  private dial(): void {
    this.total++
    this.dialling++
    this.options.open(this.events).then(
      (connection) => {
        this.dialling--
        this.offer(connection)
      },
      (thrown: unknown) => {
        this.dialling--
        this.total--
        const waiter = this.nextWaiter()
        waiter?.reject(thrown instanceof ProxyFailure ? thrown : new ProxyFailure(poolError(String(thrown))))
      },
    )
  }

  private nextWaiter(): Waiter | undefined {
    const waiter = this.waiters.shift()
    if (waiter) this.options.timers.remove(waiter.timer)
    return waiter
  }

  /** A connection is free. Whoever has it counts as in flight already. */
  private offer(connection: Http1Connection): void {
    const waiter = this.nextWaiter()
    if (waiter) {
      waiter.resolve(connection)
      return
    }
    this.idle.push(connection)
    if (this.draining) connection.destroy()
    else if (!this.sweeping) {
      this.sweeping = true
      this.unneeded = 0
      this.options.timers.arm(this.sweep, this.options.limits.idleTimeoutMs)
    }
  }

  private gone(connection: Http1Connection): void {
    this.total--
    const at = this.idle.indexOf(connection)
    if (at >= 0) this.idle.splice(at, 1)
    else this.inFlight--
    if (this.unneeded > this.idle.length) this.unneeded = this.idle.length
    if (this.waiters.length > this.dialling && this.total < this.options.limits.maxConnections) this.dial()
  }

  private closeUnneeded(): void {
    this.sweeping = false
    const cold = this.idle.slice(0, this.unneeded)
    for (const connection of cold) connection.destroy()
    if (this.idle.length > 0) {
      this.sweeping = true
      this.unneeded = this.idle.length
      this.options.timers.arm(this.sweep, this.options.limits.idleTimeoutMs)
    }
  }
}

function poolError(reason: string): ProxyError {
  return { kind: 'upstream', phase: 'pool', cause: 'overloaded', reason }
}
