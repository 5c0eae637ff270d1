import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Listener, Socket, SocketError, TlsServerOptions } from '../../../src/runtime.ts'
import { createAuthority, loadAuthority, type Authority, edgeNames } from '../../../src/tunnel/edge/authority.ts'
import { runtime } from '../../support/service.ts'

const now = Date.now()
let authority: Authority
const listeners: Listener[] = []
const sockets: Socket[] = []

beforeAll(async () => void (authority = await createAuthority(now)))
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
  // Not awaited: a handshake that its client left is waited for until it times out.
  for (const listener of listeners.splice(0)) void listener.close()
})

async function serve(tls: TlsServerOptions): Promise<Listener> {
  const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, { tls }, (socket) => {
    sockets.push(socket)
    socket.attach({ data: () => true, drain() {}, end: () => socket.end(), close() {} })
  })
  listeners.push(listener)
  return listener
}

/** Whether a TLS client that trusts `ca` alone comes through. */
async function verifies(tls: TlsServerOptions, servername: string, ca: string): Promise<boolean> {
  const { address } = await serve(tls)
  try {
    const socket = await runtime.connect(address, { timeoutMs: 5_000, tls: { servername, ca } })
    const closed = new Promise<void>((resolve) =>
      socket.attach({ data: () => true, drain() {}, end() {}, close: () => resolve() }),
    )
    socket.destroy()
    await closed
    return true
  } catch (error) {
    if ((error as SocketError).code !== 'tls') throw error
    return false
  }
}

describe("the local edge's authority", () => {
  test.each(Object.values(edgeNames))('issues certificates that verify for %s', async (name) => {
    expect(await verifies(await authority.issue([name]), name, authority.certificate)).toBe(true)
  })

  test('a certificate for one name is none for the other', async () => {
    const leaf = await authority.issue([edgeNames.quic])
    expect(await verifies(leaf, edgeNames.http2, authority.certificate)).toBe(false)
  })

  test('is constrained: whoever has its key can pose as nobody else (RFC 5280 section 4.2.1.10)', async () => {
    const leaf = await authority.issue(['bank.example.com'])
    expect(await verifies(leaf, 'bank.example.com', authority.certificate)).toBe(false)
  })

  test('another authority of the same name is another authority', async () => {
    const other = await createAuthority(now)
    expect(await verifies(await other.issue([edgeNames.http2]), edgeNames.http2, authority.certificate)).toBe(false)
  })

  test('goes on after it was kept', async () => {
    const kept = await loadAuthority(authority.certificate, await authority.exportKey(), now)
    expect(kept.certificate).toBe(authority.certificate)
    expect(await verifies(await kept.issue([edgeNames.http2]), edgeNames.http2, authority.certificate)).toBe(true)
  })

  test.each([
    [
      'a key of another authority',
      async () => [authority.certificate, await (await createAuthority(now)).exportKey()],
      now,
    ],
    ['no key', async () => [authority.certificate, 'nothing'], now],
    ['no certificate', async () => ['nothing', await authority.exportKey()], now],
    [
      'an authority that would run out before its certificates',
      async () => [authority.certificate, await authority.exportKey()],
      now + 300 * 86_400_000,
    ],
  ] as const)('refuses %s', async (_, files, atMs) => {
    const [certificate, key] = await files()
    await expect(loadAuthority(certificate!, key!, atMs)).rejects.toThrow()
  })
})
