import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Outcome } from '../../src/runtime.ts'
import { engineRequest } from '../../src/http/request.ts'
import { Http1Connection } from '../../src/http1/client.ts'
import { defaultHttp1Limits } from '../../src/http1/limits.ts'
import { createHttp1Server } from '../../src/http1/server.ts'
import type { Timers } from '../../src/timers.ts'
import { createMemorySocket, type MemorySocket } from '../support/memory-socket.ts'
import { cuts, inPieces, requestBytes, responseBytes } from './llhttp/arbitraries.ts'
import { createOracle, type ReadRequest, type ReadResponse } from './llhttp/oracle.ts'

/*
 * RFC 9112 section 11.2: a request is smuggled where two recipients disagree on where it ends. So whatever we take for a
 * message, and whatever we make of it for the next hop, llhttp must read as the very same message or not at all.
 */

const oracle = createOracle()
const runs = { numRuns: 2_000, interruptAfterTimeLimit: 4_000 }

/** Nothing here waits for a clock. */
const timers: Timers = { now: () => 0, arm() {}, armAt() {}, disarm() {}, remove() {} }

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve))

interface Passed {
  readonly backend: MemorySocket
  readonly method: string
  readonly target: string
  readonly fields: readonly (readonly [name: string, value: string])[]
  outcome: Outcome | undefined
}

/** Client bytes through our server and our client, a connection of its own for each request. */
async function pass(pieces: readonly string[], answer: string): Promise<{ passed: Passed[]; client: MemorySocket }> {
  const passed: Passed[] = []
  const server = createHttp1Server({
    timers,
    limits: defaultHttp1Limits,
    scheme: 'http',
    async handler(request, exchange) {
      const own = engineRequest(request)!
      const backend = createMemorySocket()
      const one: Passed = {
        backend,
        method: own.method,
        target: own.target,
        fields: own.head.fields(),
        outcome: undefined,
      }
      passed.push(one)
      exchange!.onFinish((outcome) => (one.outcome = outcome))
      const options = { timers, limits: defaultHttp1Limits, onIdle() {}, onClose() {} }
      const response = new Http1Connection(backend, options).send(request, { exchange })
      response.catch(() => {}) // told to whoever gets it, below
      if (exchange!.awaitsContinue) backend.feed('HTTP/1.1 100 Continue\r\n\r\n')
      await turn() // all that will ever come of the request has come
      await turn()
      backend.feed(answer)
      backend.feedEnd()
      return response
    },
  })
  const client = createMemorySocket()
  server.accept(client)
  client.feed(...pieces)
  client.feedEnd()
  await client.ends
  await turn()
  return { passed, client }
}

/** Fields that each connection has for itself. */
const ofConnection =
  /^(?:host|connection|keep-alive|proxy-connection|te|transfer-encoding|content-length|expect|upgrade|http2-settings|proxy-auth.*)$/i

const endToEnd = (fields: ReadRequest['fields']): ReadRequest['fields'] =>
  fields.filter(([name]) => !ofConnection.test(name))

/** A target as we hand it on: RFC 9112 sections 3.2.2 and 3.2.4. */
function originForm(method: string, target: string): string {
  const path = /^https?:\/\/[^/?]+(.*)$/i.exec(target)?.[1]
  if (path === undefined) return target
  if (path === '' && method === 'OPTIONS') return '*'
  return path.startsWith('/') ? path : `/${path}`
}

test('a request we take is the one that llhttp takes, or none', async () => {
  let both = 0
  await fc.assert(
    fc.asyncProperty(requestBytes, cuts, async (text, where) => {
      const { passed } = await pass(inPieces(text, where), 'HTTP/1.1 204 No Content\r\n\r\n')
      const theirs = await oracle.requests(text)
      for (const [i, ours] of passed.entries()) {
        const body = bodyOf(await oracle.requests(ours.backend.written))
        const other = theirs.read[i]
        if (body === undefined || other === undefined) continue
        if (theirs.refused && !other.complete) continue
        both++
        expect({
          method: other.method,
          target: originForm(other.method, other.target),
          body: other.body,
          complete: true,
        }).toEqual({
          method: ours.method,
          target: ours.target,
          body,
          complete: other.complete,
        })
      }
    }),
    runs,
  )
  expect(both).toBeGreaterThan(100)
})

const bodyOf = ({ read }: { readonly read: readonly ReadRequest[] }): string | undefined =>
  read[0]?.complete ? read[0].body : undefined

test('what we send on is read by llhttp as one request each, with the same fields', async () => {
  let whole = 0
  await fc.assert(
    fc.asyncProperty(requestBytes, cuts, async (text, where) => {
      const { passed } = await pass(inPieces(text, where), 'HTTP/1.1 204 No Content\r\n\r\n')
      // Those that were answered could all have gone over one kept connection.
      const answered = passed.filter(({ outcome }) => outcome?.status === 204)
      const { read, refused } = await oracle.requests(
        answered.map(({ backend }) => backend.written.replace(/(?<=\r\n)Connection: Upgrade\r\n/, '')).join(''),
      )
      if (!answered.every(({ method, target }) => methods.has(method) && /^[!-~]+$/.test(target))) return
      whole += read.length
      expect({ refused, count: read.length }).toEqual({ refused: false, count: answered.length })
      for (const [i, { method, target, fields, outcome }] of answered.entries()) {
        const { body, ...got } = read[i]!
        expect({ ...got, fields: endToEnd(got.fields), size: body.length }).toEqual({
          method,
          target,
          fields: endToEnd(fields),
          complete: true,
          size: outcome!.bytesReceived,
        })
      }
    }),
    runs,
  )
  expect(whole).toBeGreaterThan(100)
})

/** We hand on any token, and targets in raw UTF-8; llhttp refuses both, and that is safe. */
const methods = new Set(['GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'PATCH', 'TRACE'])

// The http client of Node 24 closes such a connection before its parser has spoken: there is no second opinion to be had.
test.runIf(Number(process.versions.node.split('.')[0]) >= 26)(
  'an answer we take is the one that llhttp takes, and so is what we make of it',
  async () => {
    let complete = 0
    let broken = 0
    await fc.assert(
      fc.asyncProperty(responseBytes, fc.constantFrom('GET', 'POST', 'HEAD'), async (text, method) => {
        const asked = `${method} / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n`
        const { passed, client } = await pass([asked], text)
        const { outcome } = passed[0]!
        const made = await oracle.response(client.written, method)
        const ownAnswer = outcome!.status === 500 || outcome!.status === 502
        const broke = outcome!.error !== undefined && !ownAnswer
        if (broke) broken++
        expect(made?.complete ?? false).toBe(!broke)
        if (outcome!.error !== undefined) return
        complete++
        const theirs = await oracle.response(text, method)
        const agreed = theirs?.complete ? essence(theirs) : essence(made!)
        expect(essence(made!)).toEqual({ ...agreed, status: outcome!.status })
      }),
      runs,
    )
    expect(complete).toBeGreaterThan(100)
    expect(broken).toBeGreaterThan(5)
  },
)

const essence = ({ status, body }: ReadResponse): Pick<ReadResponse, 'status' | 'body'> => ({ status, body })
