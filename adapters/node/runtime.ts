/** What Node lends us. */
import type { OwnBuffer } from '../portable/net-socket.ts'
import type { OpenedRuntime } from '../portable/program.ts'
import { createRuntime } from '../portable/runtime.ts'
import { fastSockets } from './fast-sockets.ts'
import { findQuic } from './quic.ts'

const readBytes = 65_536

/**
 * With sockets on the stream handle where they pass their self-test, else on public `node:net` alone; with QUIC where it
 * is to be had.
 */
export async function openRuntime(options: { readonly fastSockets: boolean }): Promise<OpenedRuntime> {
  const sockets = options.fastSockets ? await fastSockets() : undefined
  const quic = await findQuic()
  const dial = sockets && 'dial' in sockets ? sockets.dial : { ownBuffer: createOwnBuffer }
  const runtime = createRuntime('node', process.versions.node, { reclaim, ...dial })
  const notes = [
    ...(sockets && 'reason' in sockets ? [`fast sockets are off: ${sockets.reason}`] : []),
    ...(quic && 'reason' in quic ? [`QUIC is off: ${quic.reason}`] : []),
  ]
  return {
    runtime: quic && !('reason' in quic) ? { ...runtime, ...quic } : runtime,
    ...(notes.length > 0 ? { note: notes.join('; ') } : {}),
  }
}

function createOwnBuffer(): OwnBuffer {
  return { current: new Uint8Array(readBytes), deliver: () => false }
}

/** Smaller ones are cheaper left lying about. */
const reclaimedBytes = 4_096

/**
 * Node makes an ArrayBuffer for each read. Thousands of large ones in a second, and the collector marks the whole heap again
 * and again, since it counts what they hold besides.
 */
function reclaim(read: Uint8Array): void {
  const { buffer } = read
  if (read.length >= reclaimedBytes && read.length === buffer.byteLength && buffer instanceof ArrayBuffer)
    buffer.transfer(0)
}
