/** What is ours between a runtime's halves of a QUIC stream and an owner. The halves themselves: `quic.test.ts`. */
import { describe, expect, test } from 'vitest'
import { createPumpedConnection } from '../../../adapters/portable/quic-connection.ts'
import { PumpedStream, type StreamPort, type UnreadBudget } from '../../../adapters/portable/quic-stream.ts'
import { until } from '../../support/until.ts'

const encode = (text: string) => new TextEncoder().encode(text)

/** A runtime's stream that does what the test says. */
function createPort() {
  const said: string[] = []
  const reads: { give(pieces: readonly Uint8Array[] | undefined): void; fail(): void }[] = []
  const writes: { take(): void; refuse(): void }[] = []
  const port: StreamPort = {
    read: () => new Promise((resolve, reject) => reads.push({ give: resolve, fail: () => reject(new Error('reset')) })),
    write: (bytes) =>
      new Promise((resolve, reject) => {
        said.push(new TextDecoder().decode(bytes).slice(0, 20))
        writes.push({ take: () => resolve(undefined), refuse: () => reject(new Error('stopped')) })
      }),
    end: () => void said.push('FIN'),
    reset: (isEvident) => void said.push(isEvident ? 'RESET or FIN' : 'RESET'),
    stopReading: () => void said.push('STOP'),
  }
  const next = async <T>(from: T[]): Promise<T> => {
    await until(() => from.length > 0)
    return from.shift()!
  }
  return { port, said, read: () => next(reads), write: () => next(writes) }
}

function open(budget?: UnreadBudget) {
  const fake = createPort()
  const told: string[] = []
  const state = { keeps: false, overs: 0 }
  const stream = new PumpedStream(fake.port, budget, () => state.overs++)
  stream.attach({
    data(bytes, start, end) {
      told.push(new TextDecoder().decode(bytes.subarray(start, end)).slice(0, 20))
      return !state.keeps
    },
    end: () => void told.push('end'),
    drain: () => void told.push('drain'),
    reset: () => void told.push('reset'),
    stopped: () => void told.push('stopped'),
  })
  return { ...fake, stream, told, state }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve()
}

describe('writing', () => {
  test('what waits together leaves together, and its owner may go on', async () => {
    const { stream, write, said } = open()
    const bytes = encode('a')
    for (const text of ['a', 'b', 'c']) {
      bytes.set(encode(text))
      expect(stream.write(bytes)).toBe(true)
    }
    stream.end()
    ;(await write()).take()
    ;(await write()).take()
    await settle()
    expect(said).toEqual(['a', 'bc', 'FIN'])
  })

  test('more than a little is lent until it has gone', async () => {
    const { stream, write, told } = open()
    const large = new Uint8Array(100_000)
    expect(stream.write(large)).toBe(false)
    await settle()
    expect(told).toEqual([])
    ;(await write()).take()
    await settle()
    expect(told).toEqual(['drain'])
  })

  test('nobody reads: what waits is thrown away, and nothing more goes out', async () => {
    const { stream, write, said, told } = open()
    stream.write(encode('a'))
    stream.write(encode('b'))
    ;(await write()).refuse()
    await settle()
    expect(stream.write(encode('c'))).toBe(true)
    stream.end()
    expect([said, told]).toEqual([['a'], ['stopped']])
  })

  test.each([
    [true, 'RESET or FIN'],
    [false, 'RESET'],
  ])('a reset (evident: %s) comes instead of what waits', async (isEvident, frame) => {
    const { stream, write, said, told } = open()
    stream.write(encode('a'))
    stream.write(encode('b'))
    stream.end()
    stream.reset(isEvident)
    ;(await write()).take()
    await settle()
    expect([said, told]).toEqual([['a', frame], []])
  })
})

describe('reading', () => {
  test('nothing more is read while the owner keeps bytes, and the end comes behind them', async () => {
    const { stream, read, told, state } = open()
    state.keeps = true
    const first = await read()
    first.give([encode('a'), encode('b')])
    await settle()
    expect(told).toEqual(['a'])
    state.keeps = false
    stream.resume()
    ;(await read()).give(undefined)
    await settle()
    expect(told).toEqual(['a', 'b', 'end'])
  })

  test('who stops reading hears no more', async () => {
    const { stream, read, told, said, state } = open()
    const first = await read()
    stream.stopReading()
    first.give([encode('a')])
    stream.end()
    await settle()
    expect([told, said, state.overs]).toEqual([[], ['STOP', 'FIN'], 1])
  })

  test('what reads unbidden is bounded, for a stream and for its connection', async () => {
    const budget = { streamBytes: 100, connectionBytes: 150, usedBytes: 0 }
    const [one, other] = [open(budget), open(budget)]
    for (const { state, read } of [one, other]) {
      state.keeps = true
      ;(await read()).give([encode('kept')])
      ;(await read()).give([new Uint8Array(80)])
    }
    await settle()
    expect([one.told, other.told, other.said]).toEqual([['kept'], ['kept', 'reset'], ['STOP']])
    expect(budget.usedBytes).toBe(80)
    ;(await one.read()).give([new Uint8Array(30)])
    await settle()
    expect([one.told, budget.usedBytes]).toEqual([['kept', 'reset'], 0])
  })
})

describe('a connection that is gone', () => {
  test('tells its streams, then its owner, once', async () => {
    const { port } = createPort()
    const closes: string[] = []
    const connection = createPumpedConnection({
      local: { host: '127.0.0.1', port: 1 },
      remote: { host: '127.0.0.1', port: 2 },
      open: () => Promise.resolve(port),
      close: () => void closes.push('CLOSE'),
    })
    const told: string[] = []
    connection.attach({ stream() {}, close: (error) => told.push(error?.code ?? 'closed') })
    const stream = await connection.openStream()
    const nothing = { data: () => true, end() {}, drain() {}, stopped() {} }
    stream.attach({ ...nothing, reset: () => void told.push('reset') })
    connection.close()
    expect(told).toEqual([])
    connection.lost({ code: 'timeout', message: 'late' })
    await settle()
    expect([told, closes]).toEqual([['reset', 'closed'], ['CLOSE']])
  })

  test('a message that had come to its end is whole all the same', async () => {
    const { stream, read, told, state } = open({ streamBytes: 100, connectionBytes: 100, usedBytes: 0 })
    state.keeps = true
    ;(await read()).give([encode('all')])
    ;(await read()).give([encode(' of it')])
    ;(await read()).give(undefined)
    await settle()
    stream.cut()()
    expect(told).toEqual(['all', 'stopped'])
    state.keeps = false
    stream.resume()
    await settle()
    expect(told).toEqual(['all', 'stopped', ' of it', 'end'])
  })
})
