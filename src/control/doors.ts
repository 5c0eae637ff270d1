/** Addresses opened for a server, and closed again without cutting anybody off. */
import { formatAddress } from '../options/address.ts'
import type { Address, Listener, ListenOptions, Runtime, SocketError } from '../runtime.ts'
import { listenFor, type HttpServer } from '../server.ts'
import { StartRefusal } from './start-refusal.ts'

/** How often a drain looks whether it is done. */
const drainLookMs = 20

export async function bind(
  runtime: Runtime,
  address: Address,
  options: ListenOptions,
  server: HttpServer,
  option: '--listen' | '--admin',
): Promise<Listener> {
  try {
    return await listenFor(server, runtime, address, options)
  } catch (error) {
    const { code, message } = error as SocketError
    if (code === 'tls') throw new StartRefusal([`--admin-tls-cert and --admin-tls-key cannot be used: ${message}.`])
    throw new StartRefusal([explainBindError(error as SocketError, address, option)])
  }
}

/** @param option the flag that chooses another address */
export function explainBindError({ code, message }: SocketError, address: Address, option: string): string {
  const where = formatAddress(address)
  switch (code) {
    case 'busy':
      return `${where} is in use by another program: end that, or choose another address with ${option}.`
    case 'denied':
      return `${where} may not be used by this user: choose another address with ${option}.`
    default:
      return `${where} cannot be listened on (${message}): choose another address with ${option}.`
  }
}

/** @returns whether every connection was gone before the grace period was over */
export function untilDrained({ clock }: Runtime, connectionCount: () => number, graceMs: number): Promise<boolean> {
  const idle = (): boolean => connectionCount() === 0
  if (idle()) return Promise.resolve(true)
  const endMs = clock.now() + graceMs
  return new Promise((resolve) => {
    const stopLooking = clock.every(drainLookMs, () => {
      const done = idle()
      if (!done && clock.now() < endMs) return
      stopLooking()
      resolve(done)
    })
  })
}
