/** Load by wrk: one thread, kept connections, latencies and errors as wrk itself counted them. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import type { Load, LoadResult } from './load.ts'
import { output } from './processes.ts'
import { browserHead } from './scenarios.ts'

/** JSON strings of printable ASCII are Lua strings as well. */
const lua = (text: string): string => JSON.stringify(text)

/** More than there are connections, and none of their numbers divides it. */
const traces = 997

function headers({ scenario, targets }: Load, i: number, trace?: number): string {
  const all = {
    Host: targets[i]?.host ?? '',
    ...(scenario.browserHead ? browserHead : {}),
    ...(trace === undefined ? {} : { traceparent: `00-${String(trace).padStart(32, '0')}-00f067aa0ba902b7-01` }),
  }
  return `{ ${Object.entries(all)
    .map(([name, value]) => `[${lua(name)}] = ${lua(value)}`)
    .join(', ')} }`
}

/** Requests are written out once, so that the load generator only copies bytes; for one target without a call into Lua. */
function requests(load: Load): string {
  const { scenario, targets } = load
  const body = scenario.sendBytes === 0 ? 'nil' : `string.rep("x", ${scenario.sendBytes})`
  const [first] = targets
  if (targets.length === 1 && first && !scenario.traced) {
    return `
wrk.method, wrk.path, wrk.body = ${lua(scenario.method)}, ${lua(first.prefix + scenario.path)}, ${body}
wrk.headers = ${headers(load, 0)}`
  }
  const each = Array.from({ length: scenario.traced ? traces : targets.length }, (_, n) => {
    const i = n % targets.length
    const head = headers(load, i, scenario.traced ? n : undefined)
    return `wrk.format(${lua(scenario.method)}, ${lua(targets[i]!.prefix + scenario.path)}, ${head}, ${body})`
  })
  return `
local requests, next = {}, 0
init = function()
  requests = {
    ${each.join(',\n    ')}
  }
end
request = function()
  next = next % #requests + 1
  return requests[next]
end`
}

function script(load: Load): string {
  return `${requests(load)}
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests":%d,"us":%d,"bytes":%.0f,"p50":%d,"p99":%d,' ..
    '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
`
}

interface Told {
  requests: number
  us: number
  bytes: number
  p50: number
  p99: number
  errors: Record<string, number>
}

export async function wrkVersion(): Promise<string | undefined> {
  // It says its version on the way to a usage message, and exits 1.
  const told = await output('wrk', ['-v']).catch((error: unknown) => String(error))
  return /wrk \S+ \[/.exec(told)?.[0].slice(0, -2)
}

/** @throws when wrk is missing or does not finish */
export async function runWrk(load: Load): Promise<LoadResult> {
  const file = join(load.directory, 'load.lua')
  await writeFile(file, script(load))
  const args = ['-t1', `-c${load.scenario.connections}`, `-d${load.seconds}s`, '--timeout', '10s', '-s', file]
  const url = `http://127.0.0.1:${load.port}/`
  const told = await output('taskset', ['-c', String(load.core), 'wrk', ...args, url])
  const json = /^RESULT (.*)$/m.exec(told)?.[1]
  if (json === undefined) throw new Error(`wrk told no result:\n${told}`)
  const result = JSON.parse(json) as Told
  return {
    requests: result.requests,
    seconds: result.us / 1e6,
    bytes: result.bytes,
    p50Us: result.p50,
    p99Us: result.p99,
    errors: Object.fromEntries(Object.entries(result.errors).filter(([, count]) => count > 0)),
  }
}
