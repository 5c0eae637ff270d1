import { describe, expect, test } from 'vitest'
import { headOf } from '../../src/http/head.ts'
import { createRequest, engineRequest, targetOf } from '../../src/http/request.ts'
import { teeBody, teeRequest } from '../../src/http/tee.ts'
import { bodyOfText, type Body } from '../../src/http/body.ts'
import type { ProxyError } from '../../src/errors.ts'
import type { Exchange, Outcome } from '../../src/runtime.ts'
import { kinds } from './messages.ts'
import { LendingBody, Reader } from './sources.ts'

interface Both {
  readonly source: LendingBody
  readonly primary: Body
  readonly copy: Body
  /** Reads the primary. */
  readonly first: Reader
  /** Reads the copy. */
  readonly second: Reader
}

function teed({ slow = false, maxBufferBytes = 10 }: { slow?: boolean; maxBufferBytes?: number } = {}): Both {
  const source = new LendingBody()
  return { source, ...teeBody(source, maxBufferBytes), first: new Reader(), second: new Reader(slow) }
}

describe('both sides get every byte', () => {
  test.each([
    ['the copy is read from the start', 0],
    ['the copy is read from the middle on', 1],
    ['the copy is read after the end', 3],
  ])('when %s', (_, after) => {
    const { source, primary, copy, first, second } = teed()
    const steps = [() => source.give('one'), () => source.give('two'), () => source.end()]
    primary.start(first)
    for (const [index, step] of steps.entries()) {
      if (index === after) copy.start(second)
      step()
    }
    if (after === steps.length) copy.start(second)
    expect([first.text, first.state]).toEqual(['onetwo', 'ended'])
    expect([second.text, second.state]).toEqual(['onetwo', 'ended'])
  })

  test('when the copy waits for the primary to begin', () => {
    const { source, primary, copy, first, second } = teed()
    copy.start(second)
    source.give('one')
    expect([source.started, second.text]).toEqual([false, ''])
    primary.start(first)
    source.end()
    expect([first.text, second.text, second.state]).toEqual(['one', 'one', 'ended'])
  })

  test('with the trailers', () => {
    const { source, primary, copy, first, second } = teed()
    primary.start(first)
    copy.start(second)
    source.end(headOf([['X-Sum', '1']]))
    expect([first.trailers?.fields(), second.trailers?.fields()]).toEqual([[['X-Sum', '1']], [['X-Sum', '1']]])
  })

  test('and both know the declared length', () => {
    const { primary, copy } = teeBody(bodyOfText('abc'), 10)
    expect([primary.length, copy.length]).toEqual([3, 3])
  })

  test('of a body whose bytes are at hand when it starts', () => {
    const { primary, copy } = teeBody(bodyOfText('abc'), 10)
    const [first, second] = [new Reader(), new Reader()]
    copy.start(second)
    primary.start(first)
    expect([first.text, first.state, second.text, second.state]).toEqual(['abc', 'ended', 'abc', 'ended'])
  })

  test('when the primary keeps bytes: only its resume() goes to the source', () => {
    const { source, primary, copy, second } = teed()
    const first = new Reader(true)
    primary.start(first)
    copy.start(second)
    source.give('one')
    source.give('two')
    expect([source.held, second.text]).toEqual([true, 'one'])
    first.release(primary)
    expect([first.text, second.text, source.held]).toEqual(['one', 'onetwo', true])
    first.release(primary)
    source.end()
    expect([first.text, first.state, second.state, source.resumed]).toEqual(['onetwo', 'ended', 'ended', 2])
  })

  test('when the copy keeps bytes: the source is not held up, and what was lent has been copied', () => {
    const { source, primary, copy, first, second } = teed({ slow: true })
    primary.start(first)
    copy.start(second)
    source.give('one')
    source.give('two')
    source.give('3')
    source.end()
    expect([first.text, first.state, source.held]).toEqual(['onetwo3', 'ended', false])
    expect([second.text, second.state]).toEqual(['', 'open'])
    second.release(copy)
    expect([second.text, second.state]).toEqual(['one', 'open'])
    second.release(copy)
    expect([second.text, second.state]).toEqual(['onetwo3', 'ended'])
  })

  test('of a long body through a small buffer, as long as the copy keeps up', () => {
    const { source, primary, copy, first, second } = teed({ maxBufferBytes: 4 })
    primary.start(first)
    copy.start(second)
    for (let i = 0; i < 100; i++) source.give('abc')
    source.give('more than the buffer holds at once')
    source.end()
    expect(second.text).toBe(first.text)
    expect([second.text.length, second.state]).toEqual([334, 'ended'])
  })

  test('of many bytes in pieces of every size, with a copy that stops and goes', () => {
    const { source, primary, copy, first } = teed({ maxBufferBytes: 20_000 })
    const second = new Reader(true)
    primary.start(first)
    copy.start(second)
    for (let i = 0; i < 200; i++) {
      source.give(String.fromCharCode(97 + (i % 26)).repeat(1 + ((i * 37) % 211)))
      if (i % 7 === 0) second.release(copy)
    }
    source.end()
    second.slow = false
    second.release(copy)
    expect(second.text).toBe(first.text)
    expect(second.state).toBe('ended')
  })
})

describe('the copy breaks, and the primary does not notice', () => {
  const overloaded = { kind: 'upstream', cause: 'overloaded' }

  test('when the copy falls behind by more than the buffer holds', () => {
    const { source, primary, copy, first, second } = teed({ slow: true })
    primary.start(first)
    copy.start(second)
    source.give('12345')
    source.give('67890')
    expect(second.state).toBe('open')
    source.give('!')
    expect(second.state).toMatchObject(overloaded)
    source.give('on it goes')
    source.end()
    expect([first.text, first.state]).toEqual(['1234567890!on it goes', 'ended'])
  })

  test('when nobody has come for the copy by then', () => {
    const { source, primary, copy, first, second } = teed()
    primary.start(first)
    source.give('12345678901')
    source.end()
    copy.start(second)
    expect([second.text, first.state]).toEqual(['', 'ended'])
    expect(second.state).toMatchObject(overloaded)
  })

  test.each([
    ['before it was begun', false],
    ['when it was begun', true],
  ])('when the copy is cancelled %s', (_, begun) => {
    const { source, primary, copy, first, second } = teed()
    primary.start(first)
    if (begun) copy.start(second)
    source.give('1')
    copy.cancel()
    source.give('more than the buffer holds')
    source.end()
    expect([first.text, first.state, source.cancelled]).toEqual(['1more than the buffer holds', 'ended', false])
    expect([second.text, second.state]).toEqual([begun ? '1' : '', 'open'])
  })

  test('when the reader of the copy throws', () => {
    const { source, primary, copy, first } = teed()
    primary.start(first)
    copy.start({
      data: () => {
        throw new Error('broken reader')
      },
      end: () => expect.unreachable(),
      fail: () => expect.unreachable(),
    })
    source.give('1')
    source.give('2')
    source.end()
    expect([first.text, first.state]).toEqual(['12', 'ended'])
  })
})

describe('the copy ends as the primary ends', () => {
  const gone: ProxyError = { kind: 'downstream-gone' }

  test('when the source breaks', () => {
    const { source, primary, copy, first, second } = teed()
    primary.start(first)
    copy.start(second)
    source.give('half')
    source.fail(gone)
    expect([first.text, first.state]).toEqual(['half', gone])
    expect([second.text, second.state]).toEqual(['half', gone])
  })

  test('when the primary is cancelled: half a body must not look whole', () => {
    const { source, primary, copy, first, second } = teed()
    primary.start(first)
    copy.start(second)
    source.give('half')
    primary.cancel(gone)
    expect(source.cancelled).toBe(true)
    expect([second.text, second.state]).toEqual(['half', gone])
  })

  test('but not when it is cancelled after its end, while the copy still reads', () => {
    const { source, primary, copy, first, second } = teed({ slow: true })
    primary.start(first)
    copy.start(second)
    source.give('all')
    source.end()
    primary.cancel(gone)
    second.release(copy)
    expect([second.text, second.state]).toEqual(['all', 'ended'])
  })
})

describe.each(kinds)('a request of $name kind', (kind) => {
  const post = { method: 'POST', url: 'http://a.example/x?y', fields: [['X-A', '1']] as const, body: 'the body' }

  test('becomes two with the same head and body', async () => {
    const { primary, copy } = teeRequest(kind.request(post))
    expect([primary.method, targetOf(primary), primary.headers.get('x-a')]).toEqual(['POST', '/x?y', '1'])
    expect([copy.method, targetOf(copy), copy.headers.get('x-a')]).toEqual(['POST', '/x?y', '1'])
    copy.headers.set('x-a', '2')
    expect(primary.headers.get('x-a')).toBe('1')
    expect(await Promise.all([copy.text(), primary.text()])).toEqual(['the body', 'the body'])
  })

  test('without a body is used as it is', async () => {
    const request = kind.request({ url: 'http://a.example/' })
    const { primary, copy } = teeRequest(request)
    expect(primary).toBe(request)
    expect(copy).not.toBe(request)
    expect([copy.body, await copy.text()]).toEqual([null, ''])
  })

  test('can be teed twice: two mirrors', async () => {
    const one = teeRequest(kind.request(post))
    const two = teeRequest(one.primary)
    const all = [one.copy, two.copy, two.primary].map((request) => request.text())
    expect(await Promise.all(all)).toEqual(['the body', 'the body', 'the body'])
  })
})

describe('the exchange', () => {
  let finish: (outcome: Outcome) => void
  const exchange = {
    onFinish: (listener) => void (finish = listener),
    onAbort: () => {},
  } as Partial<Exchange> as Exchange

  function request(body: Body): Request {
    const head = headOf([])
    return createRequest({ method: 'POST', target: '/', authority: 'a', scheme: 'http', head, body, exchange })
  }
  const bodyOf = (of: Request): Body => engineRequest(of)!.holder.take()!
  const over: Outcome = { status: 500, bytesReceived: 0, bytesSent: 0 }

  test('breaks the copy of a body that nobody began to read', () => {
    const { copy } = teeRequest(request(new LendingBody()))
    const second = new Reader()
    bodyOf(copy).start(second)
    expect(second.state).toBe('open')
    finish(over)
    expect(second.state).toMatchObject({ kind: 'downstream-gone' })
  })

  test('lets the copy of a body that is being read come to its own end', () => {
    const source = new LendingBody()
    const { primary, copy } = teeRequest(request(source))
    const [first, second] = [new Reader(), new Reader()]
    bodyOf(copy).start(second)
    bodyOf(primary).start(first)
    source.give('1')
    finish(over)
    source.give('2')
    source.end()
    expect([first.text, second.text, second.state]).toEqual(['12', '12', 'ended'])
  })

  test('stays with the primary; the copy outlives the client', () => {
    const { primary, copy } = teeRequest(request(new LendingBody()))
    expect([engineRequest(primary)!.exchange, engineRequest(copy)!.exchange]).toEqual([exchange, undefined])
  })
})
