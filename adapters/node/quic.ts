/** QUIC: Node's own where it is built with it, else by the optional package `@matrixai/quic`. */
import type { Runtime } from '../../src/runtime.ts'
import { loadQuiche } from './quiche/binding.ts'

export type Quic = Pick<Runtime, 'connectQuic' | 'listenQuic'>

/**
 * What drives either is loaded where it is wanted, and the driver of the binding by the first connection: few need it.
 *
 * @returns undefined where Node has none and the package is not installed; or why it cannot be used
 */
export async function findQuic(): Promise<Quic | { readonly reason: string } | undefined> {
  const { features } = process as { features: { readonly quic?: boolean } }
  if (features.quic === true) {
    const { nodeQuic } = await import('../portable/node-quic.ts')
    return nodeQuic()
  }
  const quiche = loadQuiche(import.meta.url)
  if (!quiche || 'reason' in quiche) return quiche
  return {
    async connectQuic(to, options) {
      const { connectQuic } = await import('./quiche/connect.ts')
      return connectQuic(quiche, to, options)
    },
    async listenQuic(at, options, accept) {
      const { listenQuic } = await import('./quiche/listen.ts')
      return listenQuic(quiche, at, options, accept)
    },
  }
}
