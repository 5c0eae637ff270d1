import { type Head, kind } from '../http/head.ts'

/** What the eyeball spoke: the edge says so in fields, and the scheme of its own request proves nothing. */
export function eyeballScheme(head: Head): 'http' | 'https' {
  const forwarded = head.get('x-forwarded-proto', kind.forwarded)
  if (forwarded === 'http' || forwarded === 'https') return forwarded
  return /"scheme"\s*:\s*"http"/.test(head.get('cf-visitor', kind.cloudflare) ?? '') ? 'http' : 'https'
}
