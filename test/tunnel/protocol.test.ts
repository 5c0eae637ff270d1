import { describe, expect, test } from 'vitest'
import { createBackoff, waitAtLeast } from '../../src/tunnel/backoff.ts'
import { clientInfo } from '../../src/tunnel/client-info.ts'
import { classifyRegistrationError, type ConnectionFailure } from '../../src/tunnel/connection-failure.ts'
import { createPercentageSource } from '../../src/tunnel/percentage-source.ts'
import {
  accountThreshold,
  afterFailure,
  afterRegistration,
  chooseByPercentage,
  chooseProtocol,
  defaultFallbackRules,
  fnv1a,
  isAllowed,
  parsePercentages,
  type ProtocolChoice,
  type ProtocolSituation,
  startTransport,
  type TransportState,
} from '../../src/tunnel/protocol.ts'

describe('the account threshold (FNV-1a, 32 bits, modulo 100)', () => {
  test.each([
    ['123456', 2_576_725_674, 74],
    ['', 2_166_136_261, 61],
    ['abc', 440_920_331, 31],
    ['testAccountTag', 3_980_273_556, 56],
  ])('%j', (tag, hash, threshold) => {
    expect(fnv1a(new TextEncoder().encode(tag))).toBe(hash)
    expect(accountThreshold(tag)).toBe(threshold)
  })
})

describe('the percentages in DNS', () => {
  const wishes = (quic: number, http2: number) =>
    parsePercentages(
      JSON.stringify([
        { protocol: 'QUIC', percentage: quic },
        { protocol: 'http2', percentage: http2 },
      ]),
    )!

  test.each([
    ['QUIC above the threshold', wishes(32, 100), 'quic'],
    ['QUIC at the threshold is not above it', wishes(31, 100), 'http2'],
    ['neither: QUIC, the first preference', wishes(0, 0), 'quic'],
    ['an absent protocol counts as 0', parsePercentages('[{"protocol":"http2","percentage":100}]')!, 'http2'],
    ['a negative one is below everything', wishes(-1, 50), 'http2'],
  ])('%s', (_, percentages, transport) => {
    expect(chooseByPercentage(percentages, 31)).toBe(transport)
  })

  test.each([
    '',
    '{',
    '{}',
    '[1]',
    '[{"protocol":"quic"}]',
    '[{"protocol":1,"percentage":1}]',
    '[{"protocol":"quic","percentage":1.5}]',
  ])('%j says nothing', (record) => {
    expect(parsePercentages(record)).toBeUndefined()
  })
})

describe('asking for the percentages', () => {
  const good = '[{"protocol":"http2","percentage":100}]'
  const create = (answers: readonly (string[] | Error)[]) => {
    let nowMs = 0
    let asked = 0
    const txt = (name: string): Promise<readonly string[]> => {
      expect(name).toBe('protocol-v2.argotunnel.com')
      const answer = answers[Math.min(asked++, answers.length - 1)]!
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)
    }
    const source = createPercentageSource({ txt, now: () => nowMs })
    return { get: source.get, asked: () => asked, wait: (ms: number) => (nowMs += ms) }
  }

  test('one question an hour, however many want to know', async () => {
    const { get, asked, wait } = create([[good, 'the second record is not looked at']])
    const both = await Promise.all([get(), get()])
    expect(both).toEqual([new Map([['http2', 100]]), new Map([['http2', 100]])])
    wait(60 * 60_000 - 1)
    await get()
    expect(asked()).toBe(1)
    wait(1)
    await get()
    expect(asked()).toBe(2)
  })

  test('a failure keeps what is known, and the next one asks again', async () => {
    const { get, asked, wait } = create([new Error('SERVFAIL'), ['nonsense'], [], [good], new Error('SERVFAIL')])
    expect([await get(), await get(), await get()]).toEqual([undefined, undefined, undefined])
    expect((await get())?.get('http2')).toBe(100)
    wait(2 * 60 * 60_000)
    expect((await get())?.get('http2')).toBe(100)
    await get()
    expect(asked()).toBe(6)
  })
})

describe('the choice of a transport', () => {
  const usual: ProtocolSituation = { setting: 'auto', quicAvailable: true, needsTrailers: false, threshold: 31 }
  const http2Wished = new Map([['http2', 100]])

  test.each<[string, Partial<ProtocolSituation>, ProtocolChoice]>([
    ['auto: QUIC, with HTTP/2 to fall back on', {}, { first: 'quic', fallback: 'http2' }],
    ['auto without QUIC in the runtime', { quicAvailable: false }, { first: 'http2', fallback: undefined }],
    ['auto with gRPC routes: trailers need HTTP/2', { needsTrailers: true }, { first: 'http2', fallback: undefined }],
    ['auto where HTTP/2 is wished for', { percentages: http2Wished }, { first: 'http2', fallback: undefined }],
    ['quic means QUIC', { setting: 'quic', needsTrailers: true }, { first: 'quic', fallback: undefined }],
    ['http2 means HTTP/2', { setting: 'http2' }, { first: 'http2', fallback: undefined }],
  ])('%s', (_, situation, choice) => {
    expect(chooseProtocol({ ...usual, ...situation })).toEqual(choice)
  })
})

describe('fallback and return', () => {
  const auto: ProtocolChoice = { first: 'quic', fallback: 'http2' }
  const fail = (
    state: TransportState,
    failures: readonly ConnectionFailure[],
    choice = auto,
    rules = defaultFallbackRules,
  ): TransportState => failures.reduce((now, failure) => afterFailure(now, failure, choice, rules), state)
  const times = (count: number, failure: ConnectionFailure) => Array.from({ length: count }, () => failure)

  test.each<[string, ConnectionFailure[], 'quic' | 'http2']>([
    ['UDP is dropped: at once', ['quic-blocked'], 'http2'],
    ['two dials refused: not yet', times(2, 'unreachable'), 'quic'],
    ['three dials refused', times(3, 'unreachable'), 'http2'],
    ['four losses before any registration: not yet', times(4, 'lost'), 'quic'],
    ['five losses', times(5, 'lost'), 'http2'],
    ['five silences', times(5, 'silent'), 'http2'],
    ['five refusals for now', times(5, 'retry-later'), 'http2'],
    ['a duplicate is no fault of the protocol', times(20, 'duplicate'), 'quic'],
    ['nor are refused credentials', times(20, 'unauthorized'), 'quic'],
    ['nor a permanent refusal', times(20, 'refused'), 'quic'],
    ['nor a registration without answer', times(20, 'rpc'), 'quic'],
  ])('%s', (_, failures, transport) => {
    expect(fail(startTransport(auto), failures).transport).toBe(transport)
  })

  test('HTTP/2 that fails too stays: there is nothing after it', () => {
    const state = fail(startTransport(auto), ['quic-blocked', ...times(20, 'lost'), ...times(20, 'unreachable')])
    expect(state).toMatchObject({ transport: 'http2', inFallback: true })
  })

  test('a registration over HTTP/2 gives QUIC another chance at the next failure', () => {
    const registered = afterRegistration(fail(startTransport(auto), ['quic-blocked']))
    expect(registered).toMatchObject({ transport: 'http2', inFallback: false })
    expect(fail(registered, ['lost']).transport).toBe('quic')
  })

  test('once QUIC has worked nobody falls back, and who had returns', () => {
    const proven = { ...defaultFallbackRules, proven: true }
    expect(fail(startTransport(auto), times(30, 'quic-blocked'), auto, proven).transport).toBe('quic')
    const fallen = fail(startTransport(auto), ['quic-blocked'])
    expect(fail(fallen, ['lost'], auto, proven).transport).toBe('quic')
  })

  test('a protocol that the user chose is never left', () => {
    const fixed: ProtocolChoice = { first: 'quic', fallback: undefined }
    expect(fail(startTransport(fixed), times(30, 'quic-blocked'), fixed).transport).toBe('quic')
  })

  test('a live connection is moved when the choice no longer allows its transport, and only then', () => {
    const grpc: ProtocolChoice = { first: 'http2', fallback: undefined }
    expect(isAllowed('quic', grpc)).toBe(false)
    expect(isAllowed('http2', grpc)).toBe(true)
    expect(isAllowed('http2', auto)).toBe(true)
    expect(fail(startTransport(auto), ['cancelled'], grpc).transport).toBe('http2')
  })
})

describe('backoff', () => {
  const create = (baseMs: number, random = () => 1) => {
    let nowMs = 0
    const backoff = createBackoff({ baseMs, maxRetries: 5, now: () => nowMs, random })
    return { backoff, wait: (ms: number) => (nowMs += ms) }
  }

  test.each([
    [1000, [2000, 4000, 8000, 16_000, 32_000, 32_000, 32_000]],
    [10_000, [20_000, 40_000, 80_000, 160_000, 320_000, 320_000]],
  ])('base %i ms: the bound doubles to its limit and stays', (baseMs, bounds) => {
    const { backoff } = create(baseMs)
    expect(bounds.map(() => backoff.fail())).toEqual(bounds)
    expect(backoff.retries).toBe(5)
  })

  test('the wait is a random part of the bound', () => {
    expect(create(1000, () => 0.25).backoff.fail()).toBe(500)
  })

  test('a success starts the count again', () => {
    const { backoff } = create(1000)
    backoff.fail()
    backoff.fail()
    backoff.reset()
    expect(backoff.retries).toBe(0)
    expect(backoff.fail()).toBe(2000)
  })

  test('a success that must last counts once its grace is over', () => {
    const { backoff, wait } = create(1000)
    backoff.fail()
    backoff.fail()
    backoff.resetAfterGrace()
    wait(15_999)
    expect(backoff.fail()).toBe(8000)
    wait(1)
    expect(backoff.fail()).toBe(2000)
  })

  test.each([
    [500, 27_000, 27_000],
    [30_000, 27_000, 30_000],
    [500, 0, 500],
    [500, 10 * 60 * 60_000, 60 * 60_000],
  ])('own wait %i ms, asked for %i ms: %i ms', (own, asked, wait) => {
    expect(waitAtLeast(own, asked)).toBe(wait)
  })
})

describe('what a refused registration means', () => {
  test.each<[string, boolean, ConnectionFailure]>([
    ['EDUPCONN', false, 'duplicate'],
    ['EDUPCONN', true, 'duplicate'],
    ['EDUPCONN and more', false, 'refused'],
    ['try later', true, 'retry-later'],
    ['Unauthorized: tunnel not found', false, 'unauthorized'],
    ['no', false, 'refused'],
  ])('%j, retry %s', (cause, shouldRetry, failure) => {
    expect(classifyRegistrationError({ cause, retryAfterMs: 0, shouldRetry })).toBe(failure)
  })
})

describe('what a connector tells about itself', () => {
  test.each([
    ['linux', 'x64', 'linux_amd64'],
    ['darwin', 'arm64', 'darwin_arm64'],
    ['win32', 'ia32', 'windows_386'],
    ['linux', 'aarch64', 'linux_arm64'],
    ['linux', 'x86_64', 'linux_amd64'],
    ['freebsd', 'riscv64', 'freebsd_riscv64'],
  ])('%s on %s is %s', (os, architecture, arch) => {
    const info = clientInfo({ connectorId: new Uint8Array(16), version: '1.2.3', os, architecture })
    expect(info).toMatchObject({ arch, version: '1.2.3' })
  })

  test('it promises what it keeps: no datagrams, no management host', () => {
    const info = clientInfo({ connectorId: new Uint8Array(16), version: '1', os: 'linux', architecture: 'x64' })
    expect(info.features).toEqual(['allow_remote_config', 'serialized_headers', 'support_quic_eof'])
  })
})
