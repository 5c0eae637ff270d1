import { describe, expect, test } from 'vitest'
import { readHead, startRawBackend, type TestBackend } from '../support/test-backend.ts'
import { startProxy, toBackend, type Rig } from '../support/proxy.ts'
import { connectRaw, latin1, requestText, type RawClient } from '../support/raw-client.ts'
import { until } from '../support/until.ts'
import { dial } from '../support/wire.ts'

const asks = (protocol = 'echo/1'): string =>
  requestText('/up?x', {
    headers: [
      ['Connection', 'Upgrade'],
      ['Upgrade', protocol],
    ],
  })
const switches = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\nX-Mine: 1\r\n\r\n'

/** Switches, then does what a test wants. */
const switching = (then: (peer: RawClient) => Promise<void>): Promise<TestBackend> =>
  startRawBackend(async (peer) => {
    await readHead(peer)
    peer.write(switches)
    await then(peer)
  })

async function upgraded(rig: Rig): Promise<RawClient> {
  const client = await connectRaw(rig.address)
  client.write(asks())
  expect((await client.answer()).status).toBe(101)
  return client
}

test('any protocol: the head passes both ways, then bytes do', async () => {
  let head = ''
  await using backend = await startRawBackend(async (peer) => {
    head = await readHead(peer)
    peer.write(`${switches}first`)
    for (;;) peer.write(await peer.bytes(1))
  })
  await using rig = await startProxy(
    toBackend(backend.url, {
      filters: [
        { type: 'RequestHeaderModifier', requestHeaderModifier: { set: [{ name: 'x-in', value: '1' }] } },
        { type: 'ResponseHeaderModifier', responseHeaderModifier: { set: [{ name: 'x-out', value: '1' }] } },
      ],
    }),
  )
  const client = await connectRaw(rig.address)
  client.write(`${asks()}early`) // does not wait for the answer
  const answer = await client.answer()
  expect([
    answer.status,
    answer.header('upgrade'),
    answer.header('connection'),
    answer.header('x-mine'),
    answer.header('x-out'),
  ]).toEqual([101, 'echo/1', 'Upgrade', '1', '1'])
  expect(latin1(await client.bytes(10))).toBe('firstearly')
  expect(head).toMatch(/^GET \/up\?x HTTP\/1\.1\r\nHost: a\.example\r\n/)
  expect(head).toMatch(/\r\nConnection: Upgrade\r\nUpgrade: echo\/1\r\n/)
  expect(head).toMatch(/\r\nX-Forwarded-For: 127\.0\.0\.1\r\n/)
  expect(head).toMatch(/\r\nx-in: 1\r\n/)
  client.write('more')
  expect(latin1(await client.bytes(4))).toBe('more')
  client.destroy()
})

describe('an upgrade that has a body, as docker exec sends it', () => {
  const asksWith = (fields: string): string =>
    `POST /exec/1/start HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n${fields}\r\n`
  const lengthy = asksWith('Content-Length: 11\r\n')
  const json = '{"Tty":true'

  test.each([
    ['of a length', lengthy, json, async (peer: RawClient): Promise<unknown> => peer.bytes(json.length)],
    [
      'in chunks, with trailers',
      asksWith('Transfer-Encoding: chunked\r\n'),
      `b\r\n${json}\r\n0\r\nX-Sum: 1\r\n\r\n`,
      readHead, // to the empty line behind the trailers
    ],
  ])('%s: bytes behind the body belong to the new protocol, wherever they are cut', async (_, head, body, readBody) => {
    const heads: string[] = []
    await using backend = await startRawBackend(async (peer) => {
      void peer.ended.then(() => peer.finish())
      heads.push(await readHead(peer))
      await readBody(peer)
      peer.write(`${switches}first`)
      for (;;) peer.write(await peer.bytes(1))
    })
    await using rig = await startProxy(toBackend(backend.url))
    const whole = `${head}${body}GET / early`
    for (let at = head.length - 1; at <= whole.length; at++) {
      const client = await connectRaw(rig.address)
      client.write(whole.slice(0, at))
      await new Promise((resolve) => setTimeout(resolve, 1))
      client.write(whole.slice(at))
      expect((await client.answer()).status).toBe(101)
      expect(latin1(await client.bytes(16))).toBe('firstGET / early')
      client.write('more')
      expect(latin1(await client.bytes(4))).toBe('more')
      client.destroy()
    }
    expect(heads[0]).toMatch(/^POST \/exec\/1\/start HTTP\/1\.1\r\n/)
    expect(heads[0]).toMatch(/\r\nConnection: Upgrade\r\nUpgrade: echo\/1\r\n/)
    expect((await rig.recorded(1))[0]).toMatchObject({
      status: 101,
      upgraded: true,
      bytesReceived: json.length + 15,
      bytesSent: 20,
    })
  })

  test('that waits for 100 Continue', async () => {
    await using backend = await startRawBackend(async (peer) => {
      expect(await readHead(peer)).toMatch(/\r\nExpect: 100-continue\r\n/)
      peer.write('HTTP/1.1 100 Continue\r\n\r\n')
      await peer.bytes(11)
      peer.write(`${switches}first`)
    })
    await using rig = await startProxy(toBackend(backend.url))
    const wire = await dial(rig.address)
    wire.send(asksWith('Content-Length: 11\r\nExpect: 100-continue\r\n'))
    expect(await wire.until('\r\n\r\n')).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    wire.send(json)
    expect(await wire.until('\r\n\r\n')).toMatch(/^HTTP\/1\.1 101 /)
    expect(await wire.take(5)).toBe('first')
    wire.destroy()
  })

  test.each([
    ['before the body is whole', lengthy, '{"Tty"'],
    ['instead of 100 Continue', asksWith('Content-Length: 11\r\nExpect: 100-continue\r\n'), ''],
  ])('a 101 %s is refused: the rest of the body is not for the new protocol', async (_, head, begun) => {
    let got = ''
    await using backend = await startRawBackend(async (peer) => {
      await readHead(peer)
      got += latin1(await peer.bytes(begun.length))
      peer.write(switches)
      for (;;) got += latin1(await peer.bytes(1))
    })
    await using rig = await startProxy(toBackend(backend.url))
    const client = await connectRaw(rig.address)
    client.write(head + begun)
    expect((await client.answer()).status).toBe(502)
    client.write(json.slice(begun.length))
    await until(() => backend.open === 0)
    expect(got).toBe(begun)
    client.destroy()
  })

  test('that a backend declines: what comes behind is the next request, on another connection', async () => {
    await using backend = await startRawBackend(async (peer) => {
      for (;;) {
        const head = await readHead(peer)
        if (head.startsWith('POST')) await peer.bytes(11)
        peer.write(`HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n${head.slice(0, 4)}`)
      }
    })
    await using rig = await startProxy(toBackend(backend.url))
    const client = await connectRaw(rig.address)
    client.write(`${lengthy}${json}${requestText('/next')}`)
    expect((await client.answer()).text).toBe('POST')
    expect((await client.answer()).text).toBe('GET ')
    client.write(`${lengthy}${json}`)
    expect((await client.answer()).text).toBe('POST')
    await until(() => backend.open === 0)
    client.write(requestText('/last'))
    expect((await client.answer()).text).toBe('GET ')
    expect(backend.accepted).toBe(3)
    client.destroy()
  })
})

test('megabytes pass in both directions at once, in order', async () => {
  const size = 4_000_000
  const pattern = Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 255)
  await using backend = await switching(async (peer) => {
    peer.write(pattern)
    const got = await peer.bytes(size)
    peer.write(got.every((byte, i) => byte === pattern[i]) ? 'same' : 'else')
    await peer.ended
    peer.finish()
  })
  await using rig = await startProxy(toBackend(backend.url))
  const client = await upgraded(rig)
  client.write(pattern)
  const got = await client.bytes(size)
  expect(got.every((byte, i) => byte === pattern[i])).toBe(true)
  expect(latin1(await client.bytes(4))).toBe('same')
  client.destroy()
  expect((await rig.recorded(1))[0]).toMatchObject({
    status: 101,
    upgraded: true,
    bytesReceived: size,
    bytesSent: size + 4,
  })
})

test('half-close: after the client has ended its direction the other one goes on', async () => {
  await using backend = await switching(async (peer) => {
    await peer.ended
    peer.write('after the end')
    peer.finish()
  })
  await using rig = await startProxy(toBackend(backend.url))
  const client = await upgraded(rig)
  client.finish()
  expect(latin1(await client.bytes(13))).toBe('after the end')
  expect((await rig.recorded(1))[0]).toMatchObject({ status: 101, flags: [] })
  client.destroy()
})

test('half-close: after the backend has ended its direction the other one goes on', async () => {
  let got = ''
  await using backend = await switching(async (peer) => {
    peer.write('last words')
    peer.finish()
    for (;;) got += latin1(await peer.bytes(1))
  })
  await using rig = await startProxy(toBackend(backend.url))
  const client = await upgraded(rig)
  expect(latin1(await client.bytes(10))).toBe('last words')
  await client.ended
  client.write('still here')
  await until(() => got === 'still here')
  client.finish()
  expect((await rig.recorded(1))[0]).toMatchObject({ status: 101, flags: [] })
  client.destroy()
})

test.each([
  ['client', (client: RawClient, _: RawClient): void => client.destroy()],
  ['backend', (_: RawClient, peer: RawClient): void => peer.destroy()],
])('when the %s is gone the other side is let go, and nobody is counted any more', async (_, leave) => {
  let peer: RawClient | undefined
  await using backend = await switching(async (accepted) => {
    peer = accepted
    await accepted.ended
    accepted.destroy()
  })
  await using rig = await startProxy(toBackend(backend.url))
  const client = await upgraded(rig)
  await until(() => rig.proxy.stats.upgraded === 1)
  expect(rig.proxy.stats).toMatchObject({ inFlight: 0, upgraded: 1 })
  leave(client, peer!)
  await client.ended
  client.destroy()
  await rig.recorded(1)
  expect(rig.proxy.stats).toMatchObject({ inFlight: 0, upgraded: 0 })
  await until(() => backend.open === 0)
})

test('a backend that does not switch has its answer relayed, and its connection kept', async () => {
  await using backend = await startRawBackend(async (peer) => {
    for (;;) {
      await readHead(peer)
      peer.write('HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno')
    }
  })
  await using rig = await startProxy(toBackend(backend.url))
  for (let i = 0; i < 2; i++) {
    const client = await connectRaw(rig.address)
    client.write(asks())
    const answer = await client.answer()
    expect([answer.status, answer.text]).toEqual([426, 'no'])
    client.destroy()
  }
  expect(backend.accepted).toBe(1)
  expect((await rig.recorded(2))[0]).toMatchObject({ status: 426, upgradeAsked: true, upgraded: false })
})

test.each([
  ['h2c', 'h2c'],
  ['another version of HTTP', 'HTTP/2.0'],
])('an Upgrade to %s is not passed on: it would hide requests from us', async (_, protocol) => {
  let head = ''
  await using backend = await startRawBackend(async (peer) => {
    head = await readHead(peer)
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  })
  await using rig = await startProxy(toBackend(backend.url))
  const client = await connectRaw(rig.address)
  client.write(asks(protocol))
  expect((await client.answer()).status).toBe(200)
  expect(head.toLowerCase()).not.toContain('upgrade')
  client.destroy()
})

test('a redirect or an error answers an upgrade as it does any request', async () => {
  await using rig = await startProxy([
    { filters: [{ type: 'RequestRedirect', requestRedirect: { hostname: 'r.example' } }] },
  ])
  const client = await connectRaw(rig.address)
  client.write(asks())
  expect((await client.answer()).status).toBe(302)
  client.destroy()
})

test('an upgraded connection stays through a new config that does not name its backend any more', async () => {
  await using backend = await switching(async (peer) => {
    for (;;) peer.write(await peer.bytes(1))
  })
  await using rig = await startProxy(toBackend(backend.url))
  const client = await upgraded(rig)
  rig.apply([])
  client.write('x')
  expect(latin1(await client.bytes(1))).toBe('x')
  client.destroy()
})

test('a stuck reader holds the writer back, and no more than buffers in between', async () => {
  let wrote = 0
  await using backend = await startRawBackend(async (peer) => {
    await readHead(peer)
    peer.write(switches)
    const chunk = new Uint8Array(256_000)
    // Until the proxy takes no more: what is written then waits here.
    while (wrote < 200 && peer.socket.write('', chunk, 0, chunk.length)) {
      wrote++
      await new Promise((resolve) => setTimeout(resolve, 0))
    }
  })
  await using rig = await startProxy(toBackend(backend.url))
  const client = await upgraded(rig)
  client.pause()
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(wrote).toBeLessThan(200) // 51 MB
  client.destroy()
})

test('a backend that does not answer the handshake is given up; an answer of another kind ends the limit', async () => {
  await using silent = await startRawBackend(() => {})
  await using first = await startProxy(toBackend(silent.url), { http1: { upgradeTimeoutMs: 60 } })
  const client = await connectRaw(first.address)
  client.write(asks())
  expect((await client.answer()).status).toBe(504)
  expect((await first.recorded(1))[0]?.error).toMatchObject({ kind: 'upstream', phase: 'head', cause: 'timeout' })
  await until(() => silent.open === 0)

  const slow = Promise.withResolvers<void>()
  await using refusing = await startRawBackend(async (peer) => {
    await readHead(peer)
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nno')
    await slow.promise
    peer.write('pe')
  })
  await using second = await startProxy(toBackend(refusing.url), { http1: { upgradeTimeoutMs: 60 } })
  const refused = await connectRaw(second.address)
  refused.write(asks())
  setTimeout(slow.resolve, 150)
  expect((await refused.answer()).text).toBe('nope')
})
