import { describe, expect, test } from 'vitest'
import { ProxyFailure } from '../../src/errors.ts'
import { bodyOfBytes, bodyOfText } from '../../src/http/body.ts'
import { headOf } from '../../src/http/head.ts'
import { bodyOfStream, streamOf } from '../../src/http/stream.ts'
import { setTrailers, trailersOf } from '../../src/http/trailers.ts'
import { responseOf } from '../../src/http/response.ts'
import { LendingBody, Reader } from './sources.ts'

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve))
const text = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes)

describe('a stream over a body', () => {
  test('does not begin before somebody reads: a look must not invite the client to send', async () => {
    const body = new LendingBody()
    const stream = streamOf(body)
    expect(stream.locked).toBe(false)
    await turn()
    expect(body.started).toBe(false)
    const reader = stream.getReader()
    await turn()
    expect(body.started).toBe(false)
    void reader.read()
    await turn()
    expect(body.started).toBe(true)
  })

  test('copies what it was lent, and reads on only when asked', async () => {
    const body = new LendingBody()
    const reader = streamOf(body).getReader()
    const first = reader.read()
    await turn()
    body.give('one')
    body.give('two')
    expect(text((await first).value)).toBe('one')
    expect(body.held).toBe(true)
    expect(text((await reader.read()).value)).toBe('two')
    body.end()
    expect((await reader.read()).done).toBe(true)
  })

  test('serves several reads that wait at once', async () => {
    const body = new LendingBody()
    const reader = streamOf(body).getReader()
    const reads = [reader.read(), reader.read(), reader.read(), reader.read()]
    await turn()
    for (const word of ['a', 'b', 'c']) body.give(word)
    body.end()
    const results = await Promise.all(reads)
    expect(results.map(({ value }) => text(value))).toEqual(['a', 'b', 'c', ''])
    expect(results[3]!.done).toBe(true)
  })

  test('passes on what is at hand when it starts', async () => {
    const response = new Response(streamOf(bodyOfText('all here')))
    expect(await response.text()).toBe('all here')
  })

  test('breaks as the body breaks', async () => {
    const body = new LendingBody()
    const reader = streamOf(body).getReader()
    const read = reader.read()
    body.give('half')
    await read
    const next = reader.read()
    body.fail({ kind: 'downstream-gone' })
    await expect(next).rejects.toBeInstanceOf(ProxyFailure)
  })

  test('cancels the body when it is cancelled', async () => {
    const body = new LendingBody()
    await streamOf(body).cancel()
    expect(body.cancelled).toBe(true)
  })
})

describe('a body over a stream', () => {
  const streamOfTexts = (...texts: string[]): ReadableStream<Uint8Array> =>
    new ReadableStream({
      start(controller) {
        for (const each of texts) controller.enqueue(new TextEncoder().encode(each))
        controller.close()
      },
    })

  test('hands on every chunk, and the end', async () => {
    const reader = new Reader()
    bodyOfStream(streamOfTexts('a', '', 'b'), undefined).start(reader)
    await turn()
    expect([reader.text, reader.state]).toEqual(['ab', 'ended'])
  })

  test('waits while bytes are kept, and takes a superfluous resume() for what it is', async () => {
    const reader = new Reader(true)
    const body = bodyOfStream(streamOfTexts('a', 'b', 'c'), undefined)
    body.start(reader)
    await turn()
    reader.release(body)
    body.resume()
    body.resume()
    await turn()
    expect([reader.text, reader.state]).toEqual(['a', 'open'])
    reader.slow = false
    reader.release(body)
    await turn()
    expect([reader.text, reader.state]).toEqual(['abc', 'ended'])
  })

  test.each<[string, () => ReadableStream<Uint8Array>]>([
    [
      'is locked',
      () => {
        const stream = streamOfTexts('a')
        stream.getReader()
        return stream
      },
    ],
    ['yields text', () => new ReadableStream({ start: (controller) => controller.enqueue('text' as never) })],
    ['breaks', () => new ReadableStream({ start: (controller) => controller.error(new Error('broken')) })],
  ])('fails when the stream %s', async (_, make) => {
    const reader = new Reader()
    bodyOfStream(make(), undefined).start(reader)
    await turn()
    expect(reader.state).toMatchObject({ kind: 'filter-failed' })
  })

  test('says why a stream over another body broke', async () => {
    const source = new LendingBody()
    const reader = new Reader()
    bodyOfStream(streamOf(source), undefined).start(reader)
    source.fail({ kind: 'downstream-gone' })
    await turn()
    expect(reader.state).toEqual({ kind: 'downstream-gone' })
  })

  test('cancels the stream, begun or not', async () => {
    for (const begun of [false, true]) {
      let reason: unknown
      const body = bodyOfStream(new ReadableStream({ cancel: (why) => void (reason = why) }), undefined)
      const reader = new Reader()
      if (begun) body.start(reader)
      body.cancel({ kind: 'downstream-gone' })
      await turn()
      expect(reason).toBeInstanceOf(ProxyFailure)
      expect(reader.state).toBe('open')
    }
  })
})

describe('a body of bytes', () => {
  test('ends after its bytes were given back', () => {
    const reader = new Reader(true)
    const body = bodyOfText('abc')
    body.start(reader)
    expect([body.length, reader.state]).toEqual([3, 'open'])
    reader.release(body)
    expect([reader.text, reader.state]).toEqual(['abc', 'ended'])
  })

  test('may be empty', () => {
    const reader = new Reader(true)
    bodyOfBytes(new Uint8Array(0)).start(reader)
    expect(reader.state).toBe('ended')
  })
})

describe('trailers', () => {
  const trailers = headOf([['X-Sum', '1']])

  test('of a received message are there when its body has been read', async () => {
    const body = new LendingBody()
    const response = responseOf(200, '', headOf([]), body)
    expect(trailersOf(response)).toEqual([])
    const read = response.text()
    body.give('a')
    body.end(trailers)
    await read
    expect(trailersOf(response)).toEqual([['X-Sum', '1']])
  })

  test('survive a clone, on both sides', async () => {
    const body = new LendingBody()
    const response = responseOf(200, '', headOf([]), body)
    const clone = response.clone()
    body.give('a')
    body.end(trailers)
    expect(await Promise.all([response.text(), clone.text()])).toEqual(['a', 'a'])
    expect([trailersOf(response), trailersOf(clone)]).toEqual([[['X-Sum', '1']], [['X-Sum', '1']]])
  })

  test('go on from a body that was turned into a stream', async () => {
    const body = new LendingBody()
    const reader = new Reader()
    bodyOfStream(streamOf(body), undefined).start(reader)
    body.give('a')
    body.end(trailers)
    await turn()
    expect(reader.trailers?.fields()).toEqual([['X-Sum', '1']])
  })

  test.each([
    ['at once', [['x-sum', '2']] as const],
    ['later', Promise.resolve([['x-sum', '2']] as const)],
  ])('that a handler gives %s follow its body', async (_, fields) => {
    const response = new Response('body')
    setTrailers(response, fields)
    const reader = new Reader()
    bodyOfStream(response.body!, undefined).start(reader)
    await turn()
    expect([reader.text, reader.trailers?.fields()]).toEqual(['body', [['x-sum', '2']]])
  })

  test('need a body, and valid fields', () => {
    expect(() => setTrailers(new Response(null), [])).toThrow(TypeError)
    expect(() => setTrailers(new Response('a'), [['a b', 'c']])).toThrow(TypeError)
  })
})
