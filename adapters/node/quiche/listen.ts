import { randomBytes } from 'node:crypto'
import type { RemoteInfo } from 'node:dgram'
import type {
  Address,
  QuicConnection,
  QuicListener,
  QuicListenOptions,
  TlsServerOptions,
} from '../../../src/runtime.ts'
import { initialPacket, type NativeConfig, type NativeHeader, type Quiche } from './binding.ts'
import { QuicheConnection } from './connection.ts'
import { refusableVersion, refusal } from './refusal.ts'
import { maxPacketBytes, serverConfig } from './settings.ts'
import { bare, createUdp, localAddress, ready } from './udp.ts'

const idBytes = 20
/** A client's first datagram has at least so many bytes. RFC 9000 section 14.1. */
const firstDatagramBytes = 1_200
/** Handshakes that may be under way; more are ignored until some are over. */
const maxHandshakes = 1_000
const handshakeTimeoutMs = 10_000

/** @returns rejects with a {@link SocketError}; code 'busy' for a port in use */
export async function listenQuic(
  quiche: Quiche,
  at: Address,
  options: QuicListenOptions,
  accept: (connection: QuicConnection) => void,
): Promise<QuicListener> {
  const { idleTimeoutMs, keepAliveMs } = options
  let config: NativeConfig | undefined = serverConfig(quiche, options.tls, idleTimeoutMs)
  const socket = createUdp(at.host)
  await ready(socket, (done) => socket.bind(at.port, at.host, done))
  const address = localAddress(socket)
  const local = { host: bare(address.host), port: address.port }
  /** By the id that the peer writes to: ours, and during the handshake the one it has made up. */
  const connections = new Map<string, QuicheConnection>()
  const live = new Set<QuicheConnection>()
  let handshakes = 0
  let closed = false
  const gone = new Promise<void>((resolve) => socket.once('close', resolve))

  socket.on('error', () => {}) // of single packets: whoever did not get them asks again
  socket.on('message', (datagram, from) => {
    const known = connections.get(destinationOf(datagram))
    if (!known) greet(datagram, from)
    // Who moves is not followed: the id in a packet is no proof of where it comes from.
    else if (known.remote.port === from.port && known.remote.host === from.address) known.receive(datagram)
  })

  function greet(datagram: Buffer, from: RemoteInfo): void {
    if (closed || datagram.length < firstDatagramBytes || !isLong(datagram)) return
    let header: NativeHeader
    try {
      header = quiche.Header.fromSlice(datagram, idBytes)
    } catch {
      return
    }
    const { version, scid, dcid } = header
    const reply = (packet: Uint8Array): void => socket.send(packet, from.port, from.address)
    if (!quiche.versionIsSupported(version)) {
      const out = Buffer.alloc(maxPacketBytes)
      reply(out.subarray(0, quiche.negotiateVersion(scid, dcid, out)))
    } else if (header.ty === initialPacket && config) {
      if (handshakes < maxHandshakes) begin(datagram, from, header, config)
    } else if (header.ty === initialPacket && version === refusableVersion) {
      reply(refusal(scid, dcid, randomBytes(idBytes)))
    }
  }

  function begin(datagram: Buffer, from: RemoteInfo, { dcid }: NativeHeader, config: NativeConfig): void {
    const remote = { host: from.address, port: from.port }
    const id = randomBytes(idBytes)
    const native = quiche.Connection.accept(id, null, local, { host: bare(remote.host), port: remote.port }, config)
    const names = [nameOf(id), nameOf(dcid)]
    handshakes++
    const over = (): void => {
      clearTimeout(timer)
      handshakes--
    }
    const connection = new QuicheConnection(
      native,
      {
        local: address,
        remote,
        send: (packets, start, end) => {
          if (!closed) socket.send(packets, start, end - start, remote.port, remote.host)
        },
        close() {
          live.delete(connection)
          for (const name of names) connections.delete(name)
        },
      },
      {
        role: 'server',
        keepAliveMs,
        judge: () => undefined,
        established(made) {
          over()
          accept(made)
        },
        failed: over,
      },
    )
    const timer = setTimeout(
      () => connection.giveUp({ code: 'timeout', message: 'the handshake was not finished in time' }),
      handshakeTimeoutMs,
    )
    live.add(connection)
    for (const name of names) connections.set(name, connection)
    connection.receive(datagram)
  }

  return {
    address,
    present(tls: TlsServerOptions | undefined) {
      try {
        config = tls && serverConfig(quiche, tls, idleTimeoutMs)
        return Promise.resolve()
      } catch (error) {
        return Promise.reject(error)
      }
    },
    close() {
      if (!closed) {
        for (const connection of live) connection.abort()
        closed = true
        socket.close()
      }
      return gone
    },
  }
}

function isLong(datagram: Buffer): boolean {
  return (datagram[0]! & 0x80) !== 0
}

/**
 * The destination's id, as the key of a map. RFC 8999 section 5: behind the first byte of a short header, of a length
 * that only we know; in a long header behind the version and the id's length.
 */
function destinationOf(datagram: Buffer): string {
  if (datagram.length === 0) return ''
  if (!isLong(datagram)) return datagram.toString('latin1', 1, 1 + idBytes)
  return datagram.length < 6 ? '' : datagram.toString('latin1', 6, 6 + datagram[5]!)
}

function nameOf(id: Uint8Array): string {
  return Buffer.from(id).toString('latin1')
}
