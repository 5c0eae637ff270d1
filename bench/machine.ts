/** Where a result comes from: without it a number means nothing. */
import { cpus, release, totalmem } from 'node:os'

import { output } from './processes.ts'

export interface Machine {
  cpu: string
  cores: number
  memoryMib: number
  kernel: string
  node: string
  /** Commit of the checkout; ends in `+` when files differ from it. */
  commit: string
}

export async function describeMachine(): Promise<Machine> {
  const git = (...args: string[]): Promise<string> =>
    output('git', ['-C', import.meta.dirname, ...args]).catch(() => '')
  const commit = (await git('rev-parse', '--short=12', 'HEAD')).trim() || 'unknown'
  const dirty = (await git('status', '--porcelain', '--untracked-files=no')) !== ''
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryMib: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    node: process.versions.node,
    commit: dirty ? `${commit}+` : commit,
  }
}
