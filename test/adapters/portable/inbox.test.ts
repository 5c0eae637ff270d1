import { describe, expect, test } from 'vitest'
import { Inbox } from '../../../adapters/portable/inbox.ts'
import type { SocketEvents } from '../../../src/runtime.ts'

interface Setup {
  readonly inbox: Inbox
  /** What happened, in order. */
  readonly said: string[]
  read(text: string): boolean
}

/** @param keeps whether the owner keeps a read */
function setUp(keeps: (text: string) => boolean = () => false, attached = true): Setup & { attach(): void } {
  const said: string[] = []
  const text = (bytes: Uint8Array, start: number, end: number): string =>
    String.fromCharCode(...bytes.subarray(start, end))
  const inbox = new Inbox({
    stop: () => said.push('stop'),
    start: () => said.push('start'),
    released: (bytes) => said.push(`released ${text(bytes, 0, 1)}`),
  })
  const events: SocketEvents = {
    data(bytes, start, end) {
      const came = text(bytes, start, end)
      said.push(`data ${came}`)
      return !keeps(came)
    },
    drain() {},
    end: () => said.push('end'),
    close: (error) => said.push(error ? `close ${error.code}` : 'close'),
  }
  const attach = (): void => inbox.attach(events)
  if (attached) attach()
  return {
    inbox,
    said,
    attach,
    read(came) {
      const bytes = Uint8Array.from(`${came}....`, (c) => c.charCodeAt(0))
      return inbox.read(bytes, came.length)
    },
  }
}

describe('bytes', () => {
  test('are lent: the buffer is free again', () => {
    const { read, said } = setUp()
    expect(read('a')).toBe(true)
    expect(read('bc')).toBe(true)
    expect(said).toEqual(['data a', 'data bc'])
  })

  test('may be kept: reading goes on, the buffer is not free', () => {
    const { read, said, inbox } = setUp((text) => text === 'a')
    expect(read('a')).toBe(false)
    expect(said).toEqual(['data a'])
    inbox.resume()
    expect(said).toEqual(['data a', 'released a'])
    expect(read('b')).toBe(true)
  })

  test('that come while others are kept wait, and reading stops', () => {
    const { read, said, inbox } = setUp((text) => text === 'a')
    read('a')
    expect(read('b')).toBe(false)
    expect(said).toEqual(['data a', 'stop'])
    inbox.resume()
    expect(said).toEqual(['data a', 'stop', 'released a', 'data b', 'released b', 'start'])
  })

  test('that waited may be kept in their turn: reading does not start', () => {
    const { read, said, inbox } = setUp(() => true)
    read('a')
    read('b')
    inbox.resume()
    expect(said).toEqual(['data a', 'stop', 'released a', 'data b'])
    inbox.resume()
    expect(said).toEqual(['data a', 'stop', 'released a', 'data b', 'released b', 'start'])
  })

  test('that come before there is an owner wait for one', async () => {
    const { read, said, attach } = setUp(undefined, false)
    expect(read('a')).toBe(false)
    expect(said).toEqual(['stop'])
    attach()
    expect(said).toEqual(['stop'])
    await Promise.resolve()
    expect(said).toEqual(['stop', 'data a', 'released a', 'start'])
  })

  test('go to the next owner after a change', () => {
    const { read, said, inbox } = setUp()
    read('a')
    inbox.attach({ data: () => said.push('other') > 0, drain() {}, end() {}, close() {} })
    read('b')
    expect(said).toEqual(['data a', 'other'])
  })
})

describe('pausing', () => {
  test('stops once, and resuming starts once', () => {
    const { inbox, said } = setUp()
    inbox.pause()
    inbox.pause()
    inbox.resume()
    inbox.resume()
    expect(said).toEqual(['stop', 'start'])
  })

  test('after the end of the socket does nothing', () => {
    const { inbox, said } = setUp()
    inbox.close(undefined)
    inbox.pause()
    inbox.resume()
    expect(said).toEqual(['close'])
  })
})

describe('the end', () => {
  test('is told once, behind the bytes', () => {
    const { read, inbox, said } = setUp()
    read('a')
    inbox.end()
    inbox.end()
    inbox.resume()
    expect(said).toEqual(['data a', 'end'])
  })

  test('waits for kept bytes to be given back', () => {
    const { read, inbox, said } = setUp((text) => text === 'a')
    read('a')
    inbox.end()
    expect(said).toEqual(['data a'])
    inbox.resume()
    expect(said).toEqual(['data a', 'released a', 'end'])
  })

  test('waits for bytes that wait', () => {
    const { read, inbox, said } = setUp((text) => text === 'a')
    read('a')
    read('b')
    inbox.end()
    inbox.resume()
    expect(said.filter((each) => /^(?:data|end)/.test(each))).toEqual(['data a', 'data b', 'end'])
  })

  test('before there is an owner is told to the first', async () => {
    const { inbox, said, attach } = setUp(undefined, false)
    inbox.end()
    attach()
    await Promise.resolve()
    expect(said).toEqual(['end'])
  })
})

describe('the close', () => {
  test('is told once, and last', () => {
    const { read, inbox, said } = setUp()
    inbox.end()
    inbox.close(undefined)
    inbox.close({ code: 'reset', message: '' })
    inbox.end()
    inbox.resume()
    expect(said).toEqual(['end', 'close'])
    expect(read.length).toBe(1)
  })

  test('says why', () => {
    const { inbox, said } = setUp()
    inbox.close({ code: 'reset', message: '' })
    expect(said).toEqual(['close reset'])
  })

  test('does not wait for kept bytes: their owner has seen them', () => {
    const { read, inbox, said } = setUp(() => true)
    read('a')
    inbox.close(undefined)
    expect(said).toEqual(['data a', 'close'])
  })

  test('behind kept bytes and an end: the end is told, so that the owner knows that it has seen all', () => {
    const { read, inbox, said } = setUp(() => true)
    read('a')
    inbox.end()
    inbox.close(undefined)
    expect(said).toEqual(['data a', 'end', 'close'])
  })

  test('comes behind bytes that were read before it', () => {
    const { read, inbox, said } = setUp((text) => text === 'a')
    read('a')
    read('b')
    inbox.close({ code: 'reset', message: '' })
    expect(said).toEqual(['data a', 'stop'])
    inbox.resume()
    expect(said).toEqual(['data a', 'stop', 'released a', 'data b', 'released b', 'close reset'])
  })

  test('behind bytes and an end: bytes, end, close', () => {
    const { read, inbox, said } = setUp((text) => text === 'a')
    read('a')
    read('b')
    inbox.end()
    inbox.close(undefined)
    inbox.resume()
    expect(said.filter((each) => !/^(?:released|stop)/.test(each))).toEqual(['data a', 'data b', 'end', 'close'])
  })

  test('before there is an owner is told to the first, behind the bytes', async () => {
    const { read, inbox, said, attach } = setUp(undefined, false)
    read('a')
    inbox.close(undefined)
    attach()
    await Promise.resolve()
    expect(said).toEqual(['stop', 'data a', 'released a', 'close'])
  })

  test('of a socket that its owner has given up drops what waits', () => {
    const { read, inbox, said } = setUp((text) => text === 'a')
    read('a')
    read('b')
    inbox.abandon()
    inbox.end()
    inbox.close(undefined)
    inbox.resume()
    expect(said.filter((each) => !/^(?:released|stop)/.test(each))).toEqual(['data a', 'close'])
  })

  test('is told when the socket is given up after it was gone', () => {
    const { read, inbox, said } = setUp((text) => text === 'a')
    read('a')
    read('b')
    inbox.close(undefined)
    inbox.abandon()
    expect(said).toEqual(['data a', 'stop', 'close'])
  })
})
