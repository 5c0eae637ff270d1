/**
 * HTTP/2 backends in a pool that knows one request to a connection: each connection has as many places as the backend
 * allows streams, and a place is what the pool keeps, hands out and takes back.
 */
import type { ProxyFailure } from '../errors.ts'
import type { SendOptions } from '../http/send.ts'
import type { Http2Connection } from '../http2/client.ts'
import type { PooledConnection, PoolEvents } from './pool.ts'

/** Places on one connection, however many streams a backend allows. */
const maxPlaces = 1_000

interface Shared {
  readonly connection: Promise<Http2Connection>
  /** Once it is there. */
  opened: Http2Connection | undefined
  readonly places: Set<Place>
  /** Places taken before the connection is there. */
  awaited: number
}

/**
 * @param dial opens a connection, and has `onClose` called when it must not be used again
 * @returns what a pool opens its connections with. Rejects as `dial` does
 */
export function sharedConnections(
  dial: (onClose: () => void) => Promise<Http2Connection>,
): (events: PoolEvents) => Promise<PooledConnection> {
  /** The one that takes new places. */
  let current: Shared | undefined

  function open(): Shared {
    const places = new Set<Place>()
    const shared: Shared = {
      connection: dial(() => {
        if (current === shared) current = undefined
        for (const place of places) place.connectionClosed()
      }),
      opened: undefined,
      places,
      awaited: 0,
    }
    shared.connection.then(
      (connection) => {
        shared.opened = connection
      },
      () => {
        if (current === shared) current = undefined
      },
    )
    return shared
  }

  function hasRoom({ opened, places, awaited }: Shared): boolean {
    const taken = places.size + awaited
    if (!opened) return taken < 1 // it says how many when it is there
    return !opened.closed && taken < Math.min(opened.active + opened.capacity, maxPlaces)
  }

  return async (events) => {
    // Whoever comes while one is being dialled waits to see how much room there is on it.
    while (current && !current.opened) await current.connection.catch(() => undefined)
    const shared = current && hasRoom(current) ? current : (current = open())
    shared.awaited++
    try {
      const connection = await shared.connection
      const place = new Place(connection, shared.places, events)
      shared.places.add(place)
      return place
    } finally {
      shared.awaited--
    }
  }
}

class Place implements PooledConnection {
  private readonly connection: Http2Connection
  private readonly places: Set<Place>
  private readonly events: PoolEvents
  private busy = false
  private gone = false

  constructor(connection: Http2Connection, places: Set<Place>, events: PoolEvents) {
    this.connection = connection
    this.places = places
    this.events = events
  }

  get closed(): boolean {
    return this.gone || this.connection.closed
  }

  begin(
    request: Request,
    how: SendOptions,
    observer: { responded(response: Response): void; broke(failure: ProxyFailure): void },
  ): void {
    this.send(request, how).then(
      (response) => observer.responded(response),
      (failure: ProxyFailure) => observer.broke(failure),
    )
  }

  send(request: Request, how: SendOptions): Promise<Response> {
    this.busy = true
    return this.connection.send(request, { ...how, onOver: () => this.over() })
  }

  private over(): void {
    this.busy = false
    if (this.connection.closed) this.leave()
    else if (!this.gone) this.events.onIdle(this)
  }

  connectionClosed(): void {
    if (!this.busy) this.leave()
  }

  /** The last one out closes the door. */
  destroy(): void {
    this.leave()
    if (this.places.size === 0) this.connection.drain()
  }

  private leave(): void {
    if (this.gone) return
    this.gone = true
    this.places.delete(this)
    this.events.onClose(this)
  }
}
