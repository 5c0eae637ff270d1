/** `headgate demo`: the examples, backends for them, and what to try. */
import { StartRefusal } from '../control/start-refusal.ts'
import { formatAddress } from '../options/address.ts'
import type { OptionName } from '../options.ts'
import { readOptions, type FlagValues } from '../options/read.ts'
import { start, type Service } from '../start.ts'
import { createTimers } from '../timers.ts'
import { startDemoBackend, type DemoBackend } from './demo/backend.ts'
import { createExampleSource, readExamples, wantedEndpoints } from './demo/source.ts'
import { describeTour, exampleNames } from './demo/tour.ts'
import { exitCodes, type Io } from './io.ts'
import { complain, serveUntilStopped } from './serve.ts'

export const demoOptions: readonly OptionName[] = ['listen', 'admin', 'logLevel', 'accessLog', 'gracePeriodMs']

/** The environment is left out: a demo shows the same everywhere. */
export async function demoCommand(flags: FlagValues, io: Io): Promise<number> {
  const { options, problems } = readOptions({ logLevel: 'warn', gracePeriodMs: '3s', ...flags }, {})
  if (problems) {
    complain(io, problems)
    return exitCodes.failed
  }
  const { runtime, companions } = await io.openHost(options)
  const folders = exampleNames.map((name) => `${io.examples}/${name}`)
  const backends: DemoBackend[] = []
  let service: Service
  try {
    const moved = await startBackends(backends)
    const source = createExampleSource(runtime.files, folders, moved)
    service = await start(options, runtime, { ...companions, source })
  } catch (error) {
    await closeBackends()
    complain(io, error instanceof StartRefusal ? error.reasons : [`The demo cannot start: ${messageOf(error)}`])
    return exitCodes.failed
  }
  io.out(describeTour({ port: service.entries[0]!.address.port, admin: `http://${formatAddress(service.admin)}` }))
  const exitCode = await serveUntilStopped(service, io)
  await closeBackends()
  return exitCode

  async function startBackends(started: DemoBackend[]): Promise<ReadonlyMap<string, number>> {
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

  async function closeBackends(): Promise<void> {
    await Promise.all(backends.map((backend) => backend.close()))
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error || (typeof error === 'object' && error !== null && 'message' in error)
    ? String(error.message)
    : String(error)
}
