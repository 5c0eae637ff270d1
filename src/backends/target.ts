/** What a backend in a ProxyConfig says about dialling, as plain facts. */
import type { Backend as BackendConfig, RequestMirror } from '../config/proxy-config.ts'
import type { TlsClientOptions } from '../runtime.ts'

export interface BackendTarget {
  /** Label in logs and metrics. */
  readonly name: string
  readonly hostname: string
  readonly port: number
  readonly tls: TlsClientOptions | undefined
  /** `h2`: HTTP/2 over TLS, or nothing. */
  readonly protocol: 'http/1.1' | 'h2c' | 'h2'
  /** Path to put before a request's, without trailing slash. */
  readonly basePath: string
  /** Query to put before a request's, without question mark. */
  readonly baseQuery: string
  /** Dialled instead of `hostname`. */
  readonly endpoints: readonly { readonly address: string; readonly port: number }[] | undefined
}

type Dialled = Pick<BackendConfig, 'name' | 'protocol' | 'tls' | 'endpoints'>

/** @throws TypeError for a URL that is none; configs are checked before they come here */
export function targetOfBackend(backend: BackendConfig): BackendTarget {
  return target(backend.url, backend)
}

/** @throws TypeError for a URL that is none */
export function targetOfMirror(mirror: RequestMirror): BackendTarget {
  return target(mirror.backendUrl, mirror)
}

function target(address: string, config: Dialled): BackendTarget {
  const url = new URL(address)
  const secure = url.protocol === 'https:' || config.tls !== undefined
  const hostname = url.hostname.replace(/^\[|\]$/g, '')
  const plain: BackendTarget = {
    name: config.name ?? `${url.protocol}//${url.host}`,
    hostname,
    port: url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port),
    tls: secure ? tlsOptions(config.tls, hostname) : undefined,
    protocol: config.protocol === 'h2c' && !secure ? 'h2c' : 'http/1.1',
    basePath: url.pathname.replace(/\/+$/, ''),
    baseQuery: url.search.slice(1),
    endpoints: config.endpoints,
  }
  return secure && config.protocol === 'h2c' ? overHttp2(plain) : plain
}

/** The same backend, asked for HTTP/2 in the TLS handshake. RFC 9113 section 3.2. */
export function overHttp2(target: BackendTarget): BackendTarget {
  return { ...target, protocol: 'h2', tls: { ...target.tls!, alpn: ['h2'] } }
}

function tlsOptions(tls: Dialled['tls'], hostname: string): TlsClientOptions {
  const both = tls?.clientCertPem !== undefined && tls.clientKeyPem !== undefined
  return {
    servername: tls?.serverName ?? hostname,
    // A policy that came without a usable CA trusts nobody: never the system's roots instead. Gateway API BackendTLSPolicy
    ...(tls && 'caBundle' in tls ? { ca: tls.caBundle ?? '' } : {}),
    ...(tls?.subjectAltNames ? { subjectAltNames: tls.subjectAltNames } : {}),
    ...(tls?.subjectAltNameUris ? { subjectAltNameUris: tls.subjectAltNameUris } : {}),
    ...(both ? { cert: tls.clientCertPem!, key: tls.clientKeyPem! } : {}),
  }
}

/** Puts the backend's base path and query around a request's target. The request's parameters win over the base's. */
export function joinTarget(backend: BackendTarget, target: string): string {
  if (target === '*') return target
  const queryAt = target.indexOf('?')
  const path = queryAt < 0 ? target : target.slice(0, queryAt)
  const query = queryAt < 0 ? '' : target.slice(queryAt + 1)
  const joined = backend.basePath + path
  if (backend.baseQuery === '') return query === '' && queryAt < 0 ? joined : `${joined}?${query}`
  const given = new URLSearchParams(query)
  const added = [...new URLSearchParams(backend.baseQuery)].filter(([name]) => !given.has(name))
  const rest = new URLSearchParams(added).toString()
  return `${joined}?${[query, rest].filter((part) => part !== '').join('&')}`
}
