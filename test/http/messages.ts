import { bodyOfText } from '../../src/http/body.ts'
import { headOf, type Head, parseFields } from '../../src/http/head.ts'
import { createRequest } from '../../src/http/request.ts'
import { responseOf } from '../../src/http/response.ts'
import type { Exchange, Field } from '../../src/runtime.ts'

/** A head as it comes off a wire. */
export function headOfLines(...lines: readonly string[]): Head {
  const text = lines.map((line) => `${line}\r\n`).join('')
  const head = parseFields(`${text}\r\n`, 0, text.length, 1000, 100_000)
  if (typeof head === 'string') throw new Error(`not acceptable: ${head}`)
  return head
}

export interface RequestSpec {
  readonly method?: string
  readonly url: string
  readonly fields?: readonly Field[]
  readonly body?: string
}

export interface ResponseSpec {
  readonly status?: number
  readonly fields?: readonly Field[]
  readonly body?: string
}

/** Makes the same messages in one of two ways. */
export interface Kind {
  readonly name: string
  request(spec: RequestSpec): Request
  response(spec: ResponseSpec): Response
}

export const platform: Kind = {
  name: "the platform's",
  request({ method = 'GET', url, fields = [], body }) {
    const headers = new Headers()
    for (const [name, value] of fields) headers.append(name, value)
    const init = { method, headers, body: body ?? null }
    return new Request(url, init)
  },
  response({ status = 200, fields = [], body }) {
    const headers = new Headers()
    for (const [name, value] of fields) headers.append(name, value)
    return new Response(body ?? null, { status, headers })
  },
}

export const engine: Kind = {
  name: "the engine's",
  request: engineRequestOf,
  response({ status = 200, fields = [], body }) {
    const head = headOfLines(...fields.map(([name, value]) => `${name}: ${value}`))
    return responseOf(status, '', head, body === undefined ? undefined : bodyOfText(body))
  },
}

export const kinds: readonly Kind[] = [platform, engine]

export function engineRequestOf({ method = 'GET', url, fields = [], body }: RequestSpec, exchange?: Exchange): Request {
  const [, scheme, authority, target] = /^(https?):\/\/([^/?]+)(.*)$/.exec(url) as unknown as string[]
  return createRequest({
    method,
    target: target!,
    authority: authority!,
    scheme: scheme as 'http' | 'https',
    head: fields.length === 0 ? headOf([]) : headOfLines(...fields.map(([name, value]) => `${name}: ${value}`)),
    body: body === undefined ? undefined : bodyOfText(body),
    exchange,
  })
}
