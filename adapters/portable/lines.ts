/** Log lines to a file descriptor: gathered, written in the background, and bounded when the reader stands still. */
import { write, writeSync } from 'node:fs'
import type { LineSink } from '../../src/telemetry.ts'

const flushEveryMs = 100
const flushAtCharacters = 65_536
/** What waits while the reader takes nothing. Above it lines are dropped, and counted, rather than kept in memory. */
const mostWaitingCharacters = 8 << 20
const retryMs = 10
/** How long an ending process waits for a reader that stands still. */
const lastFlushMs = 1_000

export interface BufferedLines extends LineSink {
  /** Writes what has gathered without waiting for more. */
  flush(): void
  /** Everything written so far is out, or the reader has stood still for too long. */
  close(): Promise<void>
}

export function createLines(descriptor: number): BufferedLines {
  let gathered = ''
  let under: Buffer | undefined // being written
  let timer: NodeJS.Timeout | undefined
  let dropped = 0
  let closed: (() => void) | undefined

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    if (under || gathered === '') return
    under = Buffer.from(gathered)
    gathered = ''
    step()
  }

  function step(): void {
    write(descriptor, under!, (error, count) => {
      if (error && error.code !== 'EAGAIN') {
        under = undefined // nobody reads any more
        gathered = ''
        closed?.()
        return
      }
      under = error ? under! : under!.subarray(count)
      if (error) setTimeout(step, retryMs).unref()
      else if (under.length > 0) step()
      else {
        under = undefined
        if (dropped > 0) {
          gathered += `${JSON.stringify({ time: new Date().toISOString(), level: 'WARN', msg: 'log lines dropped: the reader is too slow', dropped })}\n`
          dropped = 0
        }
        if (gathered === '') closed?.()
        else if (closed || gathered.length >= flushAtCharacters) flush()
        else arm()
      }
    })
  }

  function arm(): void {
    timer ??= setTimeout(flush, flushEveryMs)
    timer.unref()
  }

  return {
    write(line) {
      if (gathered.length > mostWaitingCharacters) {
        dropped++
        return
      }
      gathered += line
      if (gathered.length >= flushAtCharacters) flush()
      else arm()
    },
    flush,
    close() {
      return new Promise((resolve) => {
        const late = setTimeout(resolve, lastFlushMs)
        closed = () => {
          clearTimeout(late)
          resolve()
        }
        flush()
        if (!under) closed()
      })
    },
  }
}

/** Writes text now, waiting for the reader for a while. Errors are ignored: nobody is left to tell. */
export function writeAll(descriptor: number, text: string): void {
  let bytes = Buffer.from(text)
  const untilMs = Date.now() + lastFlushMs
  while (bytes.length > 0 && Date.now() < untilMs) {
    try {
      bytes = bytes.subarray(writeSync(descriptor, bytes))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
    }
  }
}
