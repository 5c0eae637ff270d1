/** Which hosts a route may serve on a listener. @see Gateway API HTTPRouteSpec.hostnames */

/**
 * The narrower of two hostnames, or `undefined` if no host fits both. A wildcard covers one label or more and never the
 * bare domain: `*.example.com` covers `a.b.example.com` and `*.a.example.com`, not `example.com`.
 */
export function intersectHostnames(one: string, other: string): string | undefined {
  if (one === other || covers(one, other)) return other
  if (covers(other, one)) return one
  return undefined
}

/**
 * The hosts a route serves on one listener.
 *
 * @param listener the listener's hostname; `undefined` for every host
 * @param route    the route's hostnames; none means as the listener
 * @returns the effective hostnames, an empty list meaning every host; `undefined` if no host fits both
 */
export function effectiveHostnames(
  listener: string | undefined,
  route: readonly string[],
): readonly string[] | undefined {
  if (route.length === 0) return listener === undefined ? [] : [listener]
  if (listener === undefined) return [...new Set(route)]
  const common = new Set<string>()
  for (const name of route) {
    const both = intersectHostnames(listener, name)
    if (both !== undefined) common.add(both)
  }
  return common.size === 0 ? undefined : [...common]
}

function covers(wildcard: string, name: string): boolean {
  return wildcard.startsWith('*.') && name.endsWith(wildcard.slice(1)) && name.length > wildcard.length - 1
}
