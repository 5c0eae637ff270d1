/**
 * The obvious proxy on Node: node:http in, undici out, its bodies piped. Not ours: a peer, and the harness's stand-in.
 *
 * Usage: node main.ts PORT HOST BACKEND_URL
 */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'

import { Pool } from 'undici8'

const [port = '', host = '', backendUrl = ''] = process.argv.slice(2)
const pool = new Pool(backendUrl, {
  connections: 512,
  pipelining: 1,
  keepAliveTimeout: 300_000,
  headersTimeout: 10_000,
  bodyTimeout: 10_000,
})
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

function endToEnd(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const named = new Set(headers.connection?.split(',').map((name) => name.trim().toLowerCase()))
  const kept: IncomingHttpHeaders = {}
  for (const name in headers) if (!hopByHop.has(name) && !named.has(name)) kept[name] = headers[name]
  return kept
}

async function forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.headers.host !== host) {
    response.writeHead(404).end()
    return
  }
  const headers = endToEnd(request.headers)
  const before = request.headers['x-forwarded-for']
  const client = request.socket.remoteAddress ?? ''
  headers['x-forwarded-for'] = before === undefined ? client : `${String(before)}, ${client}`
  headers['x-bench'] = '1'
  const hasBody = request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined
  const gone = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) gone.abort()
  })
  try {
    const answer = await pool.request({
      method: request.method ?? 'GET',
      path: request.url ?? '/',
      headers,
      body: hasBody ? request : null,
      signal: gone.signal,
    })
    const answerHeaders = endToEnd(answer.headers)
    answerHeaders['x-bench'] = '1'
    response.writeHead(answer.statusCode, answerHeaders)
    answer.body.on('error', () => response.destroy()) // a truncated answer must not look complete
    answer.body.pipe(response)
  } catch {
    if (response.headersSent) response.destroy()
    else response.writeHead(502).end()
  }
}

const server = createServer((request, response) => void forward(request, response))
server.keepAliveTimeout = 300_000
server.listen(Number(port), '127.0.0.1', 4096)
