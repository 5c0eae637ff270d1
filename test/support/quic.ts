/** QUIC of the runtime that the tests run in, and what its API cannot do. */
import type { Runtime } from '../../src/runtime.ts'
import { runtime } from './runtime.ts'

/** With QUIC, where there is any. */
export const quicRuntime: Runtime = await openRuntime()

async function openRuntime(): Promise<Runtime> {
  const options = { fastSockets: false }
  if (runtime.name === 'deno') return (await (await import('../../adapters/deno/runtime.ts')).openRuntime()).runtime
  if (runtime.name === 'bun') return (await (await import('../../adapters/bun/runtime.ts')).openRuntime()).runtime
  return (await (await import('../../adapters/node/runtime.ts')).openRuntime(options)).runtime
}

/** On Node it is an optional package that does it, which has binaries for these. */
const machines = ['darwin-arm64', 'darwin-x64', 'linux-x64', 'win32-x64']

/** Where there should be QUIC. */
export const hasQuic = runtime.name !== 'node' || machines.includes(`${process.platform}-${process.arch}`)

export interface QuicTraits {
  /** RESET_STREAM can be sent. */
  readonly resets: boolean
  /** STOP_SENDING is told before something is written. */
  readonly hearsStop: boolean
  /** What is not read keeps the peer from sending more. */
  readonly flowControl: boolean
  /** A closed listener's port is free at once. */
  readonly freesPort: boolean
}

const traits: Readonly<Record<Runtime['name'], QuicTraits>> = {
  node: { resets: true, hearsStop: true, flowControl: true, freesPort: true },
  bun: { resets: true, hearsStop: true, flowControl: false, freesPort: true },
  deno: { resets: false, hearsStop: false, flowControl: true, freesPort: false },
}

export const quicTraits: QuicTraits = traits[runtime.name]
