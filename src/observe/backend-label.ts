/** A backend as logs and metrics name it: the config's name for it, or its URL without user information and query. */
export function backendLabel(name: string): string {
  return name.includes('://') ? name.replace(/^([^/]*:\/\/)[^/?#]*@/, '$1').replace(/[?#].*/s, '') : name
}
