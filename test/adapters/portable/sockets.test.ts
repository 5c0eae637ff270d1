import 'reflect-metadata'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type {
  Address,
  ConnectOptions,
  Socket,
  SocketError,
  TlsClientOptions,
  TlsServerOptions,
} from '../../../src/runtime.ts'
import { createTestAuthority, type TestAuthority } from '../../support/certificates.ts'
import { runtime } from '../../support/runtime.ts'
import { until } from '../../support/until.ts'
import { closedAddress } from '../../support/test-backend.ts'
import { dial, startWireServer, wireOf, type Wire } from '../../support/wire.ts'

async function refusal(connecting: Promise<Socket>): Promise<SocketError> {
  try {
    const socket = await connecting
    socket.destroy()
  } catch (thrown) {
    return thrown as SocketError
  }
  throw new Error('was not refused')
}

describe('dialling', () => {
  test('to where nobody listens is refused', async () => {
    const error = await refusal(runtime.connect(await closedAddress(), { timeoutMs: 5_000 }))
    expect(error).toMatchObject({ code: 'refused', message: expect.any(String) })
  })

  test('a peer that closes while we are at TLS is a reset', async () => {
    await using server = await startWireServer((wire) => wire.destroy('reset'))
    const error = await refusal(runtime.connect(server.address, { timeoutMs: 5_000, tls: { servername: 'a.example' } }))
    expect(['reset', 'tls']).toContain(error.code)
  })

  test('a peer that never answers our TLS is a timeout', async () => {
    await using server = await startWireServer()
    const error = await refusal(runtime.connect(server.address, { timeoutMs: 100, tls: { servername: 'a.example' } }))
    expect(error.code).toBe('timeout')
    await (
      await server.wire(0)
    ).ended
  })

  test('a peer that speaks no TLS', async () => {
    await using server = await startWireServer((wire) => wire.send('HTTP/1.1 400 Bad Request\r\n\r\n'))
    const error = await refusal(runtime.connect(server.address, { timeoutMs: 5_000, tls: { servername: 'a.example' } }))
    expect(error.code).toBe('tls')
  })
})

describe('listening', () => {
  test('at a port that is taken is busy', async () => {
    await using server = await startWireServer()
    await expect(runtime.listen(server.address, {}, () => {})).rejects.toMatchObject({ code: 'busy' })
  })

  test('says which port it was given, and where connections come from', async () => {
    await using server = await startWireServer()
    expect(server.address).toMatchObject({ host: '127.0.0.1', port: expect.any(Number) })
    const wire = await dial(server.address)
    const peer = await server.wire(0)
    expect(wire.socket.remote).toEqual(server.address)
    expect(peer.socket.local).toEqual(server.address)
    expect(peer.socket.remote).toEqual(wire.socket.local)
    wire.destroy()
  })

  test('an IPv4 client of a dual-stack door has an IPv4 address', async () => {
    const peers: Address[] = []
    const listener = await runtime.listen({ host: '::', port: 0 }, {}, (socket) => {
      peers.push(socket.remote)
      socket.destroy()
    })
    const wire = await dial({ host: '127.0.0.1', port: listener.address.port })
    await wire.ended
    wire.destroy()
    expect(peers).toMatchObject([{ host: '127.0.0.1' }])
    await listener.close()
  })

  test('no more after it was closed, while connections live on', async () => {
    const sockets: Socket[] = []
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => sockets.push(socket))
    const wire = await dial(listener.address)
    await until(() => sockets.length === 1)
    const closed = listener.close()
    expect((await refusal(runtime.connect(listener.address, { timeoutMs: 5_000 }))).code).toBe('refused')
    const peer = wireOf(sockets[0]!)
    wire.send('still here')
    expect(await peer.take(10)).toBe('still here')
    wire.destroy()
    peer.destroy()
    await closed
  })
})

describe('a socket', () => {
  async function pair(): Promise<{ a: Wire; b: Wire } & AsyncDisposable> {
    const server = await startWireServer()
    const a = await dial(server.address)
    const b = await server.wire(0)
    return {
      a,
      b,
      async [Symbol.asyncDispose]() {
        a.destroy()
        await server[Symbol.asyncDispose]()
      },
    }
  }

  test('each side ends by itself', async () => {
    await using both = await pair()
    const { a, b } = both
    a.send('from a')
    a.finish()
    expect(await b.rest()).toBe('from a')
    b.send('from b')
    b.finish()
    expect(await a.rest()).toBe('from b')
    expect(await a.closed).toBeUndefined()
    expect(await b.closed).toBeUndefined()
  })

  test('head, body and tail go out in this order, in all sizes', async () => {
    await using both = await pair()
    const { a, b } = both
    const body = Uint8Array.from({ length: 40_000 }, (_, i) => i & 0xff)
    const text = a.socket.latin1(body, 0, body.length)
    let expected = ''
    for (const size of [0, 1, 1_000, 16_000, 17_000, 39_000]) {
      a.socket.write('<\xe9', body, 100, 100 + size, '\xff>')
      expected += `<\xe9${text.slice(100, 100 + size)}\xff>`
    }
    a.socket.write('', body, 0, 20_000)
    a.socket.write('tail')
    expected += `${text.slice(0, 20_000)}tail`
    a.finish()
    expect((await b.rest()) === expected).toBe(true)
  })

  test('code units are bytes: ISO 8859-1, not windows-1252', async () => {
    await using both = await pair()
    const all = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i))
    both.a.send(all)
    both.a.finish()
    expect(await both.b.rest()).toBe(all)
  })

  test('a reset tells the peer', async () => {
    await using both = await pair()
    both.a.destroy('reset')
    expect(await both.b.closed).toMatchObject({ code: 'reset' })
  })

  test('what was written to a peer that is gone is nobody’s error but the close', async () => {
    await using both = await pair()
    both.b.destroy('reset')
    await both.a.closed
    expect(both.a.socket.write('more')).toBe(true)
    both.a.finish()
    both.a.destroy()
    both.a.destroy('reset')
  })
})

describe('TLS', () => {
  let authority: TestAuthority
  let stranger: TestAuthority
  let dns: TlsServerOptions
  let named: TlsServerOptions
  let misleading: TlsServerOptions

  beforeAll(async () => {
    authority = await createTestAuthority()
    stranger = await createTestAuthority('Stranger')
    dns = await authority.issue([{ type: 'dns', value: 'a.example' }])
    named = await authority.issue([
      { type: 'dns', value: '*.w.example' },
      { type: 'url', value: 'spiffe://cluster/ns/a/b' },
    ])
    misleading = await authority.issue([
      { type: 'url', value: 'spiffe://cluster, DNS:hidden.example, URI:spiffe://hidden' },
    ])
  })

  const servers: (() => void)[] = []
  afterAll(() => {
    for (const close of servers) close()
  })

  async function startTls(tls: TlsServerOptions): Promise<{ address: Address; sockets: Socket[] }> {
    const sockets: Socket[] = []
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, { tls }, (socket) => {
      sockets.push(socket)
      socket.attach({ data: () => true, drain() {}, end: () => socket.end(), close() {} })
    })
    servers.push(() => {
      for (const socket of sockets) socket.destroy()
      void listener.close() // those that broke off their handshake are waited for a while
    })
    return { address: listener.address, sockets }
  }

  async function outcome(server: TlsServerOptions, tls: TlsClientOptions): Promise<string> {
    const { address } = await startTls(server)
    const options: ConnectOptions = { timeoutMs: 5_000, tls }
    try {
      const socket = await runtime.connect(address, options)
      socket.destroy()
      return 'connected'
    } catch (thrown) {
      return (thrown as SocketError).code
    }
  }

  interface Row {
    readonly rule: string
    readonly server: () => TlsServerOptions
    readonly client: () => TlsClientOptions
    readonly expected: string
  }
  const rows: readonly Row[] = [
    {
      rule: 'the name is in the certificate, the authority is ours',
      server: () => dns,
      client: () => ({ servername: 'a.example', ca: authority.certificate }),
      expected: 'connected',
    },
    {
      rule: 'another name',
      server: () => dns,
      client: () => ({ servername: 'b.example', ca: authority.certificate }),
      expected: 'tls',
    },
    {
      rule: 'another authority',
      server: () => dns,
      client: () => ({ servername: 'a.example', ca: stranger.certificate }),
      expected: 'tls',
    },
    {
      rule: 'the roots of the system alone',
      server: () => dns,
      client: () => ({ servername: 'a.example' }),
      expected: 'tls',
    },
    {
      rule: 'a wildcard stands for one label',
      server: () => named,
      client: () => ({ servername: 'x.w.example', ca: authority.certificate }),
      expected: 'connected',
    },
    {
      rule: 'a wildcard does not stand for two labels',
      server: () => named,
      client: () => ({ servername: 'y.x.w.example', ca: authority.certificate }),
      expected: 'tls',
    },
    {
      rule: 'a DNS name that is asked for instead of the server name',
      server: () => dns,
      client: () => ({
        servername: 'other.example',
        ca: authority.certificate,
        subjectAltNames: ['x.example', 'A.example'],
      }),
      expected: 'connected',
    },
    {
      rule: 'the server name does not count where other names are asked for',
      server: () => dns,
      client: () => ({ servername: 'a.example', ca: authority.certificate, subjectAltNames: ['x.example'] }),
      expected: 'tls',
    },
    {
      rule: 'a URI that is asked for',
      server: () => named,
      client: () => ({
        servername: 'other.example',
        ca: authority.certificate,
        subjectAltNameUris: ['spiffe://cluster/ns/a/b'],
      }),
      expected: 'connected',
    },
    {
      rule: 'a part of a URI is none',
      server: () => named,
      client: () => ({
        servername: 'other.example',
        ca: authority.certificate,
        subjectAltNameUris: ['spiffe://cluster/ns/a'],
      }),
      expected: 'tls',
    },
    {
      rule: 'a URI is no DNS name',
      server: () => named,
      client: () => ({
        servername: 'x.w.example',
        ca: authority.certificate,
        subjectAltNames: ['spiffe://cluster/ns/a/b'],
      }),
      expected: 'tls',
    },
    {
      rule: 'a URI with a comma in it is one name: no server name',
      server: () => misleading,
      client: () => ({ servername: 'hidden.example', ca: authority.certificate }),
      expected: 'tls',
    },
    {
      rule: 'a URI with a comma in it is one name: no DNS name',
      server: () => misleading,
      client: () => ({
        servername: 'other.example',
        ca: authority.certificate,
        subjectAltNames: ['hidden.example'],
        subjectAltNameUris: ['spiffe://hidden', 'spiffe://cluster'],
      }),
      expected: 'tls',
    },
    {
      rule: 'a URI with a comma in it is one name: itself',
      server: () => misleading,
      client: () => ({
        servername: 'other.example',
        ca: authority.certificate,
        subjectAltNameUris: ['spiffe://cluster, DNS:hidden.example, URI:spiffe://hidden'],
      }),
      expected: 'connected',
    },
    {
      rule: 'names that are asked for do not make up for a strange authority',
      server: () => dns,
      client: () => ({ servername: 'a.example', ca: stranger.certificate, subjectAltNames: ['a.example'] }),
      expected: 'tls',
    },
  ]

  test.each(rows)('Gateway API BackendTLSPolicy validation: $rule: $expected', async ({ server, client, expected }) => {
    expect(await outcome(server(), client())).toBe(expected)
  })

  test('a certificate that has expired', async () => {
    const old = await authority.issue([{ type: 'dns', value: 'a.example' }], { expired: true })
    expect(await outcome(old, { servername: 'a.example', ca: authority.certificate })).toBe('tls')
  })

  // Sooner than a handshake may take by itself, which is 10 s.
  test(
    'a door that is closed does not wait for clients that are inside their handshake',
    { timeout: 8_000 },
    async () => {
      const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, { tls: dns }, (socket) => {
        socket.attach({ data: () => true, drain() {}, end: () => socket.end(), close() {} })
      })
      const silent = await dial(listener.address)
      const half = await dial(listener.address)
      half.send(Uint8Array.of(22, 3, 1, 2, 0, 1)) // a record that goes on
      // Taken after those two.
      const whole = await runtime.connect(listener.address, {
        timeoutMs: 5_000,
        tls: { servername: 'a.example', ca: authority.certificate },
      })
      const closed = listener.close()
      await Promise.all([silent.ended, half.ended])
      wireOf(whole).destroy()
      await expect(closed).resolves.toBeUndefined()
      silent.destroy()
      half.destroy()
    },
  )

  test('bytes both ways, and what the handshake agreed on', async () => {
    const { address, sockets } = await startTls({ ...dns, alpn: ['x/1', 'http/1.1'] })
    const socket = await runtime.connect(address, {
      timeoutMs: 5_000,
      tls: { servername: 'a.example', ca: authority.certificate, alpn: ['http/1.1'] },
    })
    await until(() => sockets.length === 1)
    const client = wireOf(socket)
    const server = wireOf(sockets[0]!)
    expect(socket.tls).toMatchObject({ alpn: 'http/1.1', peerCertificate: expect.any(Uint8Array) })
    expect(sockets[0]!.tls).toMatchObject({ alpn: 'http/1.1', servername: 'a.example' })
    client.send('a'.repeat(100_000))
    expect(await server.take(100_000)).toBe('a'.repeat(100_000))
    server.send('down')
    server.finish()
    expect(await client.rest()).toBe('down')
    client.destroy()
  })
})
