/** Where a config comes from, when it comes from files. */
import type { ProxyConfig } from '../config/proxy-config.ts'

/** One thing that a source has to say about what it read. */
export interface Finding {
  readonly level: 'error' | 'warning' | 'info'
  /** A sentence that names the place and, where there is one, the fix. Holds no secrets. */
  readonly text: string
}

/** What reading a source came to. `problems`: it cannot be served at all, and what is served stays. */
export type Loaded =
  | { readonly config: ProxyConfig; readonly findings: readonly Finding[]; readonly problems?: undefined }
  | { readonly problems: readonly string[]; readonly config?: undefined; readonly findings?: undefined }

export interface Source {
  readonly kind: 'manifests' | 'config'
  readonly paths: readonly string[]
  /** Reads it as it is now; the very object of the last time when nothing has changed since. Never rejects. */
  load(): Promise<Loaded>
}

/** Remembers what the last text came to. */
export function rememberLast(): (text: string, load: () => Loaded) => Loaded {
  let last: { readonly text: string; readonly loaded: Loaded } | undefined
  return (text, load) => (last = last?.text === text ? last : { text, loaded: load() }).loaded
}
