/** The config of a connector that forwards everything to one HTTP server. */
import { parseProxyConfig } from '../config/proxy-config.ts'
import type { Loaded } from './source.ts'

/** @param url http or https; its path is put before each request's */
export function originConfig(url: string): Loaded {
  const { config, issues } = parseProxyConfig({
    version: 1,
    rules: [{ name: 'origin', backends: [{ url, weight: 1, name: 'origin', websocket: true }] }],
  })
  if (config === undefined) return { problems: issues.map(({ message }) => `--origin: ${message}.`) }
  return { config, findings: [] }
}
