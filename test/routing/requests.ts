import { headOf } from '../../src/http/head.ts'
import { createRequest } from '../../src/http/request.ts'

export interface Asked {
  readonly method?: string
  /** `http://host:port/target`, taken apart as text: nothing is normalised on the way. */
  readonly url: string
  /** One pair per field line. */
  readonly headers?: readonly (readonly [name: string, value: string])[]
}

/** A request as the engine reads it off a socket. */
export function engineRequestOf({ method = 'GET', url, headers = [] }: Asked): Request {
  const [, scheme, authority, target] = /^(https?):\/\/([^/?#*]*)(.*)$/.exec(url)!
  return createRequest({
    method,
    target: target === '' ? '/' : target!,
    authority: authority!,
    scheme: scheme as 'http' | 'https',
    head: headOf([['Host', authority!], ...headers]),
    body: undefined,
    exchange: undefined,
  })
}

/** The same request as a Fetch user makes it. */
export function plainRequestOf({ method = 'GET', url, headers = [] }: Asked): Request {
  return new Request(url, { method, headers: headers.map(([name, value]) => [name, value] as [string, string]) })
}
