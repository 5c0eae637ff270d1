/** `headgate demo`: the examples, backends for them, and what to try. */
import { StartRefusal } from '../control/start-refusal.ts'
import { formatAddress } from '../options/address.ts'
import type { OptionName } from '../options.ts'
import { readOptions, type FlagValues } from '../options/read.ts'
import type { Runtime } from '../runtime.ts'
import { createTimers } from '../timers.ts'
import { startDemoBackend, type DemoBackend } from './demo/backend.ts'
import { startDirectly, startThroughEdge, type DemoEntrance } from './demo/entrance.ts'
import { createExampleSource, readExamples, wantedEndpoints } from './demo/source.ts'
import { describeTour, exampleNames } from './demo/tour.ts'
import { exitCodes, type Io } from './io.ts'
import type { OptionWords } from './option-flags.ts'
import { complain, serveUntilStopped, unlessStopped, watchSignals } from './serve.ts'

export const demoOptions: readonly OptionName[] = ['listen', 'admin', 'logLevel', 'accessLog', 'gracePeriodMs']

const demoDefaults = { logLevel: 'warn', gracePeriodMs: '3s' } as const

/** Where the demo differs from `run`. */
export const demoWords: OptionWords = {
  listen: { help: 'Where requests come in: the local edge, or the gateway with --direct.' },
  logLevel: { fallbackText: demoDefaults.logLevel },
  gracePeriodMs: { fallbackText: demoDefaults.gracePeriodMs },
}

/**
 * The environment is left out: a demo shows the same everywhere.
 *
 * @param direct without the tunnel
 */
export async function demoCommand(flags: FlagValues, direct: boolean, io: Io): Promise<number> {
  const { options, problems } = readOptions({ ...demoDefaults, ...flags }, {})
  if (problems) {
    complain(io, problems)
    return exitCodes.failed
  }
  if (!direct && (options.listen.length !== 1 || options.listen[0]!.entrance !== undefined)) {
    complain(io, [
      "--listen takes one address here, such as 127.0.0.1:8080, which is the local edge's. Several, and those that stand for a Gateway or a port, need --direct.",
    ])
    return exitCodes.failed
  }
  const signals = watchSignals(io)
  const host = await io.openHost(options)
  const { files } = host.runtime
  const folders = exampleNames.map((name) => `${io.examples}/${name}`)
  const backends: DemoBackend[] = []

  async function open(): Promise<DemoEntrance> {
    const moved = await startBackends(host.runtime, folders, backends, io)
    const source = createExampleSource(files, folders, moved)
    return (direct ? startDirectly : startThroughEdge)(options!, host, source)
  }

  async function closeBackends(): Promise<void> {
    await Promise.all(backends.map((backend) => backend.close()))
  }

  let entrance: DemoEntrance | undefined
  try {
    entrance = await unlessStopped(open(), signals)
  } catch (error) {
    await closeBackends()
    complain(io, error instanceof StartRefusal ? error.reasons : [`The demo cannot start: ${messageOf(error)}`])
    return exitCodes.failed
  }
  if (entrance === undefined) return exitCodes.ok
  const { address, admin } = entrance
  io.out(describeTour({ port: address.port, admin: `http://${formatAddress(admin)}`, direct }))
  const exitCode = await serveUntilStopped(entrance, signals)
  await closeBackends()
  return exitCode
}

/** @param started gets each one as soon as it is there */
async function startBackends(
  runtime: Runtime,
  folders: readonly string[],
  started: DemoBackend[],
  io: Io,
): Promise<ReadonlyMap<string, number>> {
  const timers = createTimers(runtime.clock)
  const moved = new Map<string, number>()
  for (const { service: name, host, port } of wantedEndpoints(await readExamples(runtime.files, folders))) {
    const backend = await startDemoBackend(runtime, {
      name,
      at: { host, port },
      timers,
      ...(name === 'shadow' ? { onRequest: (line) => io.out(`  [mirror] shadow got ${line}\n`) } : {}),
    })
    started.push(backend)
    moved.set(`${host}:${port}`, backend.address.port)
  }
  return moved
}

function messageOf(error: unknown): string {
  return error instanceof Error || (typeof error === 'object' && error !== null && 'message' in error)
    ? String(error.message)
    : String(error)
}
