/** One request to a connector over QUIC: its head as a ConnectRequest, its body behind that, and the same back. */
import { ProxyFailure, type ProxyError } from '../../errors.ts'
import type { Body } from '../../http/body.ts'
import type { Field, QuicStream } from '../../runtime.ts'
import { isBodiless } from '../answer-fields.ts'
import { MalformedMessageError } from '../capnp.ts'
import { readQuicResponse, writeQuicRequest } from '../quic-http.ts'
import { QuicStreamBody } from '../quic-stream-body.ts'
import {
  type ConnectRequest,
  type ConnectResponse,
  createOpeningReader,
  readConnectResponse,
  writeConnectRequest,
} from '../stream-metadata.ts'
import { connectionOptions } from './hop-by-hop.ts'
import { type ReportViolation, type StreamAnswer, type StreamRequest } from './link.ts'

const broken = {
  kind: 'upstream',
  phase: 'body',
  cause: 'closed',
  reason: 'the connector broke off',
} as const satisfies ProxyError

/**
 * @param over is called once when nothing more comes of an answer; never where the promise rejects
 * @returns rejects with a ProxyFailure when there is no answer
 */
export function sendQuicRequest(
  stream: QuicStream,
  asked: StreamRequest,
  report: ReportViolation,
  over: () => void,
): Promise<StreamAnswer> {
  return new Promise((resolve, reject: (error: ProxyFailure) => void) => {
    const outgoing = asked.request.holder.take()
    const reader = createOpeningReader()
    let incoming: QuicStreamBody | undefined
    let phase: 'waiting' | 'answered' | 'over' = 'waiting'
    /** The request's body waits for the stream. */
    let blocked = false
    let sent = 0

    /** Half a request must never look like a whole one. */
    function breakOff(): void {
      stream.reset(outgoing?.length !== undefined && sent < outgoing.length)
    }

    function fail(error: ProxyError): void {
      if (phase === 'over') return
      const before = phase
      phase = 'over'
      outgoing?.cancel(error)
      if (before === 'waiting') reject(new ProxyFailure(error))
      else {
        incoming?.fail(error)
        over()
      }
    }

    function giveUp(error: ProxyError): void {
      fail(error)
      breakOff()
      stream.stopReading()
    }

    function refuse(violation: string): void {
      report(`answer: ${violation}`)
      giveUp({ kind: 'upstream', phase: 'head', cause: 'malformed', reason: violation })
    }

    /** The connector has said all it will. */
    function finish(): void {
      if (phase !== 'answered') return
      phase = 'over'
      over()
    }

    function answer(response: ConnectResponse): void {
      const answered = answerOf(response, asked)
      if ('violation' in answered) {
        refuse(answered.violation)
        return
      }
      phase = 'answered'
      const { carriesBody, length, ...rest } = answered
      if (carriesBody) incoming = new QuicStreamBody(stream, length, broken)
      resolve({ ...rest, body: incoming && givenUp(incoming, () => giveUp({ kind: 'downstream-gone' })) })
      if (carriesBody) return
      stream.stopReading()
      finish()
    }

    stream.attach({
      data(bytes, start, end) {
        let at = start
        if (phase === 'waiting') {
          try {
            at += reader.push(bytes, at, end)
            const { opening } = reader
            if (opening?.kind === 'rpc') refuse('a call instead of an answer')
            else if (opening) answer(readConnectResponse(opening.message))
          } catch (error) {
            if (!(error instanceof MalformedMessageError)) throw error
            refuse('an answer that cannot be read')
          }
        }
        return at === end || incoming === undefined || incoming.receive(bytes, at, end)
      },
      end() {
        if (phase === 'waiting') refuse('no answer before the end')
        incoming?.end()
        finish()
      },
      drain() {
        if (!blocked) return
        blocked = false
        outgoing?.resume()
      },
      reset() {
        fail(phase === 'waiting' ? { ...broken, phase: 'head' } : broken)
        breakOff()
      },
      stopped() {
        // An early answer: the rest of the request is of no use to anyone.
        outgoing?.cancel()
      },
    })
    asked.onAbort(() => {
      if (phase !== 'over') giveUp({ kind: 'downstream-gone' })
    })

    stream.write(writeConnectRequest(connectOf(asked, outgoing)))
    if (outgoing === undefined) stream.end()
    else {
      outgoing.start({
        data(bytes, start, end) {
          sent += end - start
          blocked = !stream.write(bytes, start, end)
          return !blocked
        },
        end: () => stream.end(),
        fail: giveUp,
      })
    }
  })
}

/** The same body; `giveUp` is told when its consumer wants no more. */
function givenUp(body: Body, giveUp: () => void): Body {
  return {
    length: body.length,
    start: (sink) => body.start(sink),
    resume: () => body.resume(),
    cancel(reason) {
      body.cancel(reason)
      giveUp()
    },
  }
}

function connectOf({ kind, request }: StreamRequest, body: Body | undefined): ConnectRequest {
  const { method, target, authority, head } = request
  if (kind === 'tcp') return { dest: authority, type: 'tcp', metadata: [] }
  const hop = connectionOptions(head.get('connection'))
  const fields = head.fields().filter(([name]) => !hop.has(name.toLowerCase()) && name.toLowerCase() !== 'host')
  return writeQuicRequest({
    method,
    authority,
    // The asterisk form has no place in a URL.
    url: `https://${authority}${target === '*' ? '/*' : target}`,
    fields: kind === 'http' ? withLength(fields, body) : fields,
    isWebSocket: kind === 'websocket',
  })
}

/** The connector takes a body only where a field says that there is one, though its bytes are never chunked. */
function withLength(fields: readonly Field[], body: Body | undefined): readonly Field[] {
  const others = fields.filter(([name]) => name.toLowerCase() !== 'content-length')
  if (body === undefined) return fields
  const { length } = body
  const said: Field = length === undefined ? ['Transfer-Encoding', 'chunked'] : ['Content-Length', String(length)]
  return [...others, said]
}

type Answered = Omit<StreamAnswer, 'body'> & { readonly carriesBody: boolean; readonly length: number | undefined }

function answerOf(
  response: ConnectResponse,
  { kind, request }: StreamRequest,
): Answered | { readonly violation: string } {
  if (kind === 'tcp' && response.error === '') {
    // The answer is the acknowledgement, and says nothing else.
    return { source: 'origin', rateLimited: false, status: 200, fields: [], carriesBody: true, length: undefined }
  }
  const answer = readQuicResponse(response)
  if ('error' in answer) {
    if (response.error === '') return { violation: answer.error }
    const { isRateLimited: rateLimited } = answer
    return { source: 'connector', rateLimited, status: 502, fields: [], carriesBody: false, length: undefined }
  }
  const { status, fields } = answer
  const carriesBody = !isBodiless(status, request.method)
  return { source: 'origin', rateLimited: false, status, fields, carriesBody, length: lengthOf(status, fields) }
}

function lengthOf(status: number, fields: readonly Field[]): number | undefined {
  const declared = fields.find(([name]) => name.toLowerCase() === 'content-length')?.[1]
  return status === 101 || declared === undefined || !/^\d{1,15}$/.test(declared) ? undefined : Number(declared)
}
