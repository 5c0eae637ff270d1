/**
 * What Linux says about a process and everything it started: CPU time, memory, open files.
 *
 * @see proc(5): /proc/PID/stat, /proc/PID/status, /proc/PID/task/TID/children, /proc/stat
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'

export interface CpuTime {
  userUs: number
  kernelUs: number
}

/** One core's own account since boot, in microseconds. */
export interface CoreTime {
  busyUs: number
  stolenUs: number
}

let knownTickUs: number | undefined

/** The kernel counts CPU time in ticks; how long one is, only the C library tells. */
function tickUs(): number {
  knownTickUs ??= 1e6 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
  return knownTickUs
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined // the process ended between two reads
  }
}

/** The process and its living descendants, itself first. */
export function processTree(pid: number): number[] {
  const pids = [pid]
  for (let i = 0; i < pids.length; i++) {
    let threads: string[]
    try {
      threads = readdirSync(`/proc/${pids[i]}/task`)
    } catch {
      continue
    }
    for (const thread of threads) {
      const children = read(`/proc/${pids[i]}/task/${thread}/children`)?.trim()
      if (children) pids.push(...children.split(' ').map(Number))
    }
  }
  return pids
}

/** CPU time of a whole process tree since it started, children that have ended included. */
export function cpuTime(pid: number): CpuTime {
  let user = 0
  let kernel = 0
  for (const each of processTree(pid)) {
    const stat = read(`/proc/${each}/stat`)
    if (stat === undefined) continue
    // The second field is the command in parentheses and may hold spaces and parentheses itself.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [utime = 0, stime = 0, cutime = 0, cstime = 0] = fields.slice(11, 15).map(Number)
    user += utime + cutime
    kernel += stime + cstime
  }
  return { userUs: user * tickUs(), kernelUs: kernel * tickUs() }
}

/** Resident memory of a whole process tree in KiB; pages shared between its processes count once for each. */
export function residentKib(pid: number): number {
  let total = 0
  for (const each of processTree(pid)) {
    const line = /^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${each}/status`) ?? '')
    total += Number(line?.[1] ?? 0)
  }
  return total
}

/** Open file descriptors of a whole process tree. */
export function openFiles(pid: number): number {
  let total = 0
  for (const each of processTree(pid)) {
    try {
      total += readdirSync(`/proc/${each}/fd`).length
    } catch {
      continue
    }
  }
  return total
}

/** What a core has done since boot, for whomever: shows how much the neighbours took of it. */
export function coreTime(core: number): CoreTime {
  const line = new RegExp(`^cpu${core} (.*)$`, 'm').exec(read('/proc/stat') ?? '')
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = (line?.[1] ?? '')
    .trim()
    .split(/\s+/)
    .map(Number)
  return { busyUs: (user + nice + system + irq + softirq) * tickUs(), stolenUs: steal * tickUs() }
}

/**
 * TCP connections of this network namespace, listeners and TIME_WAIT left out, by local and by remote port.
 *
 * @see proc(5): /proc/net/tcp
 */
export function connectionCounts(): { local: Map<number, number>; remote: Map<number, number> } {
  const local = new Map<number, number>()
  const remote = new Map<number, number>()
  const lines = `${read('/proc/net/tcp') ?? ''}${read('/proc/net/tcp6') ?? ''}`.matchAll(
    /^ *\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:([0-9A-F]{4}) ([0-9A-F]{2}) /gm,
  )
  for (const [, here = '', there = '', state] of lines) {
    if (state === '0A' || state === '06') continue
    const [localPort, remotePort] = [parseInt(here, 16), parseInt(there, 16)]
    local.set(localPort, (local.get(localPort) ?? 0) + 1)
    remote.set(remotePort, (remote.get(remotePort) ?? 0) + 1)
  }
  return { local, remote }
}
