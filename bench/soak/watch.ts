/** What must not grow, as the kernel and the admin port tell it. */
import { get } from '../client.ts'
import { connectionCounts, openFiles, residentKib } from '../procfs.ts'

export interface Reading {
  seconds: number
  residentMib: number
  /** Absent when the subject has no admin port or tells no heap. */
  heapMib?: number
  files: number
  downstream: number
  upstream: number
}

export interface Subject {
  pid: number
  port: number
  backendPort: number
  adminPort?: number
}

async function heapMib(adminPort: number): Promise<number | undefined> {
  const { body } = await get(`http://127.0.0.1:${adminPort}/metrics`, { host: `127.0.0.1:${adminPort}` })
  const used = /^\w*nodejs_heap_size_used_bytes(?:\{.*\})? (\S+)/m.exec(body.toString())?.[1]
  return used === undefined ? undefined : Number(used) / 2 ** 20
}

export async function takeReading(subject: Subject, startedAtMs: number): Promise<Reading> {
  const heap = subject.adminPort === undefined ? undefined : await heapMib(subject.adminPort)
  const connections = connectionCounts()
  return {
    seconds: (performance.now() - startedAtMs) / 1_000,
    residentMib: residentKib(subject.pid) / 1_024,
    ...(heap !== undefined && { heapMib: heap }),
    files: openFiles(subject.pid),
    downstream: connections.local.get(subject.port) ?? 0,
    upstream: connections.remote.get(subject.backendPort) ?? 0,
  }
}
