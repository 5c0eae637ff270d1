/**
 * Load over a few HTTP/2 connections that our own client holds: those of a connector that dialled us, as the edge of a
 * tunnel has them, or those that we dialled to a listener. A program that takes messages, so that it can run on a core
 * of its own.
 */
import { openRuntime } from '../../../adapters/node/runtime.ts'
import { asEngineResponse } from '../../../src/http/response.ts'
import type { Body } from '../../../src/http/body.ts'
import { headOf, type Head } from '../../../src/http/head.ts'
import { BodyHolder } from '../../../src/http/holder.ts'
import { EngineRequest } from '../../../src/http/request.ts'
import { Http2Connection } from '../../../src/http2/client.ts'
import { defaultHttp2Limits } from '../../../src/http2/limits.ts'
import type { Address, Field } from '../../../src/runtime.ts'
import { silentLog } from '../../../src/telemetry.ts'
import { createTimers } from '../../../src/timers.ts'
import { edgeNames } from '../../../src/tunnel/edge/authority.ts'
import { startEdge } from '../../../src/tunnel/edge/edge.ts'
import { passOn } from '../../../src/tunnel/edge/eyeball.ts'
import type { LoadResult } from '../../load.ts'
import type { LinkOrder, LinksOpened, OpenLinks } from './messages.ts'

/** Sends one request. @returns its status and body */
type Link = (request: EngineRequest) => Promise<{ readonly status: number; readonly body: Body | undefined }>

const loopback: Address = { host: '127.0.0.1', port: 0 }
/** Requests that differ; more than are under way at once. */
const differentHeads = 997

const { runtime } = await openRuntime({ fastSockets: true })
const timers = createTimers(runtime.clock)
let links: () => readonly Link[] = () => []
let heads: readonly Head[] = []

/** Be an edge of as many servers as there shall be connections, with eyeballs let in beside the load. */
async function openEdge({ connections, fields }: OpenLinks): Promise<LinksOpened> {
  const servers = Array.from({ length: connections }, () => loopback)
  const edge = await startEdge({ runtime, timers, log: silentLog, servers, eyeballs: loopback })
  heads = Array.from({ length: differentHeads }, (_, i) => {
    const facts = { scheme: 'https', address: '192.0.2.1', ray: `${String(i).padStart(16, '0')}-LHR` } as const
    return flat(passOn(requestOf(headOf(fields), edgeNames.http2, '/'), facts, undefined).head)
  })
  links = () =>
    edge.connections
      .filter(({ phase }) => phase === 'registered')
      .map((connection) => (request) => connection.send({ kind: 'http', request, onAbort: () => undefined }))
  return {
    eyeballs: edge.eyeballs!.port,
    servers: edge.servers.map(({ address }) => `${address.host}:${address.port}`),
    certificate: edge.certificate,
    token: edge.mint().token,
  }
}

/** Dial a listener, over TLS where there is somebody to trust. */
async function dial({ connections, fields, to, ca }: OpenLinks): Promise<void> {
  const tls = ca === undefined ? {} : { tls: { servername: edgeNames.http2, ca, alpn: ['h2'] } }
  const dialled = Array.from({ length: connections }, async () => {
    const socket = await runtime.connect(to!, { timeoutMs: 5_000, ...tls })
    if (ca !== undefined && socket.tls?.alpn !== 'h2') throw new Error('the listener does not agree to h2')
    return new Http2Connection(socket, {
      timers,
      limits: defaultHttp2Limits,
      afterTurn: (f) => runtime.afterTurn(f),
      scheme: ca === undefined ? 'http' : 'https',
      onClose: () => undefined,
    })
  })
  const opened = (await Promise.all(dialled)).map((connection): Link => {
    return async (request) => {
      const response = asEngineResponse(await connection.send(request as unknown as Request, {}))
      return { status: response.status, body: response.holder.take() }
    }
  })
  heads = Array.from({ length: differentHeads }, (_, i) =>
    headOf([...fields, ['traceparent', `00-${String(i).padStart(32, '0')}-00f067aa0ba902b7-01`]]),
  )
  links = () => opened
}

/** Without edits: a head is written out once, and not for every request. */
function flat(head: Head): Head {
  return headOf(head.fields().map(([name, value]): Field => [name.toLowerCase(), value]))
}

function requestOf(head: Head, host: string, target: string): EngineRequest {
  return new EngineRequest('GET', target, host, 'https', head, new BodyHolder(undefined), undefined)
}

function lengthOf(body: Body | undefined): Promise<number> {
  return new Promise((resolve, reject) => {
    if (!body) {
      resolve(0)
      return
    }
    let length = 0
    body.start({
      data(_bytes, start, end) {
        length += end - start
        return true
      },
      end: () => resolve(length),
      fail: (error) => reject(new Error(error.kind)),
    })
  })
}

async function run({ seconds, streams, connections, host, path }: LinkOrder): Promise<LoadResult> {
  const opened = links()
  if (opened.length !== connections) throw new Error(`${opened.length} of ${connections} connections are there`)
  const latencies: number[] = []
  const errors: Record<string, number> = {}
  let bytes = 0
  let next = 0
  const count = (what: string): void => void (errors[what] = (errors[what] ?? 0) + 1)
  const began = performance.now()
  const end = began + seconds * 1_000
  const one = async (link: Link): Promise<void> => {
    for (let now = performance.now(); now < end;) {
      const request = requestOf(heads[next++ % heads.length]!, host, path)
      try {
        const { status, body } = await link(request)
        const length = await lengthOf(body)
        bytes += length
        if (status !== 200) count('status')
      } catch (error) {
        count(error instanceof Error ? error.message : String(error))
        return
      }
      const after = performance.now()
      latencies.push(after - now)
      now = after
    }
  }
  await Promise.all(opened.flatMap((link) => Array.from({ length: streams }, () => one(link))))
  const sorted = Float64Array.from(latencies).sort()
  const percentileUs = (share: number): number => (sorted[Math.floor(sorted.length * share)] ?? NaN) * 1_000
  return {
    requests: sorted.length,
    seconds: (performance.now() - began) / 1_000,
    bytes,
    p50Us: percentileUs(0.5),
    p99Us: percentileUs(0.99),
    errors,
  }
}

process.on('message', (message: OpenLinks | LinkOrder | 'count') => {
  const answer = async (): Promise<unknown> => {
    if (message === 'count') return links().length
    if ('seconds' in message) return run(message)
    return message.to === undefined ? openEdge(message) : dial(message).then(() => 'dialled')
  }
  answer().then(
    (told) => process.send!(told as object),
    (error: unknown) => {
      console.error(error)
      process.exit(1)
    },
  )
})
process.on('disconnect', () => process.exit())
