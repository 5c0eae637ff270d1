/** What a request of the edge's over HTTP/2 is for. */
export type RequestClass = 'configuration' | 'websocket' | 'tcp' | 'control' | 'http'

export const upgradeName = 'cf-cloudflared-proxy-connection-upgrade'
export const tcpSourceName = 'cf-cloudflared-proxy-src'

/** Values of the upgrade field. */
export const upgrades = {
  configuration: 'update-configuration',
  websocket: 'websocket',
  control: 'control-stream',
} as const

/**
 * Method and path don't matter, the order of the questions does. Only a connection to the edge may be asked: a client
 * can send these fields too.
 *
 * @param field the value of a field by its lower-case name
 * @see cloudflared, connection/http2.go (determineHTTP2Type)
 */
export function classifyRequest(field: (name: string) => string | null | undefined): RequestClass {
  const upgrade = field(upgradeName)
  if (upgrade === upgrades.configuration) return 'configuration'
  if (upgrade === upgrades.websocket) return 'websocket'
  if (field(tcpSourceName)) return 'tcp'
  return upgrade === upgrades.control ? 'control' : 'http'
}
