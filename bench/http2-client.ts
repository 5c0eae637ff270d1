/** One careful request over HTTP/2, for variants that speak nothing else. */
import { connect, type IncomingHttpHeaders, type IncomingHttpStatusHeader } from 'node:http2'

import { type Answer, type Ask, get } from './client.ts'
import type { Door } from './variant.ts'

/** How to ask one question at a door that anybody may come in by. */
export function questionFor(door: Door): typeof get {
  return door === 'h2c' ? getOverH2c : get
}

/** @throws on a broken connection, a truncated body, or silence */
export function getOverH2c(url: string, ask: Ask): Promise<Answer> {
  return getOverHttp2(url, ask)
}

/** @param ca who must have signed the certificate, which may be for any name: it is reached by its address */
export function getOverHttp2(url: string, ask: Ask, ca?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { origin, pathname, search } = new URL(url)
    const session = connect(origin, ca === undefined ? {} : { ca, checkServerIdentity: () => undefined })
    const failed = (error: Error): void => {
      session.destroy()
      reject(error)
    }
    session.once('error', failed)
    const pseudo = { ':method': ask.method ?? 'GET', ':path': pathname + search, ':authority': ask.host }
    const stream = session.request({ ...ask.headers, ...pseudo }, { endStream: ask.body === undefined })
    const chunks: Buffer[] = []
    let headers: IncomingHttpHeaders & IncomingHttpStatusHeader = {}
    stream.setTimeout(ask.silenceMs ?? 10_000, () => failed(new Error(`no answer from ${url}`)))
    stream.once('error', failed)
    stream.once('response', (received) => (headers = received))
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.once('end', () => {
      session.close()
      resolve({ status: headers[':status'] ?? 0, headers, body: Buffer.concat(chunks) })
    })
    if (ask.body !== undefined) stream.end(ask.body)
  })
}
