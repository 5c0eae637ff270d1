import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Stream } from '../../src/http2/stream.ts'
import { StreamTable } from '../../src/http2/stream-table.ts'

const streamOf = (id: number): Stream => ({ id }) as Stream

test('streams come and go as they like, and each is found by its number', () => {
  // A step opens the next stream, or ends one of those that are there.
  const step = fc.option(fc.nat(1_000), { freq: 2 })
  fc.assert(
    fc.property(fc.constantFrom(1, 2), fc.array(step, { maxLength: 300 }), (first, steps) => {
      const table = new StreamTable()
      const there = new Map<number, Stream>()
      let next = first
      for (const ended of steps) {
        if (ended === null) {
          const stream = streamOf(next)
          table.add(stream)
          there.set(next, stream)
          next += 2
        } else {
          const id = [...there.keys()][ended % (there.size + 1)] ?? next
          table.delete(id)
          there.delete(id)
        }
        expect(table.size).toBe(there.size)
        for (let id = first; id <= next; id += 2) expect(table.get(id)).toBe(there.get(id))
        expect(table.all()).toEqual([...there.values()])
      }
    }),
  )
})

test('one that stays for long is found among those that pass', () => {
  const table = new StreamTable()
  table.add(streamOf(1))
  for (let id = 3; id < 10_000; id += 2) {
    table.add(streamOf(id))
    expect([table.get(1)?.id, table.get(id)?.id]).toEqual([1, id])
    table.delete(id)
  }
  expect(table.all().map(({ id }) => id)).toEqual([1])
})

test('one that was large begins anew when all are gone', () => {
  const table = new StreamTable()
  for (const first of [1, 1_001]) {
    for (let id = first; id < first + 400; id += 2) table.add(streamOf(id))
    for (let id = first; id < first + 400; id += 2) table.delete(id)
    expect([table.size, table.get(first), table.all()]).toEqual([0, undefined, []])
  }
})

test('nothing is found in an empty one', () => {
  const table = new StreamTable()
  table.delete(1)
  expect([table.get(1), table.size, table.all()]).toEqual([undefined, 0, []])
})
