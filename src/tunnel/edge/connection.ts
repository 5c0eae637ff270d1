/** One connector's connection, as the edge sees it: accepted, registered, draining, closed. */
import type { Body } from '../../http/body.ts'
import type { Address } from '../../runtime.ts'
import { createTimerEntry, type TimerEntry, type Timers } from '../../timers.ts'
import { type UpdateConfigurationResponse } from '../configuration-manager.ts'
import { type Transport } from '../protocol.ts'
import { type ConnectionResponse, type RegisterConnectionParams } from '../registration.ts'
import { formatConfigurationPush } from '../remote-configuration.ts'
import { type RpcMethod } from '../rpc-method.ts'
import { formatUuid } from '../uuid.ts'
import { type Control, type ControlLoss, serveControl } from './control.ts'
import { type ConnectionFaults } from './faults.ts'
import { type FrozenHalf } from './frozen-socket.ts'
import {
  type ConnectorLink,
  type EdgeControlStream,
  type LinkEvents,
  type ReportViolation,
  type StreamAnswer,
  type StreamRequest,
} from './link.ts'
import { type Registration } from './registrar.ts'
import { type Tunnel } from './tunnels.ts'

export type ConnectionPhase = 'accepted' | 'registered' | 'draining' | 'closed'

/** What is known of a connection, and what can be done to it. */
export interface ConnectorConnection {
  /** Which of the edge's servers it came to. */
  readonly server: number
  readonly protocol: Transport
  readonly remote: Address
  readonly phase: ConnectionPhase
  /** What it registered with; absent before. The secret is in it. */
  readonly registration: RegisterConnectionParams | undefined
  readonly tunnel: Tunnel | undefined
  /** Its name at the edge, a UUID. */
  readonly id: string | undefined
  /** What the connector reported as its own configuration, JSON. */
  readonly localConfiguration: string | undefined
  readonly unregistered: boolean
  /** It has been frozen: the connector may have given it up without our knowing. */
  readonly frozen: boolean
  /** Requests whose answers are not over. */
  readonly inFlight: number
  /** Requests that it was ever given. */
  readonly served: number
  /** Why it is closed. */
  readonly reason: string | undefined
  /** Rejects with a ProxyFailure when there is no answer. */
  send(request: StreamRequest): Promise<StreamAnswer>
  /** Rejects when the connector does not understand it. */
  configure(version: number, config: unknown): Promise<UpdateConfigurationResponse>
  /** The same with any text in place of the JSON. */
  configureWith(text: string): Promise<UpdateConfigurationResponse>
  /** Calls any method of the connector's, one that it does not have too. QUIC only; rejects with an RpcError. */
  call<Params, Results>(method: RpcMethod<Params, Results>, params: Params): Promise<Results>
  /** No new requests; closes after those that run. */
  goAway(): void
  /** Ends the control stream alone. Default `abort`. */
  loseControl(how?: ControlLoss): void
  /** Falls silent without closing; or only half, hearing nothing or saying nothing. Default `both`. */
  freeze(half?: FrozenHalf): void
  /** Says what nobody understands. */
  babble(): void
  /** Closes at once, whatever is in flight. */
  close(how?: 'reset'): void
}

/** What one connection said to a configuration. */
export interface PushResult {
  /** The connection's name at the edge. */
  readonly connection: string
  readonly connIndex: number
  readonly latestAppliedVersion: number | undefined
  /** Empty when the connector took it. */
  readonly error: string
}

export interface ConnectionOptions {
  readonly server: number
  readonly timers: Timers
  readonly random: () => number
  readonly faults: ConnectionFaults
  /** A connection that has not registered by then is closed; the real edge does so too. */
  readonly registrationTimeoutMs: number
  readonly register: (params: RegisterConnectionParams) => Registration
  readonly report: ReportViolation
  readonly onRegistered: (connection: ConnectorConnection) => void
  readonly onClose: (connection: ConnectorConnection) => void
}

/** After the answer to unregister, how long the connector may take to end its control stream. */
const farewellMs = 2_000

/** @param open makes the link; it is started by us */
export function openConnection(
  open: (events: LinkEvents) => ConnectorLink,
  options: ConnectionOptions,
): ConnectorConnection {
  const { timers, faults, report } = options
  let phase: ConnectionPhase = 'accepted'
  let registration: RegisterConnectionParams | undefined
  let tunnel: Tunnel | undefined
  let id: string | undefined
  let localConfiguration: string | undefined
  let unregistered = false
  let frozen = false
  let inFlight = 0
  let served = 0
  let reason: string | undefined
  let control: Control | undefined
  const deadline: TimerEntry = createTimerEntry(() => link.destroy())

  const link = open({ control: controlOpened, close: linkClosed })

  function controlOpened(stream: EdgeControlStream): void {
    control = serveControl(stream, {
      timers,
      faults,
      random: options.random,
      onRegister: register,
      onConfiguration(config) {
        if (registration?.connIndex !== 0 || tunnel?.remotelyManaged) {
          report('updateLocalConfiguration: not on connection 0 of a locally managed tunnel')
        }
        localConfiguration = new TextDecoder().decode(config)
      },
      onUnregister: unregister,
      report,
      onClose: controlClosed,
    })
  }

  function register(params: RegisterConnectionParams): ConnectionResponse {
    if (phase !== 'accepted') report('registration: a second one over the same connection')
    registration = params
    const answer = options.register(params)
    if (answer.tunnel === undefined) return answer.response
    phase = 'registered'
    tunnel = answer.tunnel
    id = formatUuid(answer.response.details.uuid)
    timers.remove(deadline)
    if (faults.registration?.kind === 'close-after') {
      timers.arm(deadline, 0)
    }
    // After the answer is out: whoever is told may send a request at once.
    queueMicrotask(() => options.onRegistered(connection))
    return answer.response
  }

  function unregister(): void {
    unregistered = true
    if (phase === 'registered') phase = 'draining'
    if (faults.unregistration === 'close') link.destroy()
    else if (faults.unregistration === undefined) settleDrain()
  }

  /** The connector's answers are over, or its control stream is: nothing keeps it. */
  function settleDrain(): void {
    if (!unregistered || inFlight > 0 || phase !== 'draining' || faults.unregistration !== undefined) return
    link.goAway()
    timers.arm(deadline, farewellMs)
  }

  function controlClosed(): void {
    control = undefined
    if (phase === 'closed') return
    // A registration that was refused is the connector's to retry, over a new connection.
    if (phase === 'accepted') link.goAway()
    timers.arm(deadline, inFlight > 0 ? Infinity : farewellMs)
    if (phase === 'registered') phase = 'draining'
  }

  function linkClosed(why: string): void {
    phase = 'closed'
    reason = why
    timers.remove(deadline)
    control?.close()
    options.onClose(connection)
  }

  function over(): void {
    inFlight--
    if (phase !== 'draining' || inFlight > 0) return
    if (unregistered) settleDrain()
    else timers.arm(deadline, farewellMs)
  }

  async function send(request: StreamRequest): Promise<StreamAnswer> {
    inFlight++
    served++
    try {
      const answer = await link.send(request)
      if (answer.body === undefined) over()
      return answer.body === undefined ? answer : { ...answer, body: counted(answer.body, over) }
    } catch (thrown) {
      over()
      throw thrown
    }
  }

  const connection: ConnectorConnection = {
    server: options.server,
    protocol: link.protocol,
    remote: link.remote,
    get phase() {
      return phase
    },
    get registration() {
      return registration
    },
    get tunnel() {
      return tunnel
    },
    get id() {
      return id
    },
    get localConfiguration() {
      return localConfiguration
    },
    get unregistered() {
      return unregistered
    },
    get frozen() {
      return frozen
    },
    get inFlight() {
      return inFlight
    },
    get served() {
      return served
    },
    get reason() {
      return reason
    },
    send,
    configure: (version, config) => link.configure(formatConfigurationPush(version, config)),
    configureWith: (text) => link.configure(text),
    call: (method, params) => link.call(method, params),
    goAway() {
      if (phase === 'registered') phase = 'draining'
      link.goAway()
      // The connector waits for us to close: its control stream keeps the connection.
      if (inFlight === 0) timers.arm(deadline, farewellMs)
    },
    loseControl: (how = 'abort') => control?.lose(how),
    freeze(half = 'both') {
      frozen = true
      link.freeze(half)
    },
    babble: () => link.babble(),
    close(how) {
      // The news of it may come later, and until then nobody is to be given to it.
      if (phase === 'registered') phase = 'draining'
      link.destroy(how)
    },
  }

  timers.arm(deadline, options.registrationTimeoutMs)
  if (faults.babble) link.babble()
  else if (!faults.withholdControl) link.start()
  return connection
}

/** The same body; `over` is called once, when it is. */
function counted(body: Body, over: () => void): Body {
  let told = false
  const tell = (): void => {
    if (told) return
    told = true
    over()
  }
  return {
    length: body.length,
    start: (sink) =>
      body.start({
        data: (bytes, start, end) => sink.data(bytes, start, end),
        end(trailers) {
          tell()
          sink.end(trailers)
        },
        fail(error) {
          tell()
          sink.fail(error)
        },
      }),
    resume: () => body.resume(),
    cancel(why) {
      tell()
      body.cancel(why)
    },
  }
}
