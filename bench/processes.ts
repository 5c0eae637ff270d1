/** Child processes of a bench run: pinned to a core, logged to a file, and ended one by one by their own pid. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { get } from './client.ts'

export interface Child {
  readonly pid: number
  /** Ends the process: politely, and after two seconds by force. Resolves when it is gone. */
  stop(): Promise<void>
  /** Fails with the end of its log if the process has ended. */
  assertAlive(): void
  /** Sends a message to a child that listens for them, and waits for its answer. @throws when it ends before */
  ask(message: unknown): Promise<unknown>
}

export interface ChildOptions {
  core?: number
  env?: Record<string, string>
  logFile: string
  /** It is a Node program that takes messages. */
  messages?: boolean
}

const living = new Set<ChildProcess>()
let directory: string | undefined

/** The directory for generated configs and logs; gone when the run ends. */
export function scratchDirectory(): string {
  if (directory === undefined) {
    directory = mkdtempSync(join(tmpdir(), 'headgate-bench-'))
    chmodSync(directory, 0o755) // started by root, nginx reads its files as somebody else
  }
  return directory
}

/** The last resort, on the way out and therefore synchronous: nothing that we started outlives us. */
function endEverything(): void {
  for (const child of living) forceEnd(child)
  living.clear()
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true })
  directory = undefined
}

/** A killed nginx master leaves its workers behind, so the whole group goes; each child leads one of its own. */
function forceEnd(child: ChildProcess): void {
  if (child.pid === undefined || ended(child)) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    child.kill('SIGKILL') // it leads no group: one of output()'s
  }
}

function ended(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

/** Whichever way this process goes, save by SIGKILL, its children go first. */
export function endOnSignals(): void {
  process.on('exit', endEverything)
  for (const [signal, number] of Object.entries({ SIGHUP: 1, SIGINT: 2, SIGTERM: 15 })) {
    process.on(signal, () => process.exit(128 + number))
  }
}

/** @throws when the command cannot be started at all */
export async function startChild(command: readonly string[], options: ChildOptions): Promise<Child> {
  const pinned = options.core === undefined ? command : ['taskset', '-c', String(options.core), ...command]
  const [file = '', ...args] = pinned
  const log = openSync(options.logFile, 'a')
  // taskset replaces itself by the command, so the pid stays. A process group of its own keeps the terminal's
  // Ctrl-C from it: we end it ourselves, in order.
  const child = spawn(file, args, {
    stdio: ['ignore', log, log, ...(options.messages ? (['ipc'] as const) : [])],
    env: { ...process.env, ...options.env },
    detached: true,
  })
  closeSync(log)
  living.add(child)
  child.once('exit', () => living.delete(child))
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (cause) => {
      living.delete(child)
      reject(new Error(`${command[0]} could not be started`, { cause }))
    })
  })
  const tail = (): string => readFileSync(options.logFile, 'utf8').trimEnd().split('\n').slice(-8).join('\n')
  return {
    pid: child.pid ?? 0,
    ask(message) {
      return new Promise((resolve, reject) => {
        const gone = (): void => reject(new Error(`${command.join(' ')} ended:\n${tail()}`))
        child.once('exit', gone)
        child.once('message', (answer) => {
          child.off('exit', gone)
          resolve(answer)
        })
        child.send(message as object)
      })
    },
    async stop() {
      if (ended(child)) return
      const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
      child.kill('SIGTERM')
      const force = setTimeout(() => forceEnd(child), 2_000)
      await exited
      clearTimeout(force)
    },
    assertAlive() {
      if (!ended(child)) return
      throw new Error(`${command.join(' ')} ended (${child.signalCode ?? child.exitCode}):\n${tail()}`)
    },
  }
}

/** Runs a short command to its end. @throws when it fails, with what it wrote */
export function output(file: string, args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(file, args, { env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      living.delete(child)
      if (error) reject(new Error(`${file} failed: ${(stdout + stderr).trim() || error.message}`, { cause: error }))
      else resolve(stdout + stderr) // nginx and haproxy tell their version on either
    })
    living.add(child)
  })
}

/** Distinct ports nobody listens on just now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer()
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(0, '127.0.0.1', resolve)
      })
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** Waits until a GET of the URL answers 200. @throws when the child ends, or after 20 seconds */
export async function untilServing(child: Child, url: string, host: string, ask: typeof get = get): Promise<void> {
  const answers = (): Promise<boolean> =>
    ask(url, { host, silenceMs: 1_000 }).then(
      ({ status }) => status === 200,
      () => false,
    )
  const deadline = performance.now() + 20_000
  while (!(await answers())) {
    child.assertAlive()
    if (performance.now() > deadline) throw new Error(`no answer at ${url} within 20 seconds`)
    await sleep(25)
  }
}
