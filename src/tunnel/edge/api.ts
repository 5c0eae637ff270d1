/**
 * What a local edge can be asked over HTTP: quick tunnels, as the public service gives them out, and configuration
 * pushes. Whoever can reach the address may use it, so it is bound to loopback, and web pages are kept out.
 */
import { isLoopbackHost } from '../../options/address.ts'
import { authorityOf, targetOf } from '../../http/request.ts'
import { createResponse } from '../../http/response.ts'
import type { Handler } from '../../runtime.ts'
import { formatQuickTunnel } from '../quick-tunnel.ts'
import { type PushResult } from './connection.ts'
import { type Tunnel, type TunnelOptions } from './tunnels.ts'

export interface ApiOptions {
  readonly add: (options: TunnelOptions) => Tunnel
  /** Pushes the next version to all connections. */
  readonly configure: (config: unknown) => Promise<readonly PushResult[]>
  readonly random: () => number
  /** Where eyeballs come in; absent when only `Edge.fetch` lets them. */
  readonly port: number | undefined
}

/** Names below it lead to this machine without any DNS. RFC 6761 section 6.3. */
const quickDomain = 'localhost'
const maxConfigurationBytes = 4 * 1024 * 1024

export function createEdgeApi(options: ApiOptions): Handler {
  return async (request) => {
    const path = targetOf(request).split('?')[0]
    // A page from elsewhere may post to any address that a browser reaches, under any name that leads there.
    if (request.headers.has('origin') || !isLoopbackHost(hostOf(authorityOf(request))))
      return refuse(403, 'not from here')
    if (path === '/tunnel') return request.method === 'POST' ? quickTunnel(options) : refuse(405, 'POST gives a tunnel')
    if (path === '/configuration') {
      return request.method === 'PUT' ? push(options, request) : refuse(405, 'PUT pushes a configuration')
    }
    return refuse(404, 'there are POST /tunnel and PUT /configuration')
  }
}

function quickTunnel({ add, random, port }: ApiOptions): Response {
  const letters = Array.from({ length: 12 }, () => String.fromCharCode(97 + Math.floor(random() * 26))).join('')
  const hostname = `${letters}.${quickDomain}`
  const { credentials } = add({ hostnames: [hostname], remotelyManaged: false })
  return json(200, formatQuickTunnel(credentials, hostname, port))
}

async function push({ configure }: ApiOptions, request: Request): Promise<Response> {
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of request.body ?? []) {
    text += decoder.decode(chunk, { stream: true })
    if (text.length > maxConfigurationBytes) return refuse(413, 'a configuration is smaller')
  }
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch {
    return refuse(400, 'a configuration is JSON')
  }
  return json(200, JSON.stringify(await configure(config)))
}

function hostOf(authority: string): string {
  return authority.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
}

function json(status: number, text: string): Response {
  return createResponse(status, [['Content-Type', 'application/json']], `${text}\n`)
}

function refuse(status: number, text: string): Response {
  return createResponse(status, [['Content-Type', 'text/plain; charset=utf-8']], `${text}\n`)
}
