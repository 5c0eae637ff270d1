import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Address, type ConnectOptions, type Socket, type SocketEvents } from '../../src/runtime.ts'
import { querySrvOverTls, readSrvAnswer, writeSrvQuestion } from '../../src/tunnel/dns-over-tls.ts'
import { concat } from './messages.ts'
import { createManualTimers } from './manual-timers.ts'
import { fromHex, toHex } from './vectors.ts'

const name = '_v2-origintunneld._tcp.argotunnel.com'
const id = 0x1234

/** The question's name, at byte 12 of every message; answers point back to it or to its parts. */
const question = toHex(writeSrvQuestion(id, name)).slice(24)
const region = (digit: number) => `07726567696f6e3${digit}027632c0` // region<digit>.v2.→
const argotunnel = (12 + 1 + '_v2-origintunneld'.length + 1 + '_tcp'.length).toString(16).padStart(2, '0')

/** An answer of two SRV records, compressed as servers do it. */
const answer = fromHex(`
  1234 8180 0001 0003 0000 0000
  ${question}
  c00c 0005 0001 0000012c 0002 c00c
  c00c 0021 0001 0000012c 0013 0001 0002 1ea4 ${region(1)}${argotunnel}
  c00c 0021 0001 0000012c 0013 0003 0004 1ea5 ${region(2)}${argotunnel}
`)

const records = [
  { name: 'region1.v2.argotunnel.com', port: 7844, priority: 1, weight: 2 },
  { name: 'region2.v2.argotunnel.com', port: 7845, priority: 3, weight: 4 },
]

describe('DNS messages', () => {
  test('a question for SRV records, recursion desired', () => {
    expect(toHex(writeSrvQuestion(id, 'ab.c'))).toBe('12340100000100000000000002616201630000210001')
  })

  test.each(['', 'a..b', '.a', `${'x'.repeat(64)}.a`])('%j is no name', (name) => {
    expect(() => writeSrvQuestion(id, name)).toThrow('not a DNS name')
  })

  test('an answer, its names compressed, other records skipped', () => {
    expect(readSrvAnswer(answer, id)).toEqual(records)
  })

  test.each([
    ['to another question', 0, 0xff],
    ['that is a question', 2, 0x01],
    ['that is cut short', 2, 0x83],
    ['that says that there is no such name', 3, 0x83],
    ['that promises more records', 7, 0x09],
    ['whose name points at itself', 12, 0xc0],
  ])('an answer %s is refused', (_, at, byte) => {
    const changed = answer.slice()
    changed[at] = byte
    expect(() => readSrvAnswer(changed, id)).toThrow()
  })

  test('names that go round in circles end', () => {
    const circle = fromHex('1234 8180 0001 0000 0000 0000 0161 c00c 0021 0001')
    expect(() => readSrvAnswer(circle, id)).toThrow('a DNS name that is too long')
  })

  test('fuzz: an error or records, and always an end', () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }))
    let refused = 0
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.nat({ max: answer.length }), (changes, cut) => {
        const changed = answer.slice(0, answer.length - (cut % 8))
        for (const [at, byte] of changes) changed[at % changed.length] = byte
        try {
          if (readSrvAnswer(changed, id).length > 100) refused = -Infinity
        } catch (error) {
          if (!(error instanceof Error)) throw error
          refused++
        }
      }),
      { numRuns: 5000 },
    )
    expect(refused).toBeGreaterThan(500)
  })
})

describe('asking over TLS', () => {
  /** A server's side of the socket: `serve` gets the question and the means to answer it. */
  function dial(serve: (question: Uint8Array, events: SocketEvents) => void) {
    const timers = createManualTimers()
    const dialled: { to: Address; options: ConnectOptions }[] = []
    let destroyed = 0
    const connect = (to: Address, options: ConnectOptions): Promise<Socket> => {
      dialled.push({ to, options })
      let events: SocketEvents | undefined
      return Promise.resolve({
        attach: (given: SocketEvents) => (events = given),
        write(head: string, body: Uint8Array, start = 0, end = 0) {
          expect(head).toBe('')
          queueMicrotask(() => serve(body.subarray(start, end), events!))
          return true
        },
        end() {},
        destroy: () => destroyed++,
      } as unknown as Socket)
    }
    return {
      asked: querySrvOverTls(name, { connect, timers, randomId: () => id }),
      timers,
      dialled,
      destroyed: () => destroyed,
    }
  }

  const framed = concat(Uint8Array.of(answer.length >> 8, answer.length & 0xff), answer)

  test.each([1, 10, 1000])('the answer comes in pieces of %i bytes', async (size) => {
    const { asked, dialled, destroyed } = dial((asking, events) => {
      expect(asking).toEqual(concat(Uint8Array.of(0, asking.length - 2), writeSrvQuestion(id, name)))
      for (let at = 0; at < framed.length; at += size) events.data(framed, at, Math.min(at + size, framed.length))
    })
    expect(await asked).toEqual(records)
    expect(dialled).toMatchObject([
      { to: { host: '1.1.1.1', port: 853 }, options: { tls: { servername: 'cloudflare-dns.com' } } },
    ])
    expect(destroyed()).toBe(1)
  })

  test('a server that closes', async () => {
    const { asked, destroyed } = dial((_, events) => events.close({ code: 'reset', message: '' }))
    await expect(asked).rejects.toThrow('the DNS server closed the connection (reset)')
    expect(destroyed()).toBe(1)
  })

  test('a server that stays silent', async () => {
    const { asked, timers } = dial(() => queueMicrotask(() => timers.advance(16_000)))
    await expect(asked).rejects.toThrow('the DNS server did not answer in time')
  })
})
