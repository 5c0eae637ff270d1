/** One careful request at a time, for everything that is not load: probes, counters, metrics. */
import { type IncomingHttpHeaders, request } from 'node:http'

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
}

export interface Ask {
  host: string
  method?: string
  headers?: Record<string, string>
  body?: Uint8Array
  /** How long it may say nothing; absent: 10 seconds. */
  silenceMs?: number
}

/** @throws on a broken connection, a truncated body, or silence */
export function get(url: string, ask: Ask): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { ...ask.headers, host: ask.host }
    const outgoing = request(url, {
      method: ask.method ?? 'GET',
      headers,
      agent: false,
      timeout: ask.silenceMs ?? 10_000,
    })
    outgoing.once('timeout', () => outgoing.destroy(new Error(`no answer from ${url}`)))
    outgoing.once('error', reject)
    outgoing.once('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('error', reject)
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
      )
    })
    outgoing.end(ask.body)
  })
}
