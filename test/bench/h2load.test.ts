import { describe, expect, test } from 'vitest'

import { readH2load } from '../../bench/h2load.ts'

const told = (requests: string, statuses: string): string => `
finished in 137.77ms, 58069.06 req/s, 3.94MB/s
requests: ${requests}
status codes: ${statuses}
traffic: 555.20KB (568528) total, 375.00KB (384000) headers (space savings 51.02%), 39.06KB (40000) data
                     min         max         mean         sd        +/- sd
time for request:       80us      6.07ms      1.87ms       862us    71.43%
`
const allWell = '8000 total, 8000 started, 8000 done, 8000 succeeded, 0 failed, 0 errored, 0 timeout'
const cutOff = '8063 total, 8120 started, 8063 done, 8000 succeeded, 63 failed, 63 errored, 0 timeout'

describe('what h2load tells', () => {
  test.each([
    ['a whole run', told(allWell, '8000 2xx, 0 3xx, 0 4xx, 0 5xx'), true, 8000, {}],
    ['other statuses', told(allWell, '7990 2xx, 0 3xx, 4 4xx, 6 5xx'), true, 7990, { status: 10 }],
    ['broken streams', told(cutOff, '8000 2xx, 0 3xx, 0 4xx, 0 5xx'), true, 8000, { failed: 63, errored: 63 }],
    ['a run that its clock ended', told(cutOff, '8000 2xx, 0 3xx, 0 4xx, 0 5xx'), false, 8000, {}],
  ])('%s', (_, text, whole, requests, errors) => {
    const result = readH2load(text, whole)
    expect(result).toMatchObject({ requests, bytes: 40_000, errors })
    expect(result.seconds).toBeCloseTo(0.13777, 6)
  })

  test('anything else is no result', () => {
    expect(() => readH2load('could not connect to host', true)).toThrow(/no result/)
  })
})
