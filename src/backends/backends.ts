/** Everything we can dial: pools by endpoint, shared by all rules that name it, kept across configs that still do. */
import { ProxyFailure } from '../errors.ts'
import { Http1Connection } from '../http1/client.ts'
import type { Http1Limits } from '../http1/limits.ts'
import { Http2Connection } from '../http2/client.ts'
import { defaultHttp2Limits } from '../http2/limits.ts'
import type { Runtime, Socket, SocketError } from '../runtime.ts'
import type { Timers } from '../timers.ts'
import { pickEndpoint } from './balance.ts'
import { isAddress, type DialPolicy } from './dial-policy.ts'
import { createNames, type Names } from './names.ts'
import { limitOf, withPatience, type Patience } from './patience.ts'
import { Pool, type PoolLimits, type PoolOptions } from './pool.ts'
import { sharedConnections } from './shared-connection.ts'
import { overHttp2, type BackendTarget } from './target.ts'

export interface BackendsOptions {
  readonly runtime: Runtime
  readonly timers: Timers
  readonly limits: PoolLimits
  readonly http1: Http1Limits
  readonly random: () => number
  /** Asked at each dial, so that it may change. */
  readonly policy: () => DialPolicy
}

/** One address and port that requests can be sent to. */
export interface Endpoint {
  /** `address:port`, for logs. */
  readonly label: string
  readonly pool: Pool
}

/** One backend of a rule. */
export interface Backend {
  readonly target: BackendTarget
  /** For what needs HTTP/2, where HTTP/1.1 over TLS is spoken otherwise. Its connections are its own. */
  readonly forGrpc?: Backend | undefined
  /** An endpoint at once; undefined where a name has to be looked up first. Passes `not` by if there is another. */
  endpoint(not?: Endpoint): Endpoint | undefined
  /** Looks up what has to be. Rejects with a {@link ProxyFailure}. */
  resolve(patience: Patience): Promise<Endpoint>
}

export interface Backends {
  backend(target: BackendTarget): Backend
  /** Drains the pools and forgets the names that the given backends do not use. */
  retain(used: Iterable<Backend>): void
  drain(): void
}

export function createBackends(options: BackendsOptions): Backends {
  const { runtime, timers, limits, random } = options
  const names = createNames(runtime.resolver, () => timers.now())
  const endpoints = new Map<string, Endpoint>()
  /** By what they dial, so that a new config finds the endpoints of the one before it. */
  const groups = new Map<string, EndpointGroup>()
  let live: ReadonlySet<EndpointGroup> = new Set()
  /** TLS options as text, each with a short name that keys are made of. Holds key material: never shown. */
  const tlsNames = new Map<string, string>()
  let tlsCount = 0

  /** Drains the pools that no live group points to: their config is gone, or their name has other addresses now. */
  function prune(): void {
    const kept = new Set<Endpoint>()
    for (const group of live) for (const endpoint of group.endpoints) kept.add(endpoint)
    for (const [key, endpoint] of endpoints) {
      if (kept.has(endpoint)) continue
      endpoints.delete(key)
      endpoint.pool.drain()
    }
  }

  async function dial(address: string, port: number, tls: BackendTarget['tls']): Promise<Socket> {
    const policy = options.policy()
    const refused = policy.refusal({ host: address, port })
    if (refused !== undefined) throw failure('connect', 'forbidden', refused)
    const { connectTimeoutMs } = limits
    let socket: Socket
    try {
      socket = await runtime.connect(
        { host: address, port },
        tls ? { timeoutMs: connectTimeoutMs, tls } : { timeoutMs: connectTimeoutMs },
      )
    } catch (thrown) {
      const { code, message } = thrown as SocketError
      throw failure(code === 'tls' ? 'tls' : 'connect', code === 'timeout' ? 'timeout' : 'refused', message)
    }
    const ours = policy.refusalOfOpen(socket.local, socket.remote)
    if (ours === undefined) return socket
    socket.destroy()
    throw failure('connect', 'forbidden', ours)
  }

  /** Resolves when the backend has said how many streams it allows. */
  function openHttp2(socket: Socket, tls: boolean, onClose: () => void): Promise<Http2Connection> {
    if (tls && socket.tls?.alpn !== 'h2') {
      socket.destroy()
      return Promise.reject(failure('tls', 'refused', 'the backend does not offer HTTP/2 over TLS (ALPN h2)'))
    }
    return new Promise((resolve, reject) => {
      const connection = new Http2Connection(socket, {
        timers,
        limits: { ...defaultHttp2Limits, headTimeoutMs: limits.connectTimeoutMs, idleTimeoutMs: limits.idleTimeoutMs },
        afterTurn: (f) => runtime.afterTurn(f),
        scheme: tls ? 'https' : 'http',
        onCapacity: () => resolve(connection),
        onClose() {
          reject(failure('connect', 'refused', 'the backend ended the connection before its SETTINGS'))
          onClose()
        },
      })
    })
  }

  function endpointAt(address: string, port: number, { protocol, tls }: BackendTarget, identity: string): Endpoint {
    const label = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
    const key = `${label} ${identity}`
    let endpoint = endpoints.get(key)
    if (!endpoint) {
      const open: PoolOptions['open'] =
        protocol === 'http/1.1'
          ? async (events) =>
              new Http1Connection(await dial(address, port, tls), { timers, limits: options.http1, ...events })
          : sharedConnections(async (onClose) => openHttp2(await dial(address, port, tls), protocol === 'h2', onClose))
      endpoint = { label, pool: new Pool({ timers, limits, open }) }
      endpoints.set(key, endpoint)
    }
    return endpoint
  }

  /** What besides the address tells one pool from another. */
  function identityOf({ protocol, tls }: BackendTarget): string {
    if (!tls) return protocol
    const text = JSON.stringify(tls)
    let name = tlsNames.get(text)
    if (name === undefined) {
      name = `tls${++tlsCount}`
      tlsNames.set(text, name)
    }
    return `${protocol} ${name}`
  }

  function groupOf(target: BackendTarget): EndpointGroup {
    const identity = identityOf(target)
    const hosts = target.endpoints ?? [{ address: target.hostname, port: target.port }]
    const key = `${identity} ${hosts.map(({ address, port }) => `${address} ${port}`).join()}`
    let group = groups.get(key)
    if (!group) {
      group = new EndpointGroup(hosts, names, (address, port) => endpointAt(address, port, target, identity), prune)
      groups.set(key, group)
    }
    return group
  }

  function backendAt(target: BackendTarget): GroupedBackend {
    const group = groupOf(target)
    return {
      target,
      group,
      forGrpc: target.tls && target.protocol !== 'h2' ? backendAt(overHttp2(target)) : undefined,
      endpoint: (not) => (group.refresh() ? pickEndpoint(group.endpoints, random, not) : undefined),
      async resolve(patience) {
        const late = failure('dns', 'timeout', `no answer from DNS for ${target.name}`).error
        const limit = limitOf(patience, timers.now(), limits.waitTimeoutMs, late)
        await withPatience(group.lookup(), patience, timers, limit)
        const found = pickEndpoint(group.endpoints, random)
        if (!found) throw failure('dns', 'refused', `${target.name} has no address`)
        return found
      },
    }
  }

  return {
    backend: backendAt,
    retain(used) {
      const dialled = new Set<EndpointGroup>()
      const secured = new Set<string>()
      for (const { target, group, forGrpc } of used as Iterable<GroupedBackend>) {
        for (const each of forGrpc ? [target, forGrpc.target] : [target])
          if (each.tls) secured.add(identityOf(each).slice(each.protocol.length + 1))
        dialled.add(group)
        if (forGrpc) dialled.add(forGrpc.group)
      }
      live = dialled
      for (const [key, group] of groups) if (!live.has(group)) groups.delete(key)
      for (const [text, name] of tlsNames) if (!secured.has(name)) tlsNames.delete(text)
      names.retain(new Set([...live].flatMap((group) => group.names)))
      prune()
    },
    drain() {
      for (const { pool } of endpoints.values()) pool.drain()
    },
  }
}

interface GroupedBackend extends Backend {
  readonly group: EndpointGroup
  readonly forGrpc: GroupedBackend | undefined
}

interface Host {
  readonly address: string
  readonly port: number
}

/** The endpoints of one backend, whoever names it: its addresses, and what its names resolve to now. */
class EndpointGroup {
  endpoints: readonly Endpoint[]
  readonly names: readonly string[]
  private readonly hosts: readonly Host[]
  private readonly resolver: Names
  private readonly endpointAt: (address: string, port: number) => Endpoint
  private readonly moved: () => void
  /** Of each name, the answer that `endpoints` were made of. */
  private answers: (readonly string[] | undefined)[] = []

  constructor(
    hosts: readonly Host[],
    resolver: Names,
    endpointAt: (address: string, port: number) => Endpoint,
    moved: () => void,
  ) {
    this.hosts = hosts
    this.resolver = resolver
    this.endpointAt = endpointAt
    this.moved = moved
    this.names = hosts.flatMap(({ address }) => (isAddress(address) ? [] : [address]))
    this.endpoints = this.current()
  }

  /** @returns false when nothing is known yet, and `lookup` has to be waited for */
  refresh(): boolean {
    const { names, answers, resolver } = this
    if (names.length === 0) return true
    let changed = false
    for (let i = 0; i < names.length; i++) {
      const answer = resolver.known(names[i]!)
      if (answer === answers[i]) continue
      answers[i] = answer
      changed = true
    }
    if (changed) this.move()
    return this.endpoints.length > 0
  }

  /** Rejects with a {@link ProxyFailure} when no name can be resolved and there is no address besides. */
  async lookup(): Promise<void> {
    const asked = await Promise.allSettled(this.names.map((name) => this.resolver.lookup(name)))
    this.answers = asked.map((result) => (result.status === 'fulfilled' ? result.value : undefined))
    this.move()
    if (this.endpoints.length > 0) return
    const broken = asked.find((result) => result.status === 'rejected')
    if (broken) throw failure('dns', 'refused', (broken.reason as SocketError).message)
  }

  private move(): void {
    this.endpoints = this.current()
    this.moved()
  }

  private current(): readonly Endpoint[] {
    const answers = new Map(this.names.map((name, i) => [name, this.answers[i] ?? none]))
    const found = this.hosts.flatMap(({ address, port }) =>
      (answers.get(address) ?? [address]).map((each) => this.endpointAt(each, port)),
    )
    return [...new Set(found)]
  }
}

const none: readonly string[] = []

function failure(
  phase: 'dns' | 'connect' | 'tls',
  cause: 'refused' | 'timeout' | 'forbidden',
  reason: string,
): ProxyFailure {
  return new ProxyFailure({ kind: 'upstream', phase, cause, reason })
}
