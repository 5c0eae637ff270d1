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
 * @param reloaded called after each change of what the source holds; a watched folder may stir for other reasons, such as
 *   a log that is written beside the manifests
 */
export function followSource(files: Files, source: Source, reloaded: (loaded: Loaded) => void): Follower {
  let loading = false
  let changedAgain = false
  let closed = false
  let latest: Loaded | undefined

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
        if (!closed && loaded !== latest) reloaded(loaded)
        latest = loaded
      })
    }
  })
  const first = load()
  void first.then((loaded) => (latest ??= loaded))
  return {
    first,
    close() {
      closed = true
      watcher.close()
    },
  }
}
