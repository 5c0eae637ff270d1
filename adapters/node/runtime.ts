/** What Node lends us. */
import type { OwnBuffer } from '../portable/net-socket.ts'
import type { OpenedRuntime } from '../portable/program.ts'
import { createRuntime } from '../portable/runtime.ts'
import { fastSockets } from './fast-sockets.ts'

const readBytes = 65_536

/** With sockets on the stream handle where they pass their self-test, else on public `node:net` alone. */
export async function openRuntime(options: { readonly fastSockets: boolean }): Promise<OpenedRuntime> {
  const { node } = process.versions
  const plain = (): OpenedRuntime['runtime'] => createRuntime('node', node, { reclaim, ownBuffer: createOwnBuffer })
  if (!options.fastSockets) return { runtime: plain() }
  const found = await fastSockets()
  if ('dial' in found) return { runtime: createRuntime('node', node, { reclaim, ...found.dial }) }
  return { runtime: plain(), note: `fast sockets are off: ${found.reason}` }
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
