/** Eyeballs that ask all the time, and know what they must be answered. */
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createRandom, type Random } from '../../support/random.ts'

const patternBytes = 1 << 20
const pattern = ((): Uint8Array => {
  const random = createRandom(1)
  return Uint8Array.from({ length: patternBytes }, () => random.between(0, 255))
})()

/** What the backend was asked, for the test to look at afterwards. */
export interface Asked {
  readonly posts: Map<string, number>
}

/**
 * `GET /ID/bytes/OFFSET/LENGTH` answers a piece of the pattern, `GET /ID/slow/OFFSET/LENGTH` the same in ten pieces
 * 40 ms apart, `POST /ID/digest` the SHA-256 of what it was sent. Every request has an ID of its own.
 */
export function createChaosBackend(): { answer(request: IncomingMessage, response: ServerResponse): void } & Asked {
  const posts = new Map<string, number>()
  return {
    posts,
    answer(request, response) {
      const [, id = '', kind, offset, length] = request.url!.split('/')
      const piece = pattern.subarray(Number(offset), Number(offset) + Number(length))
      if (kind === 'bytes') response.end(piece)
      else if (kind === 'slow') trickle(piece, response)
      else {
        posts.set(id, (posts.get(id) ?? 0) + 1)
        const digest = createHash('sha256')
        request.on('data', (bytes: Uint8Array) => digest.update(bytes))
        request.on('end', () => response.end(digest.digest('hex')))
      }
    },
  }
}

const pieces = 10
const pieceEveryMs = 40

function trickle(bytes: Uint8Array, response: ServerResponse): void {
  response.setHeader('content-length', bytes.length)
  let sent = 0
  const timer = setInterval(() => {
    sent++
    const from = Math.floor((bytes.length * (sent - 1)) / pieces)
    response.write(bytes.subarray(from, Math.floor((bytes.length * sent) / pieces)))
    if (sent < pieces) return
    clearInterval(timer)
    response.end()
  }, pieceEveryMs)
  response.on('close', () => clearInterval(timer))
}

/** A request that was not answered as it must be. */
export interface Lost {
  readonly method: string
  readonly path: string
  readonly how: string
}

export interface Load {
  readonly answered: number
  readonly lost: readonly Lost[]
  /** Whole answers with a wrong content. */
  readonly wrong: readonly string[]
  /** No new requests; resolves when those that run are over. */
  stop(): Promise<void>
}

export function startLoad(url: string, workers: number, seed: number): Load {
  const lost: Lost[] = []
  const wrong: string[] = []
  let answered = 0
  let stopping = false
  let asked = 0

  async function ask(random: Random): Promise<void> {
    const offset = random.between(0, patternBytes >> 1)
    const length = random.pick([0, 1, 700, 20_000, 300_000])
    const expected = pattern.subarray(offset, offset + length)
    const kind = random.pick(['bytes', 'bytes', 'slow', 'post', 'post'])
    const method = kind === 'post' ? 'POST' : 'GET'
    const path = `/${++asked}/${kind === 'post' ? 'digest' : `${kind}/${offset}/${length}`}`
    try {
      const response = await fetch(url + path, { method, ...(kind === 'post' ? { body: expected } : {}) })
      const body = new Uint8Array(await response.arrayBuffer())
      if (response.status !== 200) {
        lost.push({ method, path, how: `${response.status} ${new TextDecoder().decode(body).trim()}` })
        return
      }
      answered++
      if (!isRight(kind, body, expected))
        wrong.push(`${method} ${path}, of ${length} bytes, answered with ${body.length}`)
    } catch (error) {
      const { message, cause } = error as Error
      lost.push({ method, path, how: `${message}: ${cause instanceof Error ? cause.message : 'no cause'}` })
    }
  }

  async function work(random: Random): Promise<void> {
    while (!stopping) {
      await ask(random)
      await new Promise((resolve) => setTimeout(resolve, random.between(10, 60)))
    }
  }

  const working = Array.from({ length: workers }, (_, index) => work(createRandom(seed + index)))
  return {
    get answered() {
      return answered
    },
    lost,
    wrong,
    async stop() {
      stopping = true
      await Promise.all(working)
    },
  }
}

function isRight(kind: string, body: Uint8Array, expected: Uint8Array): boolean {
  return kind === 'post'
    ? new TextDecoder().decode(body) === createHash('sha256').update(expected).digest('hex')
    : Buffer.compare(body, expected) === 0
}
