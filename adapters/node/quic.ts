/** QUIC by the optional package `@matrixai/quic`, as long as Node has none of its own. */
import type { Runtime } from '../../src/runtime.ts'
import { loadQuiche } from './quiche/binding.ts'

export type Quic = Required<Pick<Runtime, 'connectQuic' | 'listenQuic'>>

/**
 * What drives the binding is loaded by the first connection: few need it.
 *
 * @returns undefined where the package is not installed; or why it cannot be used
 */
export function findQuic(): Quic | { readonly reason: string } | undefined {
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
