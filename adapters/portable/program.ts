/** The program around the command: its streams, its signals and its end, as Node, Bun and Deno share them. */
import { existsSync, readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { Host, Io } from '../../src/cli/io.ts'
import { run } from '../../src/cli/run.ts'
import type { Runtime } from '../../src/runtime.ts'
import { createLines, writeAll, type BufferedLines } from './lines.ts'
import { createLog } from './log.ts'
import { createMetricsRenderer } from './metrics.ts'

export interface OpenedRuntime {
  readonly runtime: Runtime
  /** What the operator should know of it. */
  readonly note?: string
}

/** Makes what a runtime lends us, with or without what only it does better. */
export type OpenRuntime = (options: { readonly fastSockets: boolean }) => Promise<OpenedRuntime>

/** Ctrl-C reaches everybody in the terminal, and npm passes on to us what it got: that is one wish, told twice. */
const sameSignalMs = 200

const aDayMs = 86_400_000

export async function runProgram(openRuntime: OpenRuntime): Promise<void> {
  const lines = createLines(1)
  // The command says when it is over, not the event loop: its timers keep nothing alive, and a drain may have nothing else.
  setInterval(() => {}, aDayMs)
  let exitCode: number
  try {
    exitCode = await run(process.argv.slice(2), process.env, createIo(lines, openRuntime))
  } catch (error) {
    // A mistake of our own: its trace is for the bug report.
    writeAll(2, `headgate: ${error instanceof Error ? error.stack : String(error)}\n`)
    exitCode = 1
  }
  await lines.close()
  process.exit(exitCode)
}

function createIo(lines: BufferedLines, openRuntime: OpenRuntime): Io {
  const version = packageVersion()
  return {
    version,
    out: (text) => writeAll(1, text),
    err: (text) => writeAll(2, text),
    readStdin: () => text(process.stdin),
    onStopSignal(f) {
      let lastMs = -Infinity
      const heard = (): void => {
        const nowMs = performance.now()
        if (nowMs - lastMs > sameSignalMs) f()
        lastMs = nowMs
      }
      process.on('SIGINT', heard)
      process.on('SIGTERM', heard)
    },
    async openHost({ logLevel, fastSockets }): Promise<Host> {
      const { runtime, note } = await openRuntime({ fastSockets })
      const log = createLog(logLevel, lines)
      if (note !== undefined) log.warn(note)
      return {
        runtime,
        companions: { log, accessLog: lines, renderMetrics: createMetricsRenderer(), version },
      }
    },
    examples: inPackage('examples'),
  }
}

export function packageVersion(): string {
  return (JSON.parse(readFileSync(inPackage('package.json'), 'utf8')) as { version: string }).version
}

/** A path in the package, whether this file runs as written or as built below `dist/`. */
function inPackage(path: string): string {
  const [here, above] = ['../../', '../../../'].map((up) => fileURLToPath(new URL(up + path, import.meta.url)))
  return existsSync(here!) ? here! : above!
}
