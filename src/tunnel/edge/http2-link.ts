/** A connector over HTTP/2: it dialled, and yet we are the client on what it dialled. */
import { ProxyFailure } from '../../errors.ts'
import { type Body, bodyOfText } from '../../http/body.ts'
import { headOf } from '../../http/head.ts'
import { BodyHolder } from '../../http/holder.ts'
import { EngineRequest } from '../../http/request.ts'
import { asEngineResponse } from '../../http/response.ts'
import { Http2Connection } from '../../http2/client.ts'
import { edgeHttp2Limits } from '../../http2/limits.ts'
import type { Field, Socket } from '../../runtime.ts'
import type { Timers } from '../../timers.ts'
import { describeSocketError } from '../edge-link.ts'
import { parseConfigurationAnswer } from '../remote-configuration.ts'
import { tcpSourceName, upgradeName, upgrades } from '../request-class.ts'
import { WatchedSocket } from '../watched-socket.ts'
import { edgeNames } from './authority.ts'
import { garbage, type Pace } from './faults.ts'
import { freezable } from './frozen-socket.ts'
import {
  type ConnectorLink,
  type EdgeControlStream,
  type LinkEvents,
  type ReportViolation,
  type StreamRequest,
} from './link.ts'
import { paced } from './paced-socket.ts'
import { createPipe } from './pipe.ts'
import { readStreamAnswer } from './stream-answer.ts'

export interface Http2LinkOptions {
  readonly timers: Timers
  readonly afterTurn: (f: () => void) => void
  readonly report: ReportViolation
  readonly pace?: Pace | undefined
}

/** A connector that allows fewer holds up everybody's requests. */
const fewestStreams = 1_000

export function openHttp2Link(accepted: Socket, options: Http2LinkOptions, events: LinkEvents): ConnectorLink {
  const { timers, afterTurn, report, pace } = options
  const freezing = freezable(pace ? paced(accepted, pace, timers) : accepted)
  const socket = new WatchedSocket(
    freezing,
    () => timers.now(),
    (error) => events.close(error ? describeSocketError(error) : 'the connection was closed'),
  )
  const connection = new Http2Connection(socket, {
    timers,
    afterTurn,
    // The connector decides when it has had enough of us; what we ask of it is what the real edge does.
    limits: edgeHttp2Limits,
    scheme: 'https',
    onClose() {},
    onFault: (reason) => report(`http2: ${reason}`),
  })

  async function openControl(): Promise<void> {
    const outgoing = createPipe()
    try {
      const answer = asEngineResponse(
        await connection.send(requestOf('GET', [[upgradeName, upgrades.control]], outgoing.body), {}),
      )
      const incoming = answer.holder.take()
      if (answer.status !== 200 || incoming === undefined) {
        report(`control stream: answered with ${answer.status}`)
        incoming?.cancel()
        outgoing.body.cancel()
        socket.destroy()
        return
      }
      const { maxConcurrentStreams } = connection.session.peer
      if (maxConcurrentStreams < fewestStreams) report(`settings: ${maxConcurrentStreams} streams at a time`)
      events.control(controlOf(incoming, outgoing.sink))
    } catch {
      // The connection is gone, or the connector refused the stream: without it there is nothing to do here.
      socket.destroy()
    }
  }

  return {
    protocol: 'http2',
    remote: socket.remote,
    start: () => void openControl(),
    async send({ kind, request, onAbort }) {
      const leave = new AbortController()
      onAbort(() => leave.abort())
      const sent = marked(request, kind) as unknown as Request
      const response = asEngineResponse(await connection.send(sent, { signal: leave.signal }))
      const answer = readStreamAnswer(response, kind === 'websocket', report)
      if (answer) return answer
      const reason = 'an answer that no connector should give'
      throw new ProxyFailure({ kind: 'upstream', phase: 'head', cause: 'malformed', reason })
    },
    call: () => Promise.reject(new Error('over HTTP/2 the edge calls nothing of the connector')),
    async configure(push) {
      const fields: Field[] = [[upgradeName, upgrades.configuration]]
      const response = await connection.send(requestOf('PUT', fields, bodyOfText(push)), {})
      const text = await response.text()
      if (response.status !== 200) throw new Error(`the connector answered the configuration with ${response.status}`)
      return parseConfigurationAnswer(text)
    },
    goAway: () => connection.drain(),
    freeze: (half) => freezing.freeze(half),
    babble: () => void socket.write('', garbage, 0, garbage.length),
    destroy(how) {
      if (how !== 'reset') connection.destroy()
      // A frozen connection has not closed its socket.
      accepted.destroy(how)
    },
  }
}

/** The field that says what kind of stream it is. */
function marked(request: EngineRequest, kind: StreamRequest['kind']): EngineRequest {
  if (kind === 'http') return request
  const added: Field = kind === 'websocket' ? [upgradeName, upgrades.websocket] : [tcpSourceName, '127.0.0.1']
  const { target, authority, head } = request
  return request.derive(target, authority, head.edit({ removed: [], added: [added] }))
}

/** Our own, to the connector itself. */
function requestOf(method: string, fields: readonly Field[], body: Body): Request {
  const made = new EngineRequest(method, '/', edgeNames.http2, 'https', headOf(fields), new BodyHolder(body), undefined)
  return made as unknown as Request
}

function controlOf(incoming: Body, outgoing: ReturnType<typeof createPipe>['sink']): EdgeControlStream {
  return {
    // RPC of the edge's is a few hundred bytes; the pipe keeps what the window does not let out.
    write: (message) => void outgoing.data(message, 0, message.length),
    end() {
      outgoing.end()
      // The connector's Finish and Abort may still come; the stream is over when both halves are.
    },
    reset: () => outgoing.fail({ kind: 'downstream-gone' }),
    start: (to) =>
      incoming.start({
        data(bytes, start, end) {
          to.receive(bytes, start, end)
          return true
        },
        end: () => to.lost('the connector ended the control stream'),
        fail: () => to.lost('the control stream broke'),
      }),
  }
}
