/** A whole tunnel of the programs that people run, each a process of its own: an edge, a gateway and a backend. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Transport } from '../../../src/tunnel/protocol.ts'
import { until } from '../../support/until.ts'

export interface Program {
  readonly pid: number
  /** What it has said on its standard output. */
  out(): string
  signal(name: 'SIGTERM' | 'SIGKILL'): void
  readonly ended: Promise<number | null>
}

export interface LongTunnel extends AsyncDisposable {
  /** Where eyeballs come in: `127.0.0.1:PORT`. */
  readonly address: string
  readonly edge: Program
  readonly gateway: Program
  /** A number of the gateway's `/metrics`. */
  metric(name: string): Promise<number>
}

const command = fileURLToPath(new URL('../../../adapters/node/headgate.js', import.meta.url))
const backendScript = fileURLToPath(new URL('backend.ts', import.meta.url))
const anyPort = '127.0.0.1:0'

export async function openLongTunnel(protocol: Transport): Promise<LongTunnel> {
  const directory = await mkdtemp(join(tmpdir(), 'headgate-long-'))
  const programs: Program[] = []
  const open = (...argv: readonly string[]): Program => {
    const program = launch(argv)
    programs.push(program)
    return program
  }
  const close = async (): Promise<void> => {
    for (const program of programs) program.signal('SIGKILL')
    await Promise.all(programs.map(({ ended }) => ended))
    await rm(directory, { recursive: true, force: true })
  }

  try {
    const backend = open(backendScript)
    const edge = open(
      command,
      'edge',
      '--listen',
      anyPort,
      '--connectors',
      anyPort,
      '--api',
      anyPort,
      '--directory',
      directory,
    )
    const port = await said(backend, /^(\d+)\n/)
    const address = await said(edge, /Requests go to http:\/\/(\S+)\. /)
    const dial = await said(edge, /--edge (\S+) /)
    const tunnel = ['--tunnel-token-file', `${directory}/token`, '--edge-ca', `${directory}/ca.pem`, '--edge', dial]
    const origin = [
      '--origin',
      `http://127.0.0.1:${port}`,
      '--connections',
      '1',
      '--protocol',
      protocol,
      '--admin',
      anyPort,
    ]
    const gateway = open(command, 'run', ...tunnel, ...origin)
    const admin = await said(gateway, /"admin":"(\S+?)"/)
    await said(gateway, /(edge connection registered)/)
    return {
      address,
      edge,
      gateway,
      async metric(name) {
        const text = await (await fetch(`http://${admin}/metrics`)).text()
        return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
      },
      [Symbol.asyncDispose]: close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

function launch(argv: readonly string[]): Program {
  const child: ChildProcess = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  let out = ''
  child.stdout!.on('data', (bytes: Buffer) => (out += bytes.toString()))
  return {
    pid: child.pid!,
    out: () => out,
    signal: (name) => void child.kill(name),
    ended: new Promise((resolve) => child.once('close', resolve)),
  }
}

async function said(program: Program, what: RegExp): Promise<string> {
  let over = false
  void program.ended.then(() => (over = true))
  await until(() => over || what.test(program.out()))
  const found = what.exec(program.out())?.[1]
  if (found === undefined) throw new Error(`a program ended without saying ${what.source}: ${program.out()}`)
  return found
}

/** Bytes of memory that a process has in the machine. Linux. */
export async function residentBytes({ pid }: Program): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024
}
