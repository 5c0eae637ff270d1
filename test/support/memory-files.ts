import type { FileEntry, Files } from '../../src/runtime.ts'

export interface MemoryFiles extends Files {
  readonly texts: Map<string, string>
  /** Tells the watchers that something changed. */
  touch(): void
  readonly watched: (readonly string[])[]
}

function missing(path: string): Error {
  return Object.assign(new Error(`ENOENT: no such file or directory, open '${path}'`), { code: 'ENOENT' })
}

/** Files without a disk. A path is a folder when others begin with it. */
export function createMemoryFiles(initial: Readonly<Record<string, string>> = {}): MemoryFiles {
  const texts = new Map(Object.entries(initial))
  const watchers = new Set<() => void>()
  const watched: (readonly string[])[] = []
  return {
    texts,
    watched,
    touch() {
      for (const changed of watchers) changed()
    },
    async read(path) {
      const text = texts.get(path)
      if (text === undefined) throw missing(path)
      return text
    },
    async readAll(path, extensions) {
      const text = texts.get(path)
      if (text !== undefined) return [{ path, text }]
      const found: FileEntry[] = []
      for (const [name, content] of texts) {
        if (name.startsWith(`${path}/`) && extensions.some((extension) => name.endsWith(extension))) {
          found.push({ path: name, text: content })
        }
      }
      if (found.length === 0 && ![...texts.keys()].some((name) => name.startsWith(`${path}/`))) throw missing(path)
      return found.sort((a, b) => (a.path < b.path ? -1 : 1))
    },
    async writeAtomically(path, text) {
      texts.set(path, text)
    },
    async remove(path) {
      if (!texts.delete(path)) throw missing(path)
    },
    watch(paths, changed) {
      watched.push(paths)
      watchers.add(changed)
      return { close: () => void watchers.delete(changed) }
    },
  }
}
