import type { ProxyError } from '../../src/errors.ts'
import type { Body, BodySink } from '../../src/http/body.ts'
import type { Head } from '../../src/http/head.ts'

/**
 * A body as an engine gives it, only stricter: what it lends is overwritten as soon as it may be, and a consumer that
 * asks for more while it keeps bytes, or from inside `data`, fails the test.
 */
export class LendingBody implements Body {
  readonly length: number | undefined
  started = false
  cancelled = false
  resumed = 0
  private sink: BodySink | undefined
  private lent: Uint8Array | undefined
  private inData = false
  private readonly waiting: (() => void)[] = []
  private readonly onStart: () => void

  constructor(length?: number, onStart: () => void = () => {}) {
    this.length = length
    this.onStart = onStart
  }

  start(sink: BodySink): void {
    if (this.started) throw new Error('a body has one consumer')
    this.started = true
    this.sink = sink
    this.onStart()
    this.flush()
  }

  resume(): void {
    if (this.inData) throw new Error('resume() from inside data()')
    if (this.lent === undefined) throw new Error('resume() without bytes kept')
    this.resumed++
    this.lent.fill(0)
    this.lent = undefined
    this.flush()
  }

  cancel(): void {
    this.cancelled = true
    this.sink = undefined
  }

  /** True while the consumer keeps bytes. */
  get held(): boolean {
    return this.lent !== undefined
  }

  give(text: string): void {
    this.queue(() => {
      const bytes = new TextEncoder().encode(`#${text}#`)
      this.inData = true
      const done = this.sink!.data(bytes, 1, bytes.length - 1)
      this.inData = false
      if (done) bytes.fill(0)
      else this.lent = bytes
    })
  }

  end(trailers?: Head): void {
    this.queue(() => this.sink!.end(trailers))
  }

  fail(error: ProxyError): void {
    this.queue(() => this.sink!.fail(error))
  }

  private queue(step: () => void): void {
    this.waiting.push(step)
    this.flush()
  }

  private flush(): void {
    while (this.sink && this.lent === undefined && !this.inData) {
      const step = this.waiting.shift()
      if (!step) return
      step()
    }
  }
}

/** A consumer that remembers, and takes as long as the test wants. */
export class Reader implements BodySink {
  text = ''
  trailers: Head | undefined
  state: 'open' | 'ended' | ProxyError = 'open'
  /** While true, bytes are kept; they are read when `release` is called, as a socket would write them later. */
  slow: boolean
  private kept: Uint8Array | undefined

  constructor(slow = false) {
    this.slow = slow
  }

  data(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.state !== 'open' || this.kept) throw new Error('bytes out of turn')
    if (this.slow) {
      this.kept = bytes.subarray(start, end)
      return false
    }
    this.text += new TextDecoder().decode(bytes.subarray(start, end))
    return true
  }

  end(trailers?: Head): void {
    if (this.state !== 'open') throw new Error('ended twice')
    this.state = 'ended'
    this.trailers = trailers
  }

  fail(error: ProxyError): void {
    if (this.state !== 'open') throw new Error('ended twice')
    this.state = error
  }

  get keeps(): boolean {
    return this.kept !== undefined
  }

  /** Reads what was kept, and goes on. */
  release(body: Body): void {
    this.text += new TextDecoder().decode(this.kept)
    this.kept = undefined
    body.resume()
  }
}
