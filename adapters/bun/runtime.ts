/** What Bun lends us. */
import { nodeQuic } from '../portable/node-quic.ts'
import type { OpenedRuntime } from '../portable/program.ts'
import { createRuntime } from '../portable/runtime.ts'

/** Bun itself knows no limit. */
const unread = { streamBytes: 16 * 1024 * 1024, connectionBytes: 64 * 1024 * 1024 }

/** Of Bun 1.4.5, whose QUIC is new and experimental. */
const quicReservation =
  'QUIC of Bun takes 100 requests at a time over a connection, and breaks off large uploads that a backend takes slowly'

export async function openRuntime(): Promise<OpenedRuntime> {
  return { runtime: { ...createRuntime('bun', Bun.version), ...nodeQuic({ unread }), quicReservation } }
}
