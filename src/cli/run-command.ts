/** `headgate run`: serves, and follows its config. */
import { formatAddress } from '../options/address.ts'
import { optionTable, type OptionName } from '../options.ts'
import { readOptions, type Environment, type FlagValues } from '../options/read.ts'
import { StartRefusal } from '../control/start-refusal.ts'
import { start, type Entry } from '../start.ts'
import { exitCodes, type Io } from './io.ts'
import { complain, serveUntilStopped, unlessStopped, watchSignals } from './serve.ts'

export const runOptions = Object.keys(optionTable) as readonly OptionName[]

/** Of `headgate http`, which has its tunnel and its origin by itself, and its admin API on any free port. */
export const httpOptions: readonly OptionName[] = [
  'quickService',
  'protocol',
  'region',
  'edge',
  'edgeCa',
  'edgeIpVersion',
  'accessLog',
  'logLevel',
  'gracePeriodMs',
]

/** @param url the local server */
export function httpCommand(url: string, flags: FlagValues, environment: Environment, io: Io): Promise<number> {
  return runCommand({ ...flags, admin: '127.0.0.1:0', quick: true, origin: url }, environment, io, {
    '--origin': 'URL',
  })
}

/** @param names what messages call a flag that nobody wrote */
export async function runCommand(
  flags: FlagValues,
  environment: Environment,
  io: Io,
  names: Readonly<Record<string, string>> = {},
): Promise<number> {
  const { options, warnings, problems } = readOptions(flags, environment)
  if (problems) {
    complain(
      io,
      problems.map((problem) => problem.replace(/^--\S+/, (flag) => names[flag] ?? flag)),
    )
    return exitCodes.failed
  }
  const signals = watchSignals(io)
  const { runtime, companions } = await io.openHost(options)
  const { log } = companions
  for (const warning of warnings) log.warn(warning)
  let service
  try {
    service = await unlessStopped(start(options, runtime, companions), signals)
  } catch (error) {
    if (!(error instanceof StartRefusal)) throw error
    complain(io, error.reasons)
    return exitCodes.failed
  }
  if (service === undefined) return exitCodes.ok
  log.info('serving', {
    version: io.version,
    runtime: `${runtime.name} ${runtime.version}`,
    ...(service.entries.length > 0 ? { listen: service.entries.map(describeEntry).join(', ') } : {}),
    admin: formatAddress(service.admin),
    ...(service.tunnel ? { tunnel: service.tunnel.id, connector: service.tunnel.connectorId } : {}),
  })
  if (service.publicUrl !== undefined) {
    io.out(
      `Public address: ${service.publicUrl}\n(A quick tunnel is for trying things out, and its address goes with it.)\n`,
    )
  }
  return serveUntilStopped(service, signals)
}

function describeEntry({ address, entrance }: Entry): string {
  if (entrance === undefined) return formatAddress(address)
  const gateway = entrance.gateway === undefined ? '' : `${entrance.gateway}:`
  return `${gateway}${entrance.port}=${formatAddress(address)}`
}
