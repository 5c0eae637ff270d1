/** `headgate convert`: manifests in, the config they come to out. */
import { stringify } from 'yaml'
import { toWire } from '../config/to-wire.ts'
import { convert } from '../gateway/convert.ts'
import { formatDiagnostic, type Diagnostic } from '../gateway/diagnostics.ts'
import type { FileEntry, Files } from '../runtime.ts'
import { noManifestsIn, parseManifestFiles, readManifestFiles } from '../sources/manifests.ts'
import { exitCodes, type Io } from './io.ts'
import { complain } from './serve.ts'

export interface ConvertFlags {
  readonly output: 'json' | 'yaml'
  /** A finding of level error fails. */
  readonly strict: boolean
  readonly gatewayClass?: string | undefined
  readonly clusterDomain: string
}

/** @param paths files and folders; `-` is the standard input */
export async function convertCommand(
  paths: readonly string[],
  flags: ConvertFlags,
  io: Io,
  files: Files,
): Promise<number> {
  let entries: readonly FileEntry[]
  try {
    entries = await readEntries(paths, io, files)
  } catch (error) {
    complain(io, [`The manifests cannot be read: ${(error as Error).message}`])
    return exitCodes.failed
  }
  if (entries.length === 0) report([{ level: 'warning', message: noManifestsIn(paths) }], io)
  const { objects, problems } = parseManifestFiles(entries)
  if (problems.length > 0) {
    report(problems, io)
    return exitCodes.failed
  }
  const { config, diagnostics } = convert(objects, {
    clusterDomain: flags.clusterDomain,
    ...(flags.gatewayClass === undefined ? {} : { gatewayClass: flags.gatewayClass }),
  })
  report(diagnostics, io)
  const wire = toWire(config)
  io.out(
    flags.output === 'yaml'
      ? stringify(wire, { lineWidth: 0, aliasDuplicateObjects: false })
      : `${JSON.stringify(wire, undefined, 2)}\n`,
  )
  return flags.strict && diagnostics.some(({ level }) => level === 'error') ? exitCodes.failed : exitCodes.ok
}

async function readEntries(paths: readonly string[], io: Io, files: Files): Promise<readonly FileEntry[]> {
  const entries: FileEntry[] = []
  for (const path of paths) {
    if (path === '-') entries.push({ path: 'standard input', text: await io.readStdin() })
    else entries.push(...(await readManifestFiles(files, [path])))
  }
  return entries
}

function report(diagnostics: readonly Diagnostic[], io: Io): void {
  for (const diagnostic of diagnostics) io.err(`${diagnostic.level}: ${formatDiagnostic(diagnostic)}\n`)
}
