/**
 * A connector over QUIC. It opens the control stream; every request and every call of ours has a stream of its own.
 *
 * @see cloudflared, connection/quic_connection.go
 */
import { ProxyFailure } from '../../errors.ts'
import type { QuicConnection, QuicStream } from '../../runtime.ts'
import type { Timers } from '../../timers.ts'
import { MalformedMessageError } from '../capnp.ts'
import { updateConfiguration } from '../configuration-manager.ts'
import { describeSocketError } from '../edge-link.ts'
import { parseConfigurationPush } from '../remote-configuration.ts'
import { createRpcConnection, type RpcConnection } from '../rpc.ts'
import { type RpcMethod } from '../rpc-method.ts'
import { refusedUdpSessions } from '../session-manager.ts'
import { createOpeningReader, rpcPreface } from '../stream-metadata.ts'
import { garbage, type Pace } from './faults.ts'
import { freezableQuic } from './frozen-quic.ts'
import { type ConnectorLink, type EdgeControlStream, type LinkEvents, type ReportViolation } from './link.ts'
import { paced } from './paced-quic.ts'
import { sendQuicRequest } from './quic-stream.ts'

export interface QuicLinkOptions {
  readonly timers: Timers
  readonly report: ReportViolation
  readonly pace?: Pace | undefined
}

/** For a call of ours, from its first byte to its answer. */
const rpcTimeoutMs = 5_000

export function openQuicLink(accepted: QuicConnection, options: QuicLinkOptions, events: LinkEvents): ConnectorLink {
  const { timers, report, pace } = options
  const connection = freezableQuic(pace ? paced(accepted, pace, timers) : accepted)
  /** The first stream of the connector's, until it is wanted. */
  let control: QuicStream | undefined
  let controlSeen = false
  let controlOver = false
  let started = false
  let active = 0
  let leaving = false

  connection.attach({
    stream(stream) {
      if (controlSeen) readOpening(stream)
      else {
        controlSeen = true
        control = stream
        openControl()
      }
    },
    close: (error) => events.close(error ? describeSocketError(error) : 'the connection was closed'),
  })

  function openControl(): void {
    if (!started || control === undefined) return
    const stream = controlOf(control, () => {
      controlOver = true
      settle()
    })
    control = undefined
    events.control(stream)
  }

  /** Closing throws away whatever is under way, so the connector has the last word: it ends the control stream. */
  function settle(): void {
    if (leaving && active === 0 && controlOver) connection.close()
  }

  /** Streams of the connector's after the first carry calls, and nothing else. */
  function readOpening(stream: QuicStream): void {
    const reader = createOpeningReader()
    let rpc: RpcConnection | undefined
    let refused = false
    stream.attach({
      data(bytes, start, end) {
        let at = start
        try {
          if (rpc === undefined && !refused) at += reader.push(bytes, at, end)
        } catch (error) {
          if (!(error instanceof MalformedMessageError)) throw error
          refuse('a stream with an unknown signature')
        }
        if (rpc === undefined && reader.opening?.kind === 'rpc') {
          rpc = createRpcConnection(rpcStreamOf(stream), { timers, methods: refusedUdpSessions })
        } else if (reader.opening?.kind === 'data') refuse('a data stream of its own')
        rpc?.receive(bytes, at, end)
        return true
      },
      end: () => rpc?.lost('the connector ended the stream'),
      drain() {},
      reset: () => rpc?.lost('the connector reset the stream'),
      stopped: () => rpc?.lost('the connector stopped reading the stream'),
    })
    function refuse(violation: string): void {
      if (refused) return
      refused = true
      report(`streams: ${violation}`)
      stream.reset(true)
      stream.stopReading()
    }
  }

  async function openStream(): Promise<QuicStream> {
    try {
      return await connection.openStream()
    } catch {
      const reason = 'the connection to the connector is gone'
      const unsent = { stale: true, unprocessed: true }
      throw new ProxyFailure({ kind: 'upstream', phase: 'send', cause: 'closed', reason, ...unsent })
    }
  }

  async function call<Params, Results>(method: RpcMethod<Params, Results>, params: Params): Promise<Results> {
    const stream = await openStream()
    const rpc = createRpcConnection(rpcStreamOf(stream), { timers })
    stream.attach({
      data(bytes, start, end) {
        rpc.receive(bytes, start, end)
        return true
      },
      end: () => rpc.lost('the connector ended the stream'),
      drain() {},
      reset: () => rpc.lost('the connector reset the stream'),
      stopped: () => rpc.lost('the connector stopped reading the stream'),
    })
    stream.write(rpcPreface.slice())
    try {
      return await rpc.call(method, params, rpcTimeoutMs)
    } finally {
      rpc.close()
    }
  }

  return {
    protocol: 'quic',
    remote: connection.remote,
    start() {
      started = true
      openControl()
    },
    async send(request) {
      active++
      const over = (): void => {
        active--
        settle()
      }
      try {
        return await sendQuicRequest(await openStream(), request, report, over)
      } catch (thrown) {
        over()
        throw thrown
      }
    },
    call,
    configure: (push) => call(updateConfiguration, paramsOf(push)),
    goAway() {
      leaving = true
      settle()
    },
    freeze: (half) => connection.freeze(half),
    babble() {
      openStream().then(
        (stream) => stream.write(garbage.slice()),
        () => {}, // the connector has gone already
      )
    },
    destroy: () => accepted.close(),
  }
}

/** What is no push is pushed as it is: the connector is to say so. */
function paramsOf(push: string): Parameters<typeof updateConfiguration.writeParams>[1] {
  try {
    return parseConfigurationPush(push)
  } catch {
    return { version: 0, config: new TextEncoder().encode(push) }
  }
}

/** @param onOver is told when the connector's half has ended or broken */
function controlOf(stream: QuicStream, onOver: () => void): EdgeControlStream {
  return {
    write: (message) => void stream.write(message),
    end: () => stream.end(),
    reset() {
      stream.reset()
      stream.stopReading()
    },
    start(events) {
      let lost = false
      const lose = (reason: string): void => {
        if (lost) return
        lost = true
        events.lost(reason)
        onOver()
      }
      stream.attach({
        data(bytes, start, end) {
          events.receive(bytes, start, end)
          return true
        },
        end: () => lose('the connector ended the control stream'),
        drain() {},
        reset: () => lose('the control stream broke'),
        stopped() {
          // The connector needs no more answers; its own half says when it is done.
        },
      })
    },
  }
}

function rpcStreamOf(stream: QuicStream): { write(message: Uint8Array): void; end(): void } {
  return {
    write: (message) => void stream.write(message),
    end() {
      stream.end()
      stream.stopReading()
    },
  }
}
