import { expect, test } from 'vitest'
import { createFloodLog } from '../../src/observe/flood-log.ts'
import { createRecordedLog } from '../support/recorded-log.ts'
import { createManualTimers } from '../tunnel/manual-timers.ts'

test('closed connections are told at once, and in a flood every ten seconds, with the number of the others', () => {
  const log = createRecordedLog()
  const timers = createManualTimers()
  const flooded = createFloodLog(log, timers)
  const flood = (count: number): void => {
    for (let i = 0; i < count; i++) flooded('too many resets', { host: `192.0.2.${i}`, port: 50_000 })
  }
  flood(1)
  expect(log.lines).toEqual(['warn: connection closed: its peer asked too much of us'])
  flood(100)
  timers.advance(9_000)
  flood(50)
  expect(log.lines).toHaveLength(1)
  timers.advance(1_100)
  expect(log.lines).toHaveLength(2)
  flood(1)
  timers.advance(60_000)
  flood(1)
  expect(log.fields).toEqual([
    { reason: 'too many resets', peer: '192.0.2.0', others: undefined },
    { reason: 'too many resets', peer: '192.0.2.49', others: 149 },
    { reason: 'too many resets', peer: '192.0.2.0', others: undefined },
    { reason: 'too many resets', peer: '192.0.2.0', others: undefined },
  ])
})
