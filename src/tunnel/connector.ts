/**
 * Keeps the edge connections of one tunnel alive: the first alone, then the others; each with its own backoff and
 * address; for ever, until it is told to stop.
 *
 * @see cloudflared, supervisor/supervisor.go
 */
import { type Log } from '../telemetry.ts'
import { createTimerEntry, type Timers } from '../timers.ts'
import { type AddressPool, createAddressPool, type IpVersion } from './addresses.ts'
import { createBackoff, defaultMaxRetries, waitAtLeast, type Backoff } from './backoff.ts'
import { clientInfo, type ConnectorIdentity } from './client-info.ts'
import { openEdgeConnection, type ConnectionEnd, type ConnectionLimits, type EdgeConnection } from './connection.ts'
import { failureHandling } from './connection-failure.ts'
import { type TunnelCredentials } from './credentials.ts'
import { describeThrown } from './describe-thrown.ts'
import { type EdgeRegions } from './discovery.ts'
import { type EdgeTransport } from './edge-link.ts'
import {
  afterFailure,
  afterRegistration,
  defaultFallbackRules,
  isAllowed,
  startTransport,
  type ProtocolChoice,
  type Transport,
  type TransportState,
} from './protocol.ts'
import { type ConnectorEvents, noConnectorEvents } from './connector-events.ts'
import { printable } from './printable.ts'
import { formatUuid } from './uuid.ts'

export interface ConnectorOptions {
  readonly credentials: TunnelCredentials
  readonly identity: ConnectorIdentity
  /** How many connections are wanted; the reference client has 4. */
  readonly connections: number
  readonly ipVersion: IpVersion
  /** Finds the edge. Rejects when it cannot be found; it is asked again then, or later where addresses are known. */
  readonly discover: () => Promise<EdgeRegions>
  /** Which transports connections may use now. It is asked again when `reconsiderProtocol` is called. */
  readonly chooseProtocol: () => Promise<ProtocolChoice>
  readonly transports: (protocol: Transport) => EdgeTransport
  readonly timers: Timers
  /** Returns a number in [0, 1). */
  readonly random: () => number
  readonly log: Log
  readonly events?: ConnectorEvents
  readonly limits?: Partial<ConnectionLimits>
}

export interface ConnectionReport {
  readonly index: number
  readonly state: 'waiting' | EdgeConnection['state']
  readonly protocol: Transport
  readonly edge?: string | undefined
  readonly location?: string | undefined
  readonly connectionId?: string | undefined
  readonly activeRequests: number
  readonly failures: number
  /** Why it was lost, or could not be had, the last time. */
  readonly lastFailure?: string | undefined
}

export interface Connector {
  /** Begins. Calling it again does nothing. */
  start(): void
  /** Connections that are registered and were heard of a moment ago. */
  readonly ready: number
  readonly reports: readonly ConnectionReport[]
  /** The choice of protocols may have changed: connections that are no longer allowed are moved, one at a time. */
  reconsiderProtocol(): void
  /**
   * Unregisters, lets requests in flight finish, closes.
   *
   * @returns whether everything in flight could finish
   */
  stop(graceMs: number): Promise<boolean>
  /** Ends everything at once; a `stop` under way then returns. */
  destroy(): void
}

/** The reference client's pace. */
const startIntervalMs = 1_000
const baseBackoffMs = 1_000
/** An edge that is asked for a sign of life every 15 s and gives none for this long is not there. */
const staleAfterMs = 45_000
/** Failures without one connection, after which the edge is looked for again, and how often at most. */
const failuresBeforeDiscovery = 10
const discoveryIntervalMs = 5 * 60_000
/** A connection that is moved is given so long to come back before the next one is moved. */
const moveTimeoutMs = 30_000
/** Requests on a connection that is moved may take so long to finish. */
const moveGraceMs = 30_000
/** An edge that goes away sooner after the registration is not trusted to do otherwise the next time. */
const steadyAfterMs = 10_000
/** Connections whose edge has gone away, and that have requests still: one that does so for ever must not fill us. */
const maxLeaving = 32

interface Slot {
  readonly index: number
  readonly backoff: Backoff
  transport: TransportState
  connection: EdgeConnection | undefined
  registrations: number
  lastFailure: string | undefined
  /** Leaves the present connection to itself and makes another. */
  move: () => void
}

export function createConnector(options: ConnectorOptions): Connector {
  const { credentials, identity, timers, random, log, events = noConnectorEvents } = options
  const client = clientInfo(identity)
  const auth = { accountTag: credentials.accountTag, tunnelSecret: credentials.tunnelSecret }
  const slots: Slot[] = []
  /** Connections that are on their way out. */
  const leaving = new Map<EdgeConnection, Promise<boolean>>()
  /** Ends every wait. */
  const wakers = new Set<() => void>()
  /** Transports that have been registered over: what worked once is not given up for another. */
  const proven = new Set<Transport>()
  let choice: ProtocolChoice = { first: 'http2', fallback: undefined }
  let pool: AddressPool | undefined
  let lookedAtMs = -Infinity
  let discovering = false
  let failuresSince = 0
  let started = false
  let stopping = false
  let moving = false
  let stopped: Promise<boolean> | undefined

  /** Waits, unless everything stops before. */
  function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (stopping) {
        resolve()
        return
      }
      const wake = (): void => {
        timers.remove(entry)
        wakers.delete(wake)
        resolve()
      }
      const entry = createTimerEntry(wake)
      wakers.add(wake)
      timers.arm(entry, ms)
    })
  }

  const now = (): number => timers.now()

  /** @throws when the edge has no address; those that are known stay */
  async function discover(): Promise<void> {
    lookedAtMs = now()
    const { ipVersion } = options
    const found = createAddressPool(await options.discover(), { ipVersion, now, random })
    if (found.capacity === 0) throw new Error(`it has no address of the IP version asked for (${ipVersion})`)
    // What is up, or being dialled, stays where it is.
    for (const { index, connection } of slots) if (connection) found.claim(index, connection.address)
    pool = found
    failuresSince = 0
  }

  /** There is nowhere to dial before. */
  async function discoverAtStart(): Promise<void> {
    const backoff = createBackoff({ baseMs: baseBackoffMs, maxRetries: defaultMaxRetries, now, random })
    while (!stopping) {
      try {
        return await discover()
      } catch (error) {
        log.error('the edge was not found', { error: describeThrown(error) })
      }
      await sleep(backoff.fail())
    }
  }

  /** Tries once, and nobody waits for it: the old addresses may be good again before DNS is. */
  async function discoverAgain(): Promise<void> {
    discovering = true
    try {
      await discover()
      log.info('the edge was looked for again, and found', { addresses: pool?.capacity })
    } catch (error) {
      log.warn('the edge was not found again; dialling its old addresses', { error: describeThrown(error) })
    } finally {
      discovering = false
    }
  }

  async function run(): Promise<void> {
    choice = await options.chooseProtocol()
    await discoverAtStart()
    if (stopping || pool === undefined) return
    const wanted = Math.min(options.connections, pool.capacity)
    if (wanted < options.connections) {
      log.warn('the edge has fewer addresses than connections are wanted', { wanted: options.connections, has: wanted })
    }
    const first = addSlot()
    const up = new Promise<void>((resolve) => {
      firstRegistered = resolve
      wakers.add(resolve)
    })
    void keep(first)
    await up
    while (!stopping && slots.length < wanted) {
      if (slots.length > 1) await sleep(startIntervalMs)
      if (stopping) return
      void keep(addSlot(first.transport.transport))
    }
  }

  let firstRegistered: () => void = () => {}

  /** @param proved the transport that the first connection came up with */
  function addSlot(proved?: Transport): Slot {
    const start = startTransport(choice)
    const slot: Slot = {
      index: slots.length,
      backoff: createBackoff({ baseMs: baseBackoffMs, maxRetries: defaultMaxRetries, now, random }),
      transport: proved !== undefined && isAllowed(proved, choice) ? { ...start, transport: proved } : start,
      connection: undefined,
      registrations: 0,
      lastFailure: undefined,
      move() {},
    }
    slots.push(slot)
    return slot
  }

  async function keep(slot: Slot): Promise<void> {
    while (!stopping) {
      const end = await connectOnce(slot)
      if (stopping) return
      if (end === 'too soon') await sleep(slot.backoff.fail())
      else if (end !== 'moved') await recover(slot, end)
    }
  }

  /** @returns once the slot needs another connection: at once where it was moved, or after a while */
  async function connectOnce(slot: Slot): Promise<ConnectionEnd | 'moved' | 'too soon'> {
    const address = pool?.take(slot.index)
    if (address === undefined) {
      return { failure: 'cancelled', reason: 'no edge address is free', retryAfterMs: 0 }
    }
    const moved = new Promise<'moved'>((resolve) => (slot.move = () => resolve('moved')))
    const { transport } = slot.transport
    let registeredAtMs = Infinity
    const connection = openEdgeConnection({
      transport: options.transports(transport),
      address,
      connIndex: slot.index,
      auth,
      tunnelId: credentials.tunnelId,
      client,
      previousAttempts: slot.backoff.retries,
      timers,
      ...(options.limits ? { limits: options.limits } : {}),
      events: {
        registered(details) {
          registeredAtMs = now()
          slot.backoff.reset()
          slot.registrations++
          slot.transport = afterRegistration(slot.transport)
          proven.add(transport)
          failuresSince = 0
          events.registered(slot.index, details.locationName)
          log.info('edge connection registered', {
            connection: slot.index,
            protocol: transport,
            location: printable(details.locationName),
            edge: address.host,
            id: details.uuid.length === 16 ? formatUuid(details.uuid) : undefined,
          })
          if (slot.index === 0) firstRegistered()
          if (!isAllowed(transport, choice)) void moveDisallowed()
        },
        unregistering: () => events.left(slot.index),
        called: (method, failure, durationMs) => events.called(method, failure, durationMs),
      },
    })
    slot.connection = connection
    const goingAway = connection.goingAway.then(() => 'going-away' as const)
    const end = await Promise.race([connection.ended, goingAway, moved])
    slot.connection = undefined
    if (end === 'moved') {
      void leave(connection, moveGraceMs)
      slot.transport = startTransport(choice)
      // Its old address still has the old connection, and would refuse a second one.
      pool?.rotate(slot.index, false)
    } else if (end === 'going-away') {
      log.info('the edge goes away; making another connection', { connection: slot.index, edge: address.host })
      retire(connection)
      pool?.rotate(slot.index, false)
      return now() - registeredAtMs < steadyAfterMs ? 'too soon' : 'moved'
    } else if (!leaving.has(connection)) events.left(slot.index)
    return end
  }

  async function recover(slot: Slot, { failure, reason, retryAfterMs }: ConnectionEnd): Promise<void> {
    const waitMs = waitAtLeast(slot.backoff.fail(), retryAfterMs)
    slot.lastFailure = reason
    failuresSince++
    events.failed(failure)
    const fields = { connection: slot.index, protocol: slot.transport.transport, reason, retryInMs: Math.round(waitMs) }
    // One lost connection of several is recovered from; without any, requests are being lost.
    if (ready() > 0) log.warn('edge connection lost', fields)
    else log.error('edge connection lost, and there is no other', fields)
    if (isEdgeInDoubt()) void discoverAgain()
    await sleep(waitMs)
    if (stopping) return
    const { rotates, addressInDoubt } = failureHandling[failure]
    if (rotates) pool?.rotate(slot.index, addressInDoubt)
    const before = slot.transport.transport
    slot.transport = afterFailure(slot.transport, failure, choice, {
      ...defaultFallbackRules,
      proven: proven.has(choice.first),
    })
    if (slot.transport.transport !== before) {
      log.warn('trying another protocol', { connection: slot.index, from: before, to: slot.transport.transport })
    }
  }

  /** One connection that is up says that the addresses are good. */
  function isEdgeInDoubt(): boolean {
    const isDue = now() - lookedAtMs >= discoveryIntervalMs && !discovering
    return isDue && failuresSince >= failuresBeforeDiscovery && ready() === 0
  }

  function leave(connection: EdgeConnection, graceMs: number): Promise<boolean> {
    const left = connection.leave(graceMs)
    leaving.set(connection, left)
    void left.then(() => leaving.delete(connection))
    return left
  }

  /** What runs on it may take its time: its edge decides. */
  function retire(connection: EdgeConnection): void {
    connection.retire()
    leaving.set(
      connection,
      connection.ended.then(() => leaving.delete(connection)),
    )
    let excess = leaving.size - maxLeaving
    for (const oldest of leaving.keys()) {
      if (excess-- <= 0) return
      void leave(oldest, moveGraceMs)
    }
  }

  /** Whoever is moved is missing for a moment, so it is one at a time. */
  async function moveDisallowed(): Promise<void> {
    if (moving) return
    moving = true
    try {
      for (const slot of slots) {
        if (stopping) return
        const { connection } = slot
        if (connection === undefined || isAllowed(connection.transport.protocol, choice)) continue
        log.info('moving edge connection', {
          connection: slot.index,
          from: connection.transport.protocol,
          to: choice.first,
        })
        const before = slot.registrations
        slot.move()
        const until = now() + moveTimeoutMs
        while (!stopping && slot.registrations === before && now() < until) await sleep(100)
      }
    } finally {
      moving = false
    }
  }

  function isReady({ connection }: Slot): boolean {
    return connection !== undefined && connection.usable && now() - connection.heardAtMs < staleAfterMs
  }

  function ready(): number {
    return slots.filter(isReady).length
  }

  function begin(): void {
    stopping = true
    for (const wake of wakers) wake()
    wakers.clear()
  }

  function destroyAll(): void {
    for (const { connection } of slots) connection?.destroy()
    for (const connection of leaving.keys()) connection.destroy()
  }

  async function stopInOrder(graceMs: number): Promise<boolean> {
    begin()
    for (const { connection } of slots) if (connection) void leave(connection, graceMs)
    for (const connection of leaving.keys()) void leave(connection, graceMs)
    // Those that were moved already have a grace period of their own.
    const cutOff = createTimerEntry(() => destroyAll())
    timers.arm(cutOff, graceMs)
    const left = await Promise.all(leaving.values())
    timers.remove(cutOff)
    return left.every(Boolean)
  }

  return {
    start() {
      if (started || stopping) return
      started = true
      void run()
    },
    get ready() {
      return ready()
    },
    get reports() {
      return slots.map((slot): ConnectionReport => {
        const { connection, transport } = slot
        return {
          index: slot.index,
          state: connection?.state ?? 'waiting',
          protocol: connection?.transport.protocol ?? transport.transport,
          edge: connection?.address.host,
          location: connection?.details && printable(connection.details.locationName),
          connectionId: connection?.details?.uuid.length === 16 ? formatUuid(connection.details.uuid) : undefined,
          activeRequests: connection?.activeRequests ?? 0,
          failures: slot.backoff.retries,
          lastFailure: slot.lastFailure,
        }
      })
    },
    reconsiderProtocol() {
      if (!started) return
      void options.chooseProtocol().then((chosen) => {
        choice = chosen
        return moveDisallowed()
      })
    },
    stop: (graceMs) => (stopped ??= stopInOrder(graceMs)),
    destroy() {
      begin()
      destroyAll()
    },
  }
}
