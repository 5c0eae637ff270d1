import { describe, expect, test } from 'vitest'
import type { ProxyError } from '../../src/errors.ts'
import { headOf } from '../../src/http/head.ts'
import { maxRepeatedBytes, RepeatableBody } from '../../src/http/repeatable.ts'
import { LendingBody, Reader } from './sources.ts'

const refused: ProxyError = {
  kind: 'upstream',
  phase: 'body',
  cause: 'closed',
  reason: 'stream refused',
  stale: true,
  unprocessed: true,
}
const broken: ProxyError = { kind: 'downstream-gone' }

function begun(slow = false): { source: LendingBody; body: RepeatableBody; first: Reader } {
  const source = new LendingBody()
  const body = new RepeatableBody(source)
  const first = new Reader(slow)
  body.start(first)
  return { source, body, first }
}

describe.each([
  ['takes what it gets', false],
  ['keeps what it gets', true],
])('the first consumer %s', (_, slow) => {
  test.each([0, 1, 2, 3, 4, 5, 6, 7])('and leaves behind step %i: the second gets every byte', (left) => {
    for (const back of [left, left + 1, left + 2]) {
      for (const slowAgain of [false, true]) {
        const { source, body } = begun(slow)
        const second = new Reader(slowAgain)
        const steps = [
          () => source.give('one '),
          () => source.give('two '),
          () => source.give('three'),
          () => source.end(headOf([['x-after', 'all']])),
        ]
        let again: ReturnType<RepeatableBody['again']> | undefined
        for (let step = 0; step <= 9; step++) {
          if (step === left) {
            body.cancel(refused)
            again = body.again()
          }
          if (step === back) again!.start(second)
          steps[step]?.()
          if (slowAgain && step >= back) while (second.keeps) second.release(again!)
        }
        expect([second.text, second.state, second.trailers?.get('x-after')]).toEqual(['one two three', 'ended', 'all'])
        expect(source.cancelled).toBe(false)
      }
    }
  })
})

test('what is cancelled for any other reason is over', () => {
  const { source, body } = begun()
  source.give('one')
  body.cancel(broken)
  expect(source.cancelled).toBe(true)
})

test('a large body is not kept: it cannot be sent again', () => {
  const { source, body, first } = begun()
  source.give('x'.repeat(maxRepeatedBytes))
  expect(body.isWhole).toBe(true)
  source.give('y')
  expect(body.isWhole).toBe(false)
  expect(first.text.length).toBe(maxRepeatedBytes + 1)
  body.cancel(refused)
  expect(source.cancelled).toBe(true)
})

test('a body that broke cannot be sent again', () => {
  const { source, body, first } = begun()
  source.give('one')
  source.fail(broken)
  expect([body.isWhole, first.state]).toEqual([false, broken])
})

test('a body that breaks between its consumers breaks for the second', () => {
  const { source, body } = begun()
  source.give('one')
  body.cancel(refused)
  const again = body.again()
  source.fail(broken)
  const second = new Reader()
  again.start(second)
  expect([second.text, second.state]).toEqual(['one', broken])
})

test('once there is an answer nothing is kept', () => {
  const { source, body, first } = begun()
  source.give('one')
  body.forget()
  source.give(' two')
  source.end()
  expect([body.isWhole, first.text, first.state]).toEqual([false, 'one two', 'ended'])
})

test.each([
  ['nobody sends it again', (body: RepeatableBody) => body.forget()],
  ['whoever would have does not', (body: RepeatableBody) => body.again().cancel()],
])('the source hears when %s', (_, leave) => {
  const { source, body } = begun()
  source.give('one')
  body.cancel(refused)
  expect(source.cancelled).toBe(false)
  leave(body)
  expect(source.cancelled).toBe(true)
})
