/** Files over `node:fs`: reading manifests, watching them, keeping state. */
import { watch as fsWatch, type FSWatcher } from 'node:fs'
import { chmod, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { FileEntry, Files } from '../../src/runtime.ts'

/** File events get lost on network and container volumes, so a look at sizes and times backs them. */
const pollMs = 2_000
const settleMs = 50

export const files: Files = {
  read: (path) => readFile(path, 'utf8'),
  async readAll(path, extensions) {
    const found: FileEntry[] = []
    for (const file of await listFiles(path, extensions)) found.push({ path: file, text: await readFile(file, 'utf8') })
    return found
  },
  async writeAtomically(path, text) {
    await makeFolder(dirname(path))
    await chmod(dirname(path), 0o700)
    const temporary = `${path}.${process.pid}.tmp`
    try {
      const handle = await open(temporary, 'w', 0o600)
      try {
        await handle.writeFile(text)
        await handle.sync()
      } finally {
        await handle.close()
      }
      await rename(temporary, path)
    } catch (error) {
      await rm(temporary, { force: true })
      throw error
    }
  },
  remove: (path) => rm(path),
  watch,
}

/** With its parents. Node's `recursive` never comes back where a parent takes no folders, as /proc does. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return
    if (code !== 'ENOENT' || dirname(path) === path) throw error
    await makeFolder(dirname(path))
    await mkdir(path, { mode: 0o700 }).catch((again: NodeJS.ErrnoException) => {
      if (again.code !== 'EEXIST') throw again
    })
  }
}

/** The file itself whatever its name, or those below a folder whose names end in one of `extensions`, sorted. */
async function listFiles(path: string, extensions: readonly string[]): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path]
  const found: string[] = []
  for (const entry of (await readdir(path)).toSorted()) {
    if (entry.startsWith('.')) continue // editors' files, and the `..data` links of mounted ConfigMaps
    const full = join(path, entry)
    if ((await stat(full)).isDirectory()) found.push(...(await listFiles(full, extensions)))
    else if (extensions.some((extension) => entry.endsWith(extension))) found.push(full)
  }
  return found
}

function watch(paths: readonly string[], changed: () => void): { close(): void } {
  const watchers: FSWatcher[] = []
  let settle: NodeJS.Timeout | undefined
  let seen: string | undefined
  let closed = false
  let early = false // something changed, maybe before we first looked: what we saw may have it in it already
  let settling = true
  let settled: NodeJS.Timeout | undefined
  const notice = (): void => {
    early ||= settling
    clearTimeout(settle)
    settle = setTimeout(() => void look(), settleMs)
  }
  const look = async (): Promise<void> => {
    const now = await signature(paths)
    if (closed || (now === seen && !early)) return
    const told = seen !== undefined || early
    settled ??= setTimeout(() => (settling = false), pollMs).unref()
    seen = now
    early = false
    if (told) changed()
  }
  for (const path of new Set(paths.flatMap((each) => [each, dirname(each)]))) {
    try {
      const watcher = fsWatch(path, { persistent: false }, notice)
      watcher.on('error', () => watcher.close())
      watchers.push(watcher)
    } catch {
      // Not watchable (yet): the poll sees it.
    }
  }
  void look()
  const poll = setInterval(() => void look(), pollMs)
  poll.unref()
  return {
    close() {
      closed = true
      clearTimeout(settle)
      clearTimeout(settled)
      clearInterval(poll)
      for (const watcher of watchers) watcher.close()
    },
  }
}

/** Changes whenever a file below one of the paths appears, vanishes or is written. */
async function signature(paths: readonly string[]): Promise<string> {
  const parts: string[] = []
  for (const path of paths) {
    try {
      for (const file of await listFiles(path, [''])) {
        const { mtimeMs, size, ino } = await stat(file)
        parts.push(`${file}:${mtimeMs}:${size}:${ino}`)
      }
    } catch (error) {
      parts.push(`${path}:${(error as NodeJS.ErrnoException).code}`)
    }
  }
  return parts.join('\n')
}
