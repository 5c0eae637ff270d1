import { joinPath, type Fault } from './issues.ts'
import type { BackendEndpoint, BackendTls } from './proxy-config.ts'
import { isDialAddress, isPort } from './syntax.ts'

/** What backends and mirrors have in common: somewhere to dial. */
export interface DialTarget {
  readonly protocol?: string | undefined
  readonly tls?: BackendTls | undefined
  readonly endpoints?: readonly BackendEndpoint[] | undefined
}

/**
 * Why a backend or a mirror cannot be dialled.
 *
 * @param path the backend's or mirror's JSON path
 * @param urlField what its URL is called
 */
export function findTargetFault(
  target: DialTarget,
  url: string,
  path: string,
  urlField: 'url' | 'backendUrl',
): Fault | undefined {
  const { protocol, tls, endpoints } = target
  if (protocol !== undefined && protocol !== '' && protocol !== 'h2c') {
    return { path: `${path}.protocol`, message: 'is no protocol we know', fix: 'use "h2c", or leave it out' }
  }
  const fault = findUrlFault(url, `${path}.${urlField}`) ?? (tls && findTlsFault(tls, `${path}.tls`))
  if (fault !== undefined) return fault
  for (const [index, { address, port }] of endpoints?.entries() ?? []) {
    const at = joinPath(path, 'endpoints', index)
    if (!isDialAddress(address)) {
      return {
        path: `${at}.address`,
        message: 'is no IP address or host name',
        fix: 'write it without brackets and without port',
      }
    }
    if (!isPort(port)) {
      return {
        path: `${at}.port`,
        message: 'must be a port from 1 to 65535',
        fix: 'give the port that the endpoint listens on',
      }
    }
  }
  return undefined
}

/** The URL parser would silently drop tabs and line breaks, and trim blanks. */
// oxlint-disable-next-line no-control-regex
const NOT_IN_URL = /[\u0000-\u0020\u007f\\]/

function findUrlFault(url: string, path: string): Fault | undefined {
  if (url === '') return { path, message: 'must be given', fix: 'write it as "http://host:port"' }
  const parsed = NOT_IN_URL.test(url) ? null : URL.parse(url)
  if (parsed === null || !/^https?:\/\/[^/?#]/i.test(url)) {
    return { path, message: 'is no http or https URL with a host', fix: 'write it as "http://host:port"' }
  }
  if (parsed.username !== '' || parsed.password !== '') {
    return {
      path,
      message: 'must not hold a user name or password',
      fix: 'send credentials with a RequestHeaderModifier filter',
    }
  }
  if (parsed.port === '0') {
    return { path, message: 'must not have port 0', fix: 'give the port that the backend listens on' }
  }
  if (parsed.hash !== '') return { path, message: 'must not have a fragment', fix: 'remove "#" and what follows' }
  return undefined
}

/** Whether the blocks are there at all; what is in them, the TLS library says. */
function findTlsFault(tls: BackendTls, path: string): Fault | undefined {
  const { caBundle, clientCertPem, clientKeyPem } = tls
  if (caBundle !== undefined && !hasPem(caBundle, 'CERTIFICATE')) {
    return notPem(`${path}.caBundle`, 'CERTIFICATE', 'give the PEM text itself')
  }
  const certified = clientCertPem !== undefined && clientCertPem !== ''
  const keyed = clientKeyPem !== undefined && clientKeyPem !== ''
  const encoded = 'encode the PEM text as standard base64'
  if (certified && !hasPem(clientCertPem, 'CERTIFICATE')) return notPem(`${path}.clientCertPem`, 'CERTIFICATE', encoded)
  if (keyed && !hasPem(clientKeyPem, 'PRIVATE KEY')) return notPem(`${path}.clientKeyPem`, 'PRIVATE KEY', encoded)
  if (certified !== keyed) {
    return {
      path: `${path}.${certified ? 'clientKeyPem' : 'clientCertPem'}`,
      message: 'must be given: a client certificate and its key go together',
      fix: 'give both, or neither',
    }
  }
  return undefined
}

function hasPem(text: string, label: string): boolean {
  return text.includes('-----BEGIN ') && text.includes(`${label}-----`)
}

function notPem(path: string, label: string, fix: string): Fault {
  return { path, message: `holds no PEM block of type ${label}`, fix: `${fix}, with its BEGIN and END lines` }
}
