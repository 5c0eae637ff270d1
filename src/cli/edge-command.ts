/** `headgate edge`: the other end of a tunnel, on this machine. */
import { formatAddress, isLoopbackHost, parseBindAddress } from '../options/address.ts'
import { defaultOptions } from '../options.ts'
import type { Address, SocketError } from '../runtime.ts'
import { createTimers } from '../timers.ts'
import { type Edge, startEdge } from '../tunnel/edge/edge.ts'
import { exitCodes, type Io } from './io.ts'
import { complain } from './serve.ts'

export interface EdgeFlags {
  readonly listen: string
  readonly connectors: readonly string[]
  readonly api: string
  readonly directory: string
}

const graceMs = 3_000

export async function edgeCommand(flags: EdgeFlags, io: Io): Promise<number> {
  const texts = [flags.listen, flags.api, ...flags.connectors]
  const wrong = texts.filter((text) => !isLoopbackHost(parseBindAddress(text)?.host ?? ''))
  if (wrong.length > 0) {
    complain(
      io,
      wrong.map((text) => `${text}: a local edge binds to loopback addresses alone, for instance 127.0.0.1:8000`),
    )
    return exitCodes.failed
  }
  const [eyeballs, api, ...servers] = texts.map((text) => parseBindAddress(text)!) as [Address, Address, ...Address[]]
  const { runtime, companions } = await io.openHost(defaultOptions())
  const timers = createTimers(runtime.clock)
  let edge: Edge
  try {
    edge = await startEdge({ runtime, timers, log: companions.log, eyeballs, api, servers })
  } catch (error) {
    complain(io, [`The edge cannot start: ${(error as SocketError).message}`])
    return exitCodes.failed
  }
  const certificate = `${flags.directory}/ca.pem`
  const token = `${flags.directory}/token`
  try {
    await runtime.files.writeAtomically(certificate, edge.certificate)
    await runtime.files.writeAtomically(token, `${edge.mint().token}\n`)
  } catch (error) {
    await edge.close()
    complain(io, [`${flags.directory} cannot be written: ${error instanceof Error ? error.message : String(error)}`])
    return exitCodes.failed
  }
  const dial = edge.servers.map(({ address }) => `--edge ${formatAddress(address)}`).join(' ')
  io.out(
    `A local edge is up. Requests go to http://${formatAddress(edge.eyeballs!)}; connect with\n\n` +
      `  headgate run --tunnel-token-file ${token} --edge-ca ${certificate} ${dial} --protocol http2 --manifests DIR\n\n` +
      `Quick tunnels: POST http://${formatAddress(edge.api!)}/tunnel\n`,
  )
  await new Promise<void>((resolve) => io.onStopSignal(resolve))
  await edge.close(graceMs)
  return exitCodes.ok
}
