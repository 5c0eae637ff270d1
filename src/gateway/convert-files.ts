/** Files of manifests, all or none. */

import type { ProxyConfig } from '../config/proxy-config.ts'
import { convert, type ConvertOptions } from './convert.ts'
import type { Diagnostic } from './diagnostics.ts'
import { parseManifests } from './manifest-files.ts'

export interface ManifestFile {
  /** As it is to stand in front of findings. */
  readonly name: string
  readonly text: string
}

export interface FilesConversion {
  /** Absent if a file is not well-formed. Then nothing is converted, since nobody knows what is missing from it. */
  readonly config?: ProxyConfig
  readonly diagnostics: readonly Diagnostic[]
}

/** Converts the manifests of all files together. Of an object that occurs several times, the one in the last file counts. */
export function convertFiles(files: readonly ManifestFile[], options?: ConvertOptions): FilesConversion {
  const parsed = files.map(({ name, text }) => parseManifests(text, name))
  const syntaxErrors = parsed.flatMap(({ diagnostics }) => diagnostics)
  if (syntaxErrors.length > 0) return { diagnostics: syntaxErrors }
  return convert(
    parsed.flatMap(({ objects }) => objects),
    options,
  )
}
