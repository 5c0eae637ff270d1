/** Reads a source again when its files change. */
import type { Files } from '../runtime.ts'
import type { Loaded, Source } from './source.ts'

/**
 * Calls `loaded` after each change, one load at a time: what changes during a load is loaded afterwards, once.
 *
 * @returns ends the watch; a load under way is then forgotten
 */
export function watchSource(files: Files, source: Source, loaded: (loaded: Loaded) => void): { close(): void } {
  let loading = false
  let changedAgain = false
  let closed = false

  async function reload(): Promise<void> {
    loading = true
    do {
      changedAgain = false
      const result = await source.load()
      if (closed) return
      if (!changedAgain) loaded(result)
    } while (changedAgain)
    loading = false
  }

  const watcher = files.watch(source.paths, () => {
    if (loading) changedAgain = true
    else void reload()
  })
  return {
    close() {
      closed = true
      watcher.close()
    },
  }
}
