/** Reads a source, and reads it again when its files change. */
import type { Files } from '../runtime.ts'
import type { Loaded, Source } from './source.ts'

export interface Follower {
  /** What the source held at first. */
  readonly first: Promise<Loaded>
  /** Ends it; a load under way is then forgotten. */
  close(): void
}

/**
 * Follows a source. It is watched from before it is first read, so that no change falls between the two; one load is
 * under way at a time, and what changes during it is loaded afterwards, once.
 *
 * @param reloaded called after each change
 */
export function followSource(files: Files, source: Source, reloaded: (loaded: Loaded) => void): Follower {
  let loading = false
  let changedAgain = false
  let closed = false

  async function load(): Promise<Loaded> {
    loading = true
    let result: Loaded
    do {
      changedAgain = false
      result = await source.load()
    } while (changedAgain && !closed)
    loading = false
    return result
  }

  const watcher = files.watch(source.paths, () => {
    if (loading) changedAgain = true
    else {
      void load().then((loaded) => {
        if (!closed) reloaded(loaded)
      })
    }
  })
  return {
    first: load(),
    close() {
      closed = true
      watcher.close()
    },
  }
}
