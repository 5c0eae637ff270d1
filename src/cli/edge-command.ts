/** `headgate edge`: the other end of a tunnel, on this machine. */
import { explainBindError } from '../control/doors.ts'
import { formatAddress, isLoopbackHost, parseBindAddress } from '../options/address.ts'
import { defaultOptions } from '../options.ts'
import type { Address } from '../runtime.ts'
import { createTimers } from '../timers.ts'
import { EdgeAddressFailure, startEdge, type Edge } from '../tunnel/edge/edge.ts'
import { exitCodes, type Host, type Io } from './io.ts'
import { complain, serveUntilStopped, unlessStopped, watchSignals, type Stoppable } from './serve.ts'

export interface EdgeFlags {
  readonly listen: string
  readonly connectors: readonly string[]
  readonly api: string
  readonly directory: string
}

interface OpenEdge extends Stoppable {
  /** What to do with it. */
  readonly advice: string
}

/** What is in flight may take so long to finish. */
const graceMs = 3_000

export async function edgeCommand(flags: EdgeFlags, io: Io): Promise<number> {
  const addresses: { readonly flag: string; readonly address: Address }[] = []
  const problems: string[] = []
  for (const [flag, texts] of [
    ['--listen', [flags.listen]],
    ['--connectors', flags.connectors],
    ['--api', [flags.api]],
  ] as const) {
    for (const text of texts) {
      const address = parseBindAddress(text)
      if (address && isLoopbackHost(address.host)) addresses.push({ flag, address })
      else
        problems.push(`${flag} must be a loopback address, such as 127.0.0.1:8000: a local edge is for this machine.`)
    }
  }
  if (problems.length > 0) {
    complain(io, problems)
    return exitCodes.failed
  }
  const signals = watchSignals(io)
  let edge: OpenEdge | undefined
  try {
    edge = await unlessStopped(openEdge(addresses, flags.directory, await io.openHost(defaultOptions())), signals)
  } catch (error) {
    complain(io, [explain(error, addresses)])
    return exitCodes.failed
  }
  if (edge === undefined) return exitCodes.ok
  io.out(edge.advice)
  return serveUntilStopped(edge, signals)
}

type FlaggedAddresses = readonly { readonly flag: string; readonly address: Address }[]

async function openEdge(
  addresses: FlaggedAddresses,
  directory: string,
  { runtime, companions }: Host,
): Promise<OpenEdge> {
  const of = (wanted: string): Address[] => addresses.filter(({ flag }) => flag === wanted).map((each) => each.address)
  const [eyeballs] = of('--listen')
  const [api] = of('--api')
  const timers = createTimers(runtime.clock)
  const edge = await startEdge({ runtime, timers, log: companions.log, eyeballs, api, servers: of('--connectors') })
  try {
    await runtime.files.writeAtomically(certificateIn(directory), edge.certificate)
    await runtime.files.writeAtomically(tokenIn(directory), `${edge.mint().token}\n`)
  } catch (error) {
    await edge.close()
    const why = error instanceof Error ? error.message : String(error)
    throw new Error(`the folder of --directory cannot be written to: ${why}`, { cause: error })
  }
  return {
    advice: advise(edge, directory),
    stop: () => edge.close(graceMs),
    abort: () => void edge.close(),
  }
}

const certificateIn = (directory: string): string => `${directory}/ca.pem`
const tokenIn = (directory: string): string => `${directory}/token`

function advise(edge: Edge, directory: string): string {
  const dial = edge.servers.map(({ address }) => `--edge ${formatAddress(address)}`).join(' ')
  const trust = `--edge-ca ${certificateIn(directory)}`
  // A connector that tries QUIC where there is none has to wait for an answer that never comes.
  const protocol = edge.servers.every(({ protocols }) => protocols.includes('quic')) ? '' : ' --protocol http2'
  const api = `http://${formatAddress(edge.api!)}`
  return `A local edge is up. Requests go to http://${formatAddress(edge.eyeballs!)}. Connect with

  headgate run --tunnel-token-file ${tokenIn(directory)} ${trust} ${dial} --connections ${edge.servers.length}${protocol} --manifests DIR

or, by a quick tunnel that shows a local server, with

  headgate http://localhost:3000 --quick-service ${api}/tunnel ${trust} ${dial}${protocol}

PUT ${api}/configuration pushes a configuration. Ctrl-C ends the edge.
`
}

function explain(error: unknown, addresses: FlaggedAddresses): string {
  if (error instanceof EdgeAddressFailure) {
    const { flag } = addresses.find(({ address }) => address === error.address)!
    return explainBindError(error.error, error.address, flag)
  }
  return `The edge cannot start: ${error instanceof Error ? error.message : String(error)}`
}
