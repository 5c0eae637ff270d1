/** Who may use which part of the admin API. */
import { isLoopbackHost } from '../options/address.ts'

export interface AccessOptions {
  /** Whether the API is bound to an address that only this machine reaches. */
  readonly onLoopback: boolean
  /** Absent: no token is asked for. */
  readonly token: string | undefined
  readonly equalInConstantTime: (a: Uint8Array, b: Uint8Array) => boolean
}

/** Why a request is turned away. */
export interface Denial {
  readonly status: 401 | 403
  readonly reason: string
}

export interface Access {
  /**
   * For every path. A browser on this machine would send any web page's requests to a loopback address: they carry an
   * Origin, or, after DNS rebinding, a Host that is the page's own.
   */
  admit(request: Request): Denial | undefined
  /** For what changes or shows the config. */
  authorize(request: Request): Promise<Denial | undefined>
}

const encoder = new TextEncoder()

export function createAccess(options: AccessOptions): Access {
  const { onLoopback, token, equalInConstantTime } = options
  const expected = token === undefined ? undefined : digest(token)
  return {
    admit(request) {
      if (!onLoopback || token !== undefined) return undefined
      if (request.headers.has('origin')) return { status: 403, reason: 'requests of web pages are refused' }
      const { hostname } = new URL(request.url)
      const host = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
      return isLoopbackHost(host) ? undefined : { status: 403, reason: 'the Host must be a loopback name or address' }
    },
    async authorize(request) {
      if (expected === undefined) {
        if (onLoopback) return undefined
        return {
          status: 403,
          reason: 'without a token this is served on loopback only; set HEADGATE_AUTH_TOKEN or --auth-token-file',
        }
      }
      const found = /^bearer +(\S+)$/i.exec(request.headers.get('authorization') ?? '')
      // Digests, since a comparison of unequal lengths could not be constant in time.
      const matches = found !== null && equalInConstantTime(await digest(found[1]!), await expected)
      return matches ? undefined : { status: 401, reason: 'unauthorized' }
    },
  }
}

async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', encoder.encode(text)))
}
