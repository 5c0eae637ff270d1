/** Everything we can dial: pools by endpoint, shared by all rules that name it, kept across configs that still do. */
import { ProxyFailure, type ProxyError } from '../errors.ts'
import { Http1Connection } from '../http1/client.ts'
import type { Http1Limits } from '../http1/limits.ts'
import type { Runtime, SocketError } from '../runtime.ts'
import type { Timers } from '../timers.ts'
import type { DialPolicy } from './dial-policy.ts'
import { createNames, type Names } from './names.ts'
import { Pool, type PoolLimits } from './pool.ts'
import type { BackendTarget } from './target.ts'

export interface BackendsOptions {
  readonly runtime: Runtime
  readonly timers: Timers
  readonly limits: PoolLimits
  readonly http1: Http1Limits
  readonly random: () => number
  /** Asked at each dial, so that it may change. */
  readonly policy: () => DialPolicy
}

/** One endpoint that requests can be sent to. */
export interface Endpoint {
  /** `address:port`, for logs. */
  readonly label: string
  readonly pool: Pool
}

/** One backend of a rule. */
export interface Backend {
  readonly target: BackendTarget
  /** An endpoint at once, where no name has to be looked up first. Passes `not` by if there is another. */
  endpoint(not?: Endpoint): Endpoint | undefined
  /** Rejects with a {@link ProxyFailure}. */
  resolve(): Promise<Endpoint>
}

export interface Backends {
  backend(target: BackendTarget): Backend
  /** Drains the pools and forgets the names that the given backends do not use. */
  retain(used: Iterable<Backend>): void
  drain(): void
}

export function createBackends(options: BackendsOptions): Backends {
  const { runtime, timers, limits } = options
  const names = createNames(runtime.resolver, () => timers.now())
  const endpoints = new Map<string, Endpoint>()
  let live: readonly PooledBackend[] = []

  /** Drains the pools that no live backend points to: its config is gone, or its name has other addresses now. */
  function prune(): void {
    const kept = new Set(live.flatMap((backend) => backend.current))
    for (const [key, endpoint] of endpoints) {
      if (kept.has(endpoint)) continue
      endpoints.delete(key)
      endpoint.pool.drain()
    }
  }

  function open(target: BackendTarget, address: string, port: number): ConstructorParameters<typeof Pool>[0]['open'] {
    return async (events) => {
      const refused = options.policy()({ host: address, port })
      if (refused !== undefined) throw failure('connect', 'forbidden', refused)
      try {
        const { tls } = target
        const socket = await runtime.connect(
          { host: address, port },
          { timeoutMs: limits.connectTimeoutMs, ...(tls ? { tls } : {}) },
        )
        return new Http1Connection(socket, { timers, limits: options.http1, ...events })
      } catch (thrown) {
        const { code, message } = thrown as SocketError
        throw failure(code === 'tls' ? 'tls' : 'connect', code === 'timeout' ? 'timeout' : 'refused', message)
      }
    }
  }

  function endpointAt(target: BackendTarget, identity: string, address: string, port: number): Endpoint {
    const label = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
    const key = `${label} ${identity}`
    let endpoint = endpoints.get(key)
    if (!endpoint) {
      endpoint = { label, pool: new Pool({ timers, limits, open: open(target, address, port) }) }
      endpoints.set(key, endpoint)
    }
    return endpoint
  }

  return {
    backend: (target) => new PooledBackend(target, names, options.random, endpointAt, prune),
    retain(used) {
      live = [...used] as PooledBackend[]
      names.retain(new Set(live.map(({ target }) => target.hostname)))
      prune()
    },
    drain() {
      for (const { pool } of endpoints.values()) pool.drain()
    },
  }
}

type EndpointAt = (target: BackendTarget, identity: string, address: string, port: number) => Endpoint

class PooledBackend implements Backend {
  readonly target: BackendTarget
  private readonly names: Names
  private readonly random: () => number
  private readonly endpointAt: EndpointAt
  /** What besides the address tells one pool from another. Holds key material: never shown. */
  private readonly identity: string
  private addresses: readonly string[] = []
  private endpoints: readonly Endpoint[] = []
  private readonly fixed: boolean
  private readonly moved: () => void

  constructor(target: BackendTarget, names: Names, random: () => number, endpointAt: EndpointAt, moved: () => void) {
    this.moved = moved
    this.target = target
    this.names = names
    this.random = random
    this.endpointAt = endpointAt
    this.identity = JSON.stringify([target.protocol, target.tls])
    this.fixed = target.endpoints !== undefined || isAddress(target.hostname)
    if (target.endpoints)
      this.endpoints = target.endpoints.map(({ address, port }) => endpointAt(target, this.identity, address, port))
    else if (this.fixed) this.endpoints = [endpointAt(target, this.identity, target.hostname, target.port)]
  }

  get current(): readonly Endpoint[] {
    return this.endpoints
  }

  endpoint(not?: Endpoint): Endpoint | undefined {
    if (!this.fixed) {
      const addresses = this.names.known(this.target.hostname)
      if (!addresses) return undefined
      this.use(addresses)
    }
    const { endpoints } = this
    const count = endpoints.length
    if (count <= 1) return endpoints[0]
    // The less busy of two drawn at random comes close to the least busy of all, without looking at all.
    const first = Math.floor(this.random() * count)
    const second = (first + 1 + Math.floor(this.random() * (count - 1))) % count
    const a = endpoints[first]!
    const b = endpoints[second]!
    if (a === not) return b
    if (b === not) return a
    return b.pool.inFlight < a.pool.inFlight ? b : a
  }

  async resolve(): Promise<Endpoint> {
    if (!this.fixed) {
      try {
        this.use(await this.names.lookup(this.target.hostname))
      } catch (thrown) {
        throw failure('dns', 'refused', (thrown as SocketError).message)
      }
    }
    const found = this.endpoint()
    if (!found) throw failure('dns', 'refused', `${this.target.hostname} has no address`)
    return found
  }

  private use(addresses: readonly string[]): void {
    if (addresses === this.addresses) return
    this.addresses = addresses
    this.endpoints = addresses.map((address) => this.endpointAt(this.target, this.identity, address, this.target.port))
    this.moved()
  }
}

function isAddress(hostname: string): boolean {
  return hostname.includes(':') || /^\d+\.\d+\.\d+\.\d+$/.test(hostname)
}

function failure(
  phase: 'dns' | 'connect' | 'tls',
  cause: 'refused' | 'timeout' | 'forbidden',
  reason: string,
): ProxyFailure {
  const error: ProxyError = { kind: 'upstream', phase, cause, reason }
  return new ProxyFailure(error)
}
