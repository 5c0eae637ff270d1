import { randomBytes, X509Certificate } from 'node:crypto'
import { socketError } from '../../portable/socket-error.ts'
import { verifyPeer } from '../../portable/verify-peer.ts'
import type { Address, QuicConnection, QuicOptions, SocketError, TlsFacts } from '../../../src/runtime.ts'
import type { NativeConfig, Quiche } from './binding.ts'
import { QuicheConnection } from './connection.ts'
import { failure } from './quic-error.ts'
import { clientConfig } from './settings.ts'
import { bare, createUdp, localAddress, ready } from './udp.ts'

const idBytes = 20

/** @returns rejects with a {@link SocketError}; code 'timeout' when nothing at all was answered */
export async function connectQuic(quiche: Quiche, to: Address, options: QuicOptions): Promise<QuicConnection> {
  const { tls } = options
  // Without a name quiche would verify none.
  if (tls.servername === '') throw failure('tls', 'there is no server name to verify')
  const config = configOf(quiche, options)
  const socket = createUdp(to.host)
  // Connected, so that nobody else is heard, and a port where nobody listens is told.
  await ready(socket, (done) => socket.connect(to.port, to.host, done))
  const local = localAddress(socket)
  const native = quiche.Connection.connect(
    tls.servername,
    randomBytes(idBytes),
    { host: bare(local.host), port: local.port },
    { host: bare(to.host), port: to.port },
    config,
  )
  return new Promise((resolve, reject: (error: SocketError) => void) => {
    let established = false
    const connection = new QuicheConnection(
      native,
      {
        local,
        remote: to,
        send: (packets, start, end) => socket.send(packets, start, end - start),
        close: () => socket.close(),
      },
      {
        role: 'client',
        keepAliveMs: options.keepAliveMs,
        judge: (facts) => judge(tls, facts),
        established() {
          established = true
          clearTimeout(timer)
          resolve(connection)
        },
        failed(error) {
          clearTimeout(timer)
          const unfinished = error.code === 'timeout' && connection.heard
          reject(unfinished ? { code: 'other', message: 'the handshake was begun, and not finished in time' } : error)
        },
      },
    )
    const timer = setTimeout(
      () => connection.giveUp({ code: 'timeout', message: `no connection within ${options.timeoutMs} ms` }),
      options.timeoutMs,
    )
    socket.on('message', (datagram) => connection.receive(datagram))
    // Later, whoever can send ICMP could end the connection: then the idle timeout tells.
    socket.on('error', (error) => {
      if (!established && !connection.heard) connection.giveUp(socketError(error))
    })
  })
}

/** With the system's roots in it, one is too much work for each connection. Trust comes from us, so there are few. */
const configs = new WeakMap<Quiche, Map<string, NativeConfig>>()

function configOf(quiche: Quiche, { tls, idleTimeoutMs }: QuicOptions): NativeConfig {
  const known = configs.get(quiche) ?? new Map<string, NativeConfig>()
  configs.set(quiche, known)
  const name = JSON.stringify([tls.ca, tls.extraCa, tls.alpn, idleTimeoutMs])
  const config = known.get(name) ?? clientConfig(quiche, tls, idleTimeoutMs)
  known.set(name, config)
  return config
}

/** quiche has verified chain and name. The name is verified again, by the very rules of TLS over TCP. */
function judge(tls: QuicOptions['tls'], { alpn, peerCertificate }: TlsFacts): SocketError | undefined {
  if (alpn === undefined || !tls.alpn?.includes(alpn)) return { code: 'tls', message: 'no protocol was agreed on' }
  if (!peerCertificate) return { code: 'tls', message: 'the peer has shown no certificate' }
  const problem = verifyPeer(tls, new X509Certificate(peerCertificate).toLegacyObject())
  return problem && { code: 'tls', message: problem.message }
}
