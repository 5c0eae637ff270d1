/** A network between a QUIC client and its server that can fall silent, as a real one does. */
import { createSocket, type Socket } from 'node:dgram'
import type { Address } from '../../src/runtime.ts'

export interface UdpRelay {
  readonly address: Address
  /** From now on nothing comes through; nobody is told. */
  mute(): void
  unmute(): void
  close(): void
}

const host = '127.0.0.1'

/** @param to absent: nobody is there, and nothing ever comes back */
export async function openUdpRelay(to?: Address): Promise<UdpRelay> {
  const front = await bind()
  /** One for each client, so that answers find their way. */
  const backs = new Map<number, Promise<Socket>>()
  let muted = to === undefined

  async function backOf(clientPort: number): Promise<Socket> {
    const back = await bind()
    back.on('message', (message) => {
      if (!muted) front.send(message, clientPort, host)
    })
    return back
  }

  async function forward(message: Uint8Array, clientPort: number): Promise<void> {
    let back = backs.get(clientPort)
    if (!back) backs.set(clientPort, (back = backOf(clientPort)))
    const socket = await back
    if (!muted) socket.send(message, to!.port, to!.host)
  }

  front.on('message', (message, { port }) => void (muted || forward(message, port)))
  return {
    address: { host, port: front.address().port },
    mute: () => void (muted = true),
    unmute: () => void (muted = to === undefined),
    close() {
      muted = true
      front.close()
      for (const back of backs.values()) void back.then((socket) => socket.close())
    },
  }
}

function bind(): Promise<Socket> {
  const socket = createSocket('udp4')
  return new Promise((resolve) => socket.bind(0, host, () => resolve(socket)))
}
