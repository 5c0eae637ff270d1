/** The example manifests, with a backend of ours behind each of their endpoints. */
import { convert } from '../../gateway/convert.ts'
import { formatDiagnostic } from '../../gateway/diagnostics.ts'
import type { Manifest } from '../../gateway/manifest-files.ts'
import type { Files } from '../../runtime.ts'
import { parseManifestFiles, readManifestFiles } from '../../sources/manifests.ts'
import type { Loaded, Source } from '../../sources/source.ts'

/** An endpoint that an example expects somebody to serve. */
export interface WantedEndpoint {
  readonly service: string
  readonly host: string
  readonly port: number
}

/** `host:port` as written in a manifest, to the port that is really served. */
export type MovedPorts = ReadonlyMap<string, number>

export async function readExamples(files: Files, folders: readonly string[]): Promise<readonly Manifest[]> {
  const { objects, problems } = parseManifestFiles(await readManifestFiles(files, folders))
  if (problems.length > 0) throw new Error(problems.map(formatDiagnostic).join('\n'))
  return objects
}

/** The endpoints of every EndpointSlice, in the order of the files. */
export function wantedEndpoints(manifests: readonly Manifest[]): readonly WantedEndpoint[] {
  return manifests.flatMap(({ value }) => {
    const slice = value as Partial<Slice>
    if (slice.kind !== 'EndpointSlice') return []
    const service = slice.metadata?.labels?.['kubernetes.io/service-name'] ?? ''
    const hosts = (slice.endpoints ?? []).flatMap(({ addresses = [] }) => addresses)
    return hosts.flatMap((host) => (slice.ports ?? []).map(({ port }) => ({ service, host, port })))
  })
}

interface Slice {
  readonly kind: string
  readonly metadata: { readonly labels?: Readonly<Record<string, string>> }
  readonly endpoints: readonly { readonly addresses?: readonly string[] }[]
  readonly ports: readonly { port: number }[]
}

/** Reads the examples, and reads them again when they are edited. */
export function createExampleSource(files: Files, folders: readonly string[], moved: MovedPorts): Source {
  let version = 0
  return {
    kind: 'manifests',
    paths: folders,
    async load(): Promise<Loaded> {
      let manifests: readonly Manifest[]
      try {
        manifests = await readExamples(files, folders)
      } catch (error) {
        return { problems: [(error as Error).message] }
      }
      const { config, diagnostics } = convert(
        manifests.map((manifest) => movePorts(manifest, moved)),
        { version: ++version },
      )
      return { config, findings: diagnostics.map((found) => ({ level: found.level, text: formatDiagnostic(found) })) }
    },
  }
}

function movePorts(manifest: Manifest, moved: MovedPorts): Manifest {
  const slice = manifest.value as Partial<Slice>
  const host = slice.endpoints?.[0]?.addresses?.[0]
  if (slice.kind !== 'EndpointSlice' || host === undefined) return manifest
  const ports = (slice.ports ?? []).map((each) => ({ ...each, port: moved.get(`${host}:${each.port}`) ?? each.port }))
  return { ...manifest, value: { ...slice, ports } }
}
