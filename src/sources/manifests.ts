/** Gateway API manifests in files and folders. */
import { convert, type ConvertOptions } from '../gateway/convert.ts'
import { formatDiagnostic, type Diagnostic } from '../gateway/diagnostics.ts'
import { parseManifests, type Manifest } from '../gateway/manifest-files.ts'
import type { FileEntry, Files } from '../runtime.ts'
import { rememberLast, type Finding, type Loaded, type Source } from './source.ts'

export const manifestExtensions = ['.yaml', '.yml', '.json'] as const

/** The files behind some paths, each once, in the order of the paths. */
export async function readManifestFiles(files: Files, paths: readonly string[]): Promise<readonly FileEntry[]> {
  const entries = new Map<string, FileEntry>()
  for (const path of paths) {
    for (const entry of await files.readAll(path, manifestExtensions)) entries.set(entry.path, entry)
  }
  return [...entries.values()]
}

/** @returns the objects of all files; none when one of the files is not well-formed, and then the reasons */
export function parseManifestFiles(entries: readonly FileEntry[]): {
  readonly objects: readonly Manifest[]
  readonly problems: readonly Diagnostic[]
} {
  const objects: Manifest[] = []
  const problems: Diagnostic[] = []
  for (const { path, text } of entries) {
    const parsed = parseManifests(text, path)
    objects.push(...parsed.objects)
    problems.push(...parsed.diagnostics)
  }
  return problems.length > 0 ? { objects: [], problems } : { objects, problems }
}

/** As a sentence without its full stop, where there was no file behind the paths. */
export function noManifestsIn(paths: readonly string[]): string {
  return `There is no ${manifestExtensions.join(', ')} file in ${paths.join(', ')}`
}

/** Each load makes a config of the next version. */
export function createManifestSource(
  files: Files,
  paths: readonly string[],
  options: Omit<ConvertOptions, 'version'>,
): Source {
  let version = 0
  let served: readonly FileEntry[] = []
  const unlessSame = rememberLast()

  function read(entries: readonly FileEntry[]): Loaded {
    if (entries.length === 0) {
      return { problems: [`${noManifestsIn(paths)}.`] }
    }
    const emptied = entries.filter(
      ({ path, text }) => text === '' && served.some((each) => each.path === path && each.text),
    )
    // Whoever writes a file empties it first, as a rule: what it held is not given up for that.
    if (emptied.length > 0)
      return {
        problems: emptied.map(({ path }) => `${path} has become empty; delete it if nothing of it is to be served.`),
      }
    const { objects, problems } = parseManifestFiles(entries)
    if (problems.length > 0) return { problems: problems.map(formatDiagnostic) }
    served = entries
    const { config, diagnostics } = convert(objects, { ...options, version: ++version })
    return { config, findings: diagnostics.map(findingOf) }
  }

  return {
    kind: 'manifests',
    paths,
    async load(): Promise<Loaded> {
      try {
        const entries = await readManifestFiles(files, paths)
        return unlessSame(JSON.stringify(entries), () => read(entries))
      } catch (error) {
        const problem = `The manifests cannot be read: ${(error as Error).message}`
        return unlessSame(problem, () => ({ problems: [problem] }))
      }
    },
  }
}

function findingOf(diagnostic: Diagnostic): Finding {
  return { level: diagnostic.level, text: formatDiagnostic(diagnostic) }
}
