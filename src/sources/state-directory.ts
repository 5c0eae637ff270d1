/** The last pushed config, kept in a private folder so that a restart does not forget it. */
import { parseProxyConfig, type ProxyConfig } from '../config/proxy-config.ts'
import { toWire } from '../config/to-wire.ts'
import type { Clock, Files } from '../runtime.ts'

const fileName = 'config.json'
const probeName = 'probe'

export type Restored =
  | { readonly config: ProxyConfig; readonly savedAtMs: number; readonly fault?: undefined }
  /** There is one, and it cannot be served. */
  | { readonly fault: string; readonly config?: undefined }

export interface StateDirectory {
  /** Rejects where no config could be kept. */
  probe(): Promise<void>
  /** Keeps a config. Of several in a row, the last one stays. Rejects when the disk does. */
  save(config: ProxyConfig): Promise<void>
  /** @returns undefined when nothing has been kept */
  restore(): Promise<Restored | undefined>
}

/** @param maxAgeMs how old a kept config may be to be served; `Infinity` for any age */
export function createStateDirectory(
  files: Files,
  clock: Pick<Clock, 'wallNow'>,
  folder: string,
  maxAgeMs: number,
): StateDirectory {
  const inside = (name: string): string => `${folder.replace(/[/\\]+$/, '')}/${name}`
  const path = inside(fileName)
  let writing: Promise<void> = Promise.resolve()
  return {
    async probe() {
      await files.writeAtomically(inside(probeName), '')
      await files.remove(inside(probeName))
    },
    save(config) {
      const text = JSON.stringify({ savedAtMs: clock.wallNow(), config: toWire(config) })
      const write = (): Promise<void> => files.writeAtomically(path, text)
      const written = writing.then(write, write)
      writing = written
      return written
    },
    async restore() {
      let text: string
      try {
        text = await files.read(path)
      } catch (error) {
        if ((error as { code?: string }).code === 'ENOENT') return undefined
        return { fault: `${path} cannot be read: ${(error as Error).message}` }
      }
      let kept: unknown
      try {
        kept = JSON.parse(text)
      } catch {
        return { fault: `${path} is damaged` }
      }
      if (typeof kept !== 'object' || kept === null || !('savedAtMs' in kept) || !('config' in kept)) {
        return { fault: `${path} is damaged` }
      }
      const { savedAtMs, config } = kept
      if (typeof savedAtMs !== 'number') return { fault: `${path} is damaged` }
      if (clock.wallNow() - savedAtMs > maxAgeMs) return { fault: `${path} is older than --state-max-age` }
      const parsed = parseProxyConfig(config)
      if (parsed.config === undefined) return { fault: `${path} holds no config that can be served` }
      return { config: parsed.config, savedAtMs }
    },
  }
}
