import { edgeRoots } from './edge-roots.ts'

/** Which certificates the edge is believed with. Verification cannot be switched off. */
export type EdgeTrust = { readonly ca: string } | { readonly extraCa: string }

/** @param ca PEM that replaces the system's and Cloudflare's roots */
export function edgeTrust(ca: string | undefined): EdgeTrust {
  return ca === undefined ? { extraCa: edgeRoots.join('') } : { ca }
}
