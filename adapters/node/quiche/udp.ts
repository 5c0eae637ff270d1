/** A UDP socket for QUIC. */
import { createSocket, type Socket } from 'node:dgram'
import { isIP } from 'node:net'
import { socketError } from '../../portable/socket-error.ts'
import type { Address, SocketError } from '../../../src/runtime.ts'
import { failure } from './quic-error.ts'

/** The system may grant less. What does not fit is lost, and sent again. */
const bufferBytes = 4_194_304

/** @param host an address; names are not looked up */
export function createUdp(host: string): Socket {
  const family = isIP(bare(host))
  if (family === 0) throw failure('not-found', `${host} is no IP address`)
  return createSocket({
    type: family === 6 ? 'udp6' : 'udp4',
    recvBufferSize: bufferBytes,
    sendBufferSize: bufferBytes,
    // Only ever asked for addresses, and for each packet.
    lookup: (address, _options, found) => found(null, address, family),
  })
}

/** @returns rejects with a {@link SocketError} when the system refuses */
export function ready(socket: Socket, start: (done: () => void) => void): Promise<void> {
  return new Promise((resolve, reject: (error: SocketError) => void) => {
    const failed = (error: Error): void => {
      socket.close()
      reject(socketError(error))
    }
    socket.once('error', failed)
    start(() => {
      socket.off('error', failed)
      resolve()
    })
  })
}

export function localAddress(socket: Socket): Address {
  const { address, port } = socket.address()
  return { host: address, port }
}

/** Without the zone of an IPv6 address, which quiche would look up as a name. */
export function bare(host: string): string {
  const zone = host.indexOf('%')
  return zone < 0 ? host : host.slice(0, zone)
}
